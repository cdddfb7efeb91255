CREATE TABLE echoes (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    heard integer NOT NULL,
    present integer NOT NULL,
    depth integer NOT NULL,      -- of the deepest outcome heard
    CONSTRAINT echoes_have_one_row_a_customer PRIMARY KEY (workspace, customer)
);
