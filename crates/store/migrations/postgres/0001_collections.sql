-- The living incarnations. Every commit updates its own row first: whoever fences an incarnation
-- locks that row, so that a commit is either finished before the fence or finds the row gone.
CREATE TABLE nodes (
    incarnation uuid PRIMARY KEY,
    expires_at  timestamptz NOT NULL,
    last_batch  bigint NOT NULL
) WITH (fillfactor = 20);

-- Up to `dispatched` a shard's log was handed to all subscriptions that are caught up.
CREATE TABLE shards (
    shard      smallint PRIMARY KEY,
    owner      uuid,
    epoch      bigint NOT NULL,
    next_seq   bigint NOT NULL,
    dispatched bigint NOT NULL
) WITH (fillfactor = 20);
INSERT INTO shards SELECT shard, NULL, 0, 1, 0 FROM generate_series(0, 63) AS shard;

-- Unfinished collections, rewritten at each step: narrow, and without any further index, so that
-- updates stay on their page (timers live in memory and are rebuilt by scans of this table).
-- The shard of a row is in the last six bits of its id; a scan computes it, no row carries it.
CREATE TABLE hot (
    id      uuid PRIMARY KEY,
    due     bigint NOT NULL,
    lane    bigint NOT NULL,
    since   bigint NOT NULL,
    version integer NOT NULL,
    state   smallint NOT NULL,
    retries smallint NOT NULL,
    waits   smallint NOT NULL,
    message smallint NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- Written when a collection is accepted and when it is finished.
CREATE TABLE collections (
    id            uuid PRIMARY KEY,
    tenant        uuid NOT NULL,
    created_at    bigint NOT NULL,
    collected_at  bigint,
    finished_at   bigint,
    version       integer NOT NULL,
    message       smallint NOT NULL,
    failed_stage  smallint,
    error_class   smallint,
    source        text NOT NULL,
    callback_url  text NOT NULL,
    error_code    text,
    error_message text
) WITH (fillfactor = 80);
CREATE INDEX collections_failed ON collections (tenant, id) WHERE failed_stage IS NOT NULL;

CREATE TABLE payloads (
    id   uuid PRIMARY KEY,
    body bytea NOT NULL
);

CREATE TABLE attempts (
    id          uuid NOT NULL,
    at          bigint NOT NULL,
    duration_ms bigint NOT NULL,
    version     integer NOT NULL,
    stage       smallint NOT NULL,
    class       smallint,
    code        text,
    message     text,
    PRIMARY KEY (id, version)
);

CREATE TABLE log (
    seq      bigint NOT NULL,
    at       bigint NOT NULL,
    tenant   uuid NOT NULL,
    shard    smallint NOT NULL,
    verb     smallint NOT NULL,
    property smallint NOT NULL,
    event    smallint NOT NULL,
    cause    smallint NOT NULL,
    subject  bytea NOT NULL,
    actor    bytea NOT NULL,
    body     text NOT NULL,
    PRIMARY KEY (shard, seq)
);

-- How far back the log still reaches, for each tenant that lost entries to its retention.
CREATE TABLE log_floors (
    shard  smallint NOT NULL,
    tenant uuid NOT NULL,
    seq    bigint NOT NULL,
    PRIMARY KEY (shard, tenant)
);

CREATE TABLE idempotency_keys (
    tenant      uuid NOT NULL,
    key         bytea NOT NULL,
    fingerprint bytea NOT NULL,
    id          uuid NOT NULL,
    at          bigint NOT NULL,
    kind        smallint NOT NULL,
    PRIMARY KEY (tenant, key)
);

CREATE TABLE inbox (
    number  bigserial PRIMARY KEY,
    shard   smallint NOT NULL,
    request text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE tenants (
    id             uuid PRIMARY KEY,
    name           text NOT NULL UNIQUE,
    created_at     bigint NOT NULL,
    sealed_secrets bytea NOT NULL,
    settings       text NOT NULL
);

CREATE TABLE api_keys (
    id         uuid PRIMARY KEY,
    tenant     uuid NOT NULL,
    hash       bytea NOT NULL UNIQUE,
    created_at bigint NOT NULL,
    revoked_at bigint
);

CREATE TABLE meta (
    name  text PRIMARY KEY,
    value text NOT NULL
);
