CREATE TABLE wakes (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    id uuid NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT wakes_have_one_row_a_timer PRIMARY KEY (workspace, customer, id)
);
