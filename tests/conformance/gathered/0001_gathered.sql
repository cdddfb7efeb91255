-- The read model of tests.conformance.gathering: reminders, and where they came from.

CREATE TABLE reminders (
    workspace text NOT NULL,
    customer uuid NOT NULL,
    fact uuid NOT NULL,
    round integer NOT NULL,
    at timestamptz NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    times integer NOT NULL,
    revision bigint NOT NULL,
    origins uuid[],
    CONSTRAINT reminders_fire_once_a_round PRIMARY KEY (workspace, customer, fact, round)
);
