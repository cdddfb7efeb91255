-- The read model of a projection that says much: tests.simulation.telling.

CREATE TABLE tellings (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    facts bigint NOT NULL,
    last_at timestamptz NOT NULL,  -- logical time of the last step
    CONSTRAINT tellings_have_one_row_a_customer PRIMARY KEY (workspace, customer)
);
