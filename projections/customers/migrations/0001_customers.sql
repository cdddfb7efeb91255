-- The read model of projections.customers. Every column is a function of the log: what bears a time
-- bears an append time or one that a record claims. JSON stands as text: it is read as a whole, and
-- its numbers keep their digits.

CREATE TABLE customers (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    source_id text,
    email text,
    name text,
    phone text,
    description text,
    birthdate text,
    birthday text,
    address text,                -- JSON: contracts.events.Address
    metadata text NOT NULL,      -- JSON object
    merged bytea,                -- digest of the profile merged last: the same again changes nothing
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT customers_have_one_row PRIMARY KEY (workspace, customer)
);
CREATE INDEX customers_by_source_id ON customers (workspace, source_id)
    WHERE source_id IS NOT NULL;
CREATE INDEX customers_by_email ON customers (workspace, lower(email), created_at, customer)
    WHERE email IS NOT NULL;

CREATE TABLE events (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    fact uuid NOT NULL,
    event text NOT NULL,
    external_id text,
    outcome text NOT NULL        -- of the version received last, whether it changed something or not
        CONSTRAINT events_have_a_known_outcome
        CHECK (outcome IN ('applied', 'replaced', 'stale', 'duplicate', 'deleted')),
    version integer NOT NULL,
    revision bigint NOT NULL,    -- of the definitions that judge the fact
    occurred_at timestamptz NOT NULL,
    counted_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz,
    withdrawn boolean NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL, -- of the version that stands
    content text NOT NULL,       -- JSON: projections.customers.model.EventContent
    origins uuid[],              -- customers that it came from by merges, the last one last
    CONSTRAINT events_have_one_row_a_customer PRIMARY KEY (workspace, customer, fact)
);
CREATE INDEX events_by_fact ON events (workspace, fact);
CREATE INDEX events_by_customer ON events (workspace, customer, occurred_at, fact);
CREATE INDEX events_by_type ON events (workspace, event, occurred_at, fact);
CREATE INDEX events_by_external_id ON events (workspace, external_id)
    WHERE external_id IS NOT NULL;

CREATE TABLE timeline (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    record_offset bigint NOT NULL,
    number smallint NOT NULL,    -- of the entries that one record caused
    partition integer NOT NULL,
    kind text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL, -- logical time of the record's place
    data text NOT NULL,          -- JSON object
    caused_by text,
    origins uuid[],              -- as of events
    CONSTRAINT timeline_has_one_row_an_entry -- in order, also of several partitions after a merge
        PRIMARY KEY (workspace, customer, recorded_at, partition, record_offset, number)
);
CREATE INDEX timeline_by_place
    ON timeline (workspace, recorded_at, partition, record_offset, number);

-- Who holds a fact among all customers it was told for: the greatest claim so far, whatever the order
-- in which partitions are read. The one table that several partitions write.
CREATE TABLE fact_owners (
    workspace text NOT NULL,
    fact uuid NOT NULL,
    customer uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    appended_at timestamptz NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    stands_partition integer,    -- where the owner's version stands, if not at the claim's place:
    stands_offset bigint,        -- the claim came over in a merge, and the survivor's version stayed
    CONSTRAINT facts_have_one_owner PRIMARY KEY (workspace, fact)
);
