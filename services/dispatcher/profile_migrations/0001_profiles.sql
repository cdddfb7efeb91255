-- The dispatcher's read model in each generation's schema: customers as messages tell of them.

CREATE TABLE profiles (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    profile text NOT NULL,       -- JSON: contracts.profiles.ProfileState; numbers keep their digits
    merged bytea,                -- digest of the profile merged last: the same again changes nothing
    created_at timestamptz NOT NULL,
    CONSTRAINT profiles_have_one_row_a_customer PRIMARY KEY (workspace, customer)
);
