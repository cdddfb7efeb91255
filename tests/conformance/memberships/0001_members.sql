CREATE TABLE members (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    facts integer NOT NULL,
    CONSTRAINT members_have_one_row_a_customer PRIMARY KEY (workspace, customer)
);
