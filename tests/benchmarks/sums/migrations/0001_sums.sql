CREATE TABLE sums (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT sums_have_one_row_a_customer PRIMARY KEY (workspace, customer)
) WITH (fillfactor = 50);
