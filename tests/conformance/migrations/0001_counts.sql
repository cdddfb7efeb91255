-- The read model of the smallest projection there can be: tests.conformance.counting.

CREATE TABLE counts (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    facts bigint NOT NULL,
    CONSTRAINT counts_have_one_row_a_customer PRIMARY KEY (workspace, customer)
);
