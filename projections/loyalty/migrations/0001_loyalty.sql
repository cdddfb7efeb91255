-- The ledger of points: entries are only ever added; balances and lots stand beside them.

CREATE TABLE profiles (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    created_at timestamptz NOT NULL,
    metadata jsonb NOT NULL,      -- the public part of the profile, which rules may test
    CONSTRAINT profiles_have_one_row_a_customer PRIMARY KEY (workspace, customer)
);

CREATE TABLE members (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    program text NOT NULL,
    available bigint NOT NULL,    -- below zero: points are owed
    pending bigint NOT NULL,
    spent bigint NOT NULL,
    expired bigint NOT NULL,
    earned bigint NOT NULL,
    adjusted bigint NOT NULL,
    reversed bigint NOT NULL,
    CONSTRAINT members_have_one_row_a_program PRIMARY KEY (workspace, customer, program),
    CONSTRAINT members_conserve_points
        CHECK (earned + adjusted - reversed = available + pending + spent + expired)
) WITH (fillfactor = 50);         -- room to change a row beside itself, without its index

CREATE TABLE entries (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    entry uuid NOT NULL,
    program text NOT NULL,
    kind text NOT NULL,
    points bigint NOT NULL,
    shortfall bigint NOT NULL,
    at timestamptz NOT NULL,
    rule text NOT NULL,
    revision bigint NOT NULL,
    fact uuid NOT NULL,           -- or the request that caused it
    reverses uuid,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    place integer NOT NULL,       -- among the entries of one record
    transfers text NOT NULL,      -- [[debit, credit, points], …]
    drawn text,                   -- lots that points were taken from: [[lot, points], …]
    origins uuid[],               -- customers that it came from by merges, the last one last
    CONSTRAINT entries_have_one_row_an_entry PRIMARY KEY (workspace, customer, entry)
);

CREATE TABLE lots (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    lot uuid NOT NULL,            -- the entry that granted it
    program text NOT NULL,
    granted bigint NOT NULL,
    remaining bigint NOT NULL,
    expires_at timestamptz,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    place integer NOT NULL,
    origins uuid[],               -- as of entries
    CONSTRAINT lots_have_one_row_an_entry PRIMARY KEY (workspace, customer, lot),
    CONSTRAINT lots_keep_within_their_grant CHECK (remaining BETWEEN 0 AND granted)
);

CREATE TABLE outcomes (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    request uuid NOT NULL,        -- derives from workspace and idempotency key
    program text NOT NULL,
    digest text NOT NULL,         -- of the command: the same key may come with another one
    answer text NOT NULL,         -- projections.loyalty.outcomes.Answer
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    origins uuid[],               -- as of entries
    CONSTRAINT outcomes_have_one_row_a_request PRIMARY KEY (workspace, customer, request)
);
CREATE INDEX outcomes_by_request ON outcomes (request); -- whoever waits knows nothing else
