-- What is not a read model: keys, definitions, identities, generations, operations.

CREATE TABLE api_keys (
    id text CONSTRAINT api_keys_have_an_id PRIMARY KEY,
    workspace text NOT NULL,
    name text NOT NULL,
    digest bytea NOT NULL CONSTRAINT api_keys_are_unique UNIQUE,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);

CREATE TABLE definitions (
    workspace text NOT NULL,
    revision bigint NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    spec jsonb, -- null: deleted by this revision
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    relayed boolean NOT NULL DEFAULT false,
    CONSTRAINT definitions_have_one_row_a_revision PRIMARY KEY (workspace, revision)
);
CREATE INDEX definitions_by_name ON definitions (workspace, kind, name, revision DESC);
CREATE INDEX definitions_to_relay ON definitions (workspace, revision) WHERE NOT relayed;

CREATE TABLE endpoint_secrets (
    workspace text NOT NULL,
    endpoint text NOT NULL,
    secret bytea NOT NULL,             -- sealed under the master key
    previous_secret bytea,             -- sealed; signs on until previous_until
    previous_until timestamptz,
    headers bytea,                     -- sealed JSON object of header values
    CONSTRAINT endpoint_secrets_have_one_row_an_endpoint PRIMARY KEY (workspace, endpoint)
);

CREATE TABLE customer_keys (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    wrapped bytea NOT NULL,            -- the customer's key, sealed under the master key
    CONSTRAINT customer_keys_have_one_row_a_customer PRIMARY KEY (workspace, customer)
);

CREATE TABLE identities (
    workspace text NOT NULL,
    kind text NOT NULL,                -- source_id or email
    value text NOT NULL,
    customer uuid NOT NULL,
    CONSTRAINT identities_name_one_customer PRIMARY KEY (workspace, kind, value)
);
CREATE INDEX identities_by_customer ON identities (workspace, customer);

CREATE TABLE generations (
    projection text NOT NULL,
    generation integer NOT NULL,
    state text NOT NULL
        CONSTRAINT generations_have_a_known_state CHECK (state IN ('live', 'building', 'dropped')),
    model_version integer NOT NULL,
    partitions integer NOT NULL,
    retired_at timestamptz,      -- when another was promoted over it
    CONSTRAINT generations_are_numbered PRIMARY KEY (projection, generation)
);
CREATE UNIQUE INDEX generations_have_one_live ON generations (projection) WHERE state = 'live';

CREATE TABLE freshness (
    projection text NOT NULL,
    partition integer NOT NULL,
    caught_up_at timestamptz NOT NULL, -- the live generation has applied what stood there by then
    CONSTRAINT freshness_has_one_row_a_partition PRIMARY KEY (projection, partition)
);

CREATE TABLE operations (
    id text CONSTRAINT operations_have_an_id PRIMARY KEY,
    projection text NOT NULL,
    verb text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    state text NOT NULL
        CONSTRAINT operations_have_a_known_state
        CHECK (state IN ('requested', 'running', 'succeeded', 'failed')),
    progress jsonb NOT NULL DEFAULT '{}',
    report jsonb,
    ended_at timestamptz
);
