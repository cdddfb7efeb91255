CREATE TABLE grants (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    is_member boolean NOT NULL,
    granted integer NOT NULL,     -- facts that came while a member
    entered integer NOT NULL,     -- entrances that set something off
    late integer NOT NULL,
    last_at timestamptz NOT NULL,
    CONSTRAINT grants_have_one_row_a_customer PRIMARY KEY (workspace, customer)
);
