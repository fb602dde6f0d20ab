-- One row: this folder has one writer. The numbers live here so that one update a commit
-- fences the writer, keeps its place in the log and how far the log is dispatched, and tells
-- later whether the commit was made.
CREATE TABLE shards (
    shard      INTEGER PRIMARY KEY,
    owner      BLOB,
    epoch      INTEGER NOT NULL,
    next_seq   INTEGER NOT NULL,
    last_batch INTEGER NOT NULL,
    dispatched INTEGER NOT NULL
);
INSERT INTO shards VALUES (0, NULL, 0, 1, 0, 0);

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
    kind        INTEGER NOT NULL,
    id          BLOB NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;

CREATE TABLE accounts (
    id          BLOB PRIMARY KEY,
    tenant      BLOB NOT NULL,
    external_id TEXT,
    created_at  INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    erasing_at  INTEGER,
    erasing_by  BLOB
) WITHOUT ROWID;
CREATE INDEX accounts_listed ON accounts (tenant, id);
CREATE INDEX accounts_named ON accounts (tenant, external_id, id) WHERE external_id IS NOT NULL;
CREATE INDEX accounts_erasing ON accounts (id) WHERE erasing_at IS NOT NULL;

-- Rewritten at each step, and without an index on what changes. The scan at start reads no
-- further than to the lane: a million rows take about a second, and a narrow table beside
-- this one would make that a little shorter and each step a page more.
CREATE TABLE connections (
    id      BLOB PRIMARY KEY,
    due     INTEGER,
    lane    INTEGER,
    version INTEGER NOT NULL,
    state   INTEGER NOT NULL,
    account BLOB NOT NULL,
    tenant  BLOB NOT NULL,
    source  TEXT NOT NULL,
    body    TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX connections_listed ON connections (account, id);

CREATE TABLE secrets (
    connection BLOB NOT NULL,
    slot       INTEGER NOT NULL,
    sealed     BLOB NOT NULL,
    PRIMARY KEY (connection, slot)
) WITHOUT ROWID;

CREATE TABLE interactions (
    connection BLOB NOT NULL,
    id         BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    closed_at  INTEGER,
    reason     INTEGER,
    hash       BLOB,
    question   TEXT NOT NULL,
    PRIMARY KEY (connection, id)
) WITHOUT ROWID;
CREATE INDEX interactions_closed ON interactions (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE fetches (
    id         BLOB PRIMARY KEY,
    connection BLOB NOT NULL,
    tenant     BLOB NOT NULL,
    ended_at   INTEGER,
    body       TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX fetches_listed ON fetches (connection, id);

CREATE TABLE fetch_attempts (
    fetch       BLOB NOT NULL,
    number      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    error       TEXT,
    PRIMARY KEY (fetch, number)
) WITHOUT ROWID;

CREATE TABLE documents (
    id         BLOB PRIMARY KEY,
    tenant     BLOB NOT NULL,
    account    BLOB NOT NULL,
    connection BLOB NOT NULL,
    source_id  TEXT,
    hash       BLOB NOT NULL,
    body       TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX documents_listed ON documents (tenant, id);
CREATE INDEX documents_of_account ON documents (account, id);
CREATE INDEX documents_known ON documents (connection, source_id) WHERE source_id IS NOT NULL;
CREATE INDEX documents_same ON documents (connection, hash);

-- Documents whose rows are gone and whose bytes are to go.
CREATE TABLE blob_garbage (
    id BLOB PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE records (
    connection BLOB NOT NULL,
    stream     TEXT NOT NULL,
    key        TEXT NOT NULL,
    hash       BLOB NOT NULL,
    body       BLOB NOT NULL,
    PRIMARY KEY (connection, stream, key)
) WITHOUT ROWID;

CREATE TABLE stream_cursors (
    connection BLOB NOT NULL,
    stream     TEXT NOT NULL,
    cursor     TEXT NOT NULL,
    PRIMARY KEY (connection, stream)
) WITHOUT ROWID;

CREATE TABLE subscriptions (
    id              BLOB PRIMARY KEY,
    tenant          BLOB NOT NULL,
    kind            INTEGER NOT NULL,
    patterns        TEXT NOT NULL,
    url             TEXT NOT NULL,
    description     TEXT,
    created_at      INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    enabled         INTEGER NOT NULL,
    disabled_reason INTEGER,
    disabled_at     INTEGER,
    sealed_secrets  BLOB NOT NULL
) WITHOUT ROWID;

-- Subscriptions that are not caught up with the log.
CREATE TABLE positions (
    subscription  BLOB PRIMARY KEY,
    seen          INTEGER NOT NULL,
    failing_since INTEGER
) WITHOUT ROWID;

-- The state is 1 waiting, 2 retrying, 3 delivered, 4 exhausted; the indexes name it by number.
CREATE TABLE deliveries (
    subscription    BLOB NOT NULL,
    seq             INTEGER NOT NULL,
    tenant          BLOB NOT NULL,
    line            BLOB NOT NULL,
    message_id      TEXT NOT NULL,
    status          INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    failures        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    next_attempt_at INTEGER,
    ended_at        INTEGER,
    PRIMARY KEY (subscription, seq)
) WITHOUT ROWID;
CREATE INDEX deliveries_open ON deliveries (subscription, seq) WHERE status < 3;
CREATE INDEX deliveries_listed ON deliveries (tenant, created_at, seq, subscription);
CREATE INDEX deliveries_undelivered ON deliveries (tenant, created_at, seq, subscription) WHERE status <> 3;

CREATE TABLE delivery_attempts (
    subscription BLOB NOT NULL,
    seq          INTEGER NOT NULL,
    number       INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    duration_ms  INTEGER NOT NULL,
    status       INTEGER,
    snippet      TEXT NOT NULL,
    error        TEXT,
    PRIMARY KEY (subscription, seq, number)
) WITHOUT ROWID;

CREATE TABLE tokens (
    hash       BLOB PRIMARY KEY,
    tenant     BLOB NOT NULL,
    account    BLOB NOT NULL,
    kind       INTEGER NOT NULL,
    connection BLOB,
    source     TEXT,
    return_url TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    spent_at   INTEGER
) WITHOUT ROWID;
CREATE INDEX tokens_ended ON tokens (expires_at);
CREATE INDEX tokens_of_account ON tokens (account);

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
