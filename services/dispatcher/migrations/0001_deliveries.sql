-- The queue of deliveries. The rows are the queue: whatever stops, nothing is owed that is not here.
-- No generation and no rebuild: a replay writes none of it.

CREATE TABLE messages (                  -- never updated, so what is searched by has its indexes here
    id uuid CONSTRAINT messages_have_an_id PRIMARY KEY,
    workspace text NOT NULL,
    customer uuid NOT NULL,
    event uuid NOT NULL,                 -- the fact's key
    distribution text NOT NULL,
    logical_time timestamptz NOT NULL,
    body bytea NOT NULL,                 -- the exact bytes that are signed, sent and appended
    endpoint text,                       -- null: owed to nobody, only the topic bears it
    delivery uuid,
    created_at timestamptz NOT NULL,
    CONSTRAINT messages_owed_have_a_delivery CHECK ((endpoint IS NULL) = (delivery IS NULL))
);
CREATE INDEX messages_by_time ON messages (workspace, created_at DESC, delivery DESC)
    WHERE delivery IS NOT NULL;
CREATE INDEX messages_by_endpoint
    ON messages (workspace, endpoint, created_at DESC, delivery DESC)
    WHERE delivery IS NOT NULL;
CREATE INDEX messages_by_customer
    ON messages (workspace, customer, created_at DESC, delivery DESC)
    WHERE delivery IS NOT NULL;
CREATE INDEX messages_by_event ON messages (workspace, event) WHERE delivery IS NOT NULL;
CREATE INDEX messages_by_age ON messages USING brin (created_at);

CREATE TABLE deliveries (
    id uuid CONSTRAINT deliveries_have_an_id PRIMARY KEY,
    workspace text NOT NULL,
    endpoint text NOT NULL,
    customer uuid NOT NULL,
    message uuid NOT NULL,
    place bigint NOT NULL,               -- offset of the cause: the order within a customer
    state text NOT NULL DEFAULT 'pending'
        CONSTRAINT deliveries_have_a_known_state
        CHECK (state IN ('pending', 'delivering', 'succeeded', 'exhausted', 'disabled')),
    behind boolean NOT NULL DEFAULT false, -- an earlier one of the same line is still open
    next_attempt_at timestamptz NOT NULL,
    attempts_count integer NOT NULL DEFAULT 0,
    attempts_before integer NOT NULL DEFAULT 0, -- made before the last redrive
    claimed_by integer,                  -- number of the sender, which holds an advisory lock on it
    claimed_until timestamptz,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT deliveries_are_claimed_while_delivering
        CHECK ((state = 'delivering') = (claimed_by IS NOT NULL AND claimed_until IS NOT NULL)),
    CONSTRAINT deliveries_stand_behind_while_pending CHECK (state = 'pending' OR NOT behind),
    CONSTRAINT deliveries_count_attempts
        CHECK (attempts_count >= attempts_before AND attempts_before >= 0)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX deliveries_due ON deliveries (workspace, endpoint, next_attempt_at, place)
    WHERE state = 'pending' AND NOT behind;
CREATE INDEX deliveries_behind ON deliveries (workspace, endpoint) WHERE behind;
CREATE INDEX deliveries_lines ON deliveries (workspace, endpoint, customer, place, id)
    WHERE state IN ('pending', 'delivering');
CREATE INDEX deliveries_claimed ON deliveries (claimed_until) WHERE state = 'delivering';
CREATE INDEX deliveries_failed ON deliveries (workspace, endpoint, created_at)
    WHERE state IN ('exhausted', 'disabled');
CREATE INDEX deliveries_by_age ON deliveries USING brin (created_at);

CREATE TABLE attempts (
    delivery uuid NOT NULL,
    ordinal integer NOT NULL,            -- from 1
    at timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    status integer,                      -- null: no answer
    answer bytea NOT NULL,               -- its beginning
    error text,                          -- why there was no answer
    CONSTRAINT attempts_have_one_row_a_try PRIMARY KEY (delivery, ordinal),
    CONSTRAINT attempts_keep_the_beginning_only CHECK (length(answer) <= 4096),
    CONSTRAINT attempts_have_an_answer_or_an_error CHECK ((status IS NULL) = (error IS NOT NULL))
);

CREATE TABLE endpoints (
    workspace text NOT NULL,
    name text NOT NULL,
    disabled_at timestamptz,
    disabled_reason text,
    failing_since timestamptz,           -- first failure after the last success
    last_success_at timestamptz,
    slot_at timestamptz,                 -- rate limit: when the next attempt is allowed
    CONSTRAINT endpoints_have_one_row_a_name PRIMARY KEY (workspace, name),
    CONSTRAINT endpoints_say_why_they_are_disabled
        CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
) WITH (fillfactor = 50);

CREATE TABLE endpoint_hours (
    workspace text NOT NULL,
    endpoint text NOT NULL,
    hour timestamptz NOT NULL,
    succeeded_count bigint NOT NULL,
    failed_count bigint NOT NULL,
    CONSTRAINT endpoint_hours_have_one_row_an_hour PRIMARY KEY (workspace, endpoint, hour)
) WITH (fillfactor = 50);

CREATE SEQUENCE senders AS integer CYCLE;
