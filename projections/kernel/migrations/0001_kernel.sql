-- The kernel's own tables in the schema of every generation.

CREATE TABLE checkpoints (
    partition integer CONSTRAINT checkpoints_have_one_row_a_partition PRIMARY KEY,
    next_offset bigint NOT NULL,
    owner_epoch bigint NOT NULL,
    record_id text,              -- of the record before next_offset; null at the start
    logical_time timestamptz NOT NULL,
    progress jsonb NOT NULL,     -- projections.kernel.checkpoint.Progress
    live boolean NOT NULL,       -- whether what is written from here on is put out
    is_partway boolean NOT NULL DEFAULT false, -- timers before next_offset have fired in part
    hold_at bigint,              -- never go past this offset (compare, promote)
    stopped text,                -- why this partition stands still, for people
    CONSTRAINT checkpoints_stay_within_the_hold CHECK (hold_at IS NULL OR next_offset <= hold_at)
);

CREATE TABLE facts (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    fact uuid NOT NULL,
    ordinal integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    counted_at timestamptz NOT NULL,
    deleted_at timestamptz,
    withdrawn boolean NOT NULL,
    revision bigint NOT NULL,
    record_offset bigint NOT NULL,
    content text,
    partition integer,           -- of record_offset; null: the customer's own
    origins uuid[],              -- customers that it came from by merges, the last one last
    CONSTRAINT facts_have_one_row_a_customer PRIMARY KEY (workspace, customer, fact)
);

-- Customers that were merged into others, and whether what they had was taken over.
CREATE TABLE closed (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    survivor uuid NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    revision bigint NOT NULL,    -- of the definitions in force there
    taken_by uuid,               -- the survivor, or whom that one was merged into meanwhile
    taken_partition integer,
    taken_offset bigint,
    CONSTRAINT closed_has_one_row_a_customer PRIMARY KEY (workspace, customer)
);
CREATE INDEX closed_by_partition ON closed (partition);
CREATE INDEX closed_by_taken_partition ON closed (taken_partition);

CREATE TABLE timers (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    partition integer NOT NULL,  -- below zero: of a closed customer, set aside
    clock text NOT NULL,         -- the workspace of a test clock; empty: the log's append times
    due timestamptz NOT NULL,
    correlation text NOT NULL,   -- of the chain that set it
    depth integer NOT NULL,
    CONSTRAINT timers_have_one_row_an_id PRIMARY KEY (workspace, customer, kind, id)
);
CREATE INDEX timers_by_due ON timers (partition, clock, due, kind, customer, id);

CREATE TABLE outbox (
    partition integer NOT NULL,
    sequence_first bigint NOT NULL,
    first_offset bigint NOT NULL, -- of the records that caused them: all before is put out
    records bytea NOT NULL,      -- encoded in order: projections.kernel.outbox
    CONSTRAINT outbox_has_one_row_a_transaction PRIMARY KEY (partition, sequence_first)
);
-- Rows live for milliseconds: compressing them would cost more than all the rest of a transaction.
ALTER TABLE outbox ALTER COLUMN records SET STORAGE EXTERNAL;

CREATE TABLE relays (
    partition integer NOT NULL,
    topic text NOT NULL,
    target integer NOT NULL,
    next_offset bigint NOT NULL, -- nothing of ours that is unacknowledged stands before it
    CONSTRAINT relays_have_one_row_a_target PRIMARY KEY (partition, topic, target)
);

CREATE TABLE dead_letters (
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    timer text NOT NULL,         -- id of the timer that failed before the record; empty: the record
    at timestamptz NOT NULL,
    reason text NOT NULL,        -- the kind of failure
    detail text NOT NULL,        -- without personal data
    key bytea NOT NULL,
    record bytea NOT NULL,
    state text NOT NULL DEFAULT 'open'
        CONSTRAINT dead_letters_have_a_known_state
        CHECK (state IN ('open', 'redriven', 'discarded')),
    ended_offset bigint,         -- of the record that redrove or discarded it
    CONSTRAINT dead_letters_have_one_row_a_record PRIMARY KEY (partition, record_offset, timer),
    CONSTRAINT dead_letters_end_at_an_offset CHECK ((state = 'open') = (ended_offset IS NULL))
);
