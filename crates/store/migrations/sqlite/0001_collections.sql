-- One row: this folder has one writer. The numbers live here so that one update a commit
-- fences the writer, keeps its place in the log, and tells later whether the commit was made.
CREATE TABLE shards (
    shard      INTEGER PRIMARY KEY,
    owner      BLOB,
    epoch      INTEGER NOT NULL,
    next_seq   INTEGER NOT NULL,
    last_batch INTEGER NOT NULL
);
INSERT INTO shards VALUES (0, NULL, 0, 1, 0);

-- Unfinished collections, rewritten at each step: narrow, and without any further index
-- (timers live in memory and are rebuilt by one scan of this table).
CREATE TABLE hot (
    id      BLOB PRIMARY KEY,
    state   INTEGER NOT NULL,
    version INTEGER NOT NULL,
    due     INTEGER NOT NULL,
    lane    INTEGER NOT NULL,
    since   INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    waits   INTEGER NOT NULL,
    message INTEGER NOT NULL
) WITHOUT ROWID;

-- Written when a collection is accepted and when it is finished.
CREATE TABLE collections (
    id            BLOB PRIMARY KEY,
    tenant        BLOB NOT NULL,
    source        TEXT NOT NULL,
    callback_url  TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    message       INTEGER NOT NULL,
    collected_at  INTEGER,
    finished_at   INTEGER,
    failed_stage  INTEGER,
    error_class   INTEGER,
    error_code    TEXT,
    error_message TEXT
) WITHOUT ROWID;
CREATE INDEX collections_failed ON collections (tenant, id) WHERE failed_stage IS NOT NULL;

CREATE TABLE payloads (
    id   BLOB PRIMARY KEY,
    body BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE attempts (
    id          BLOB NOT NULL,
    version     INTEGER NOT NULL,
    stage       INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    class       INTEGER,
    code        TEXT,
    message     TEXT,
    PRIMARY KEY (id, version)
) WITHOUT ROWID;

CREATE TABLE log (
    seq      INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    tenant   BLOB NOT NULL,
    verb     INTEGER NOT NULL,
    subject  BLOB NOT NULL,
    property INTEGER NOT NULL,
    event    INTEGER NOT NULL,
    actor    BLOB NOT NULL,
    cause    INTEGER NOT NULL,
    body     TEXT NOT NULL
);

-- How far back the log still reaches, for each tenant that lost entries to its retention.
CREATE TABLE log_floors (
    tenant BLOB PRIMARY KEY,
    seq    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    tenant      BLOB NOT NULL,
    key         BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    id          BLOB NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;

CREATE TABLE inbox (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    shard   INTEGER NOT NULL,
    request TEXT NOT NULL
);

CREATE TABLE tenants (
    id             BLOB PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    created_at     INTEGER NOT NULL,
    sealed_secrets BLOB NOT NULL,
    settings       TEXT NOT NULL
);

CREATE TABLE api_keys (
    id         BLOB PRIMARY KEY,
    tenant     BLOB NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
);

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
