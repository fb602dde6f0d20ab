-- What a tenant or the operator must act on.
CREATE TABLE alerts (
    id              BLOB PRIMARY KEY,
    tenant          BLOB NOT NULL,
    kind            INTEGER NOT NULL,
    source          TEXT NOT NULL,
    account         BLOB,
    connection      BLOB,
    code            TEXT,
    opened_at       INTEGER NOT NULL,
    last_at         INTEGER NOT NULL,
    count           INTEGER NOT NULL,
    acknowledged_at INTEGER,
    closed_at       INTEGER
) WITHOUT ROWID;
CREATE INDEX alerts_listed ON alerts (tenant, id);
CREATE INDEX alerts_open ON alerts (tenant, id) WHERE closed_at IS NULL;
CREATE INDEX alerts_of_account ON alerts (account) WHERE account IS NOT NULL;
CREATE INDEX alerts_closed ON alerts (closed_at) WHERE closed_at IS NOT NULL;

-- What is kept of sources beside their files.
CREATE TABLE sources (
    id      BLOB PRIMARY KEY,
    version INTEGER NOT NULL,
    body    TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE incidents (
    id           BLOB PRIMARY KEY,
    source       TEXT NOT NULL,
    kind         INTEGER NOT NULL,
    detected_by  INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    expected_end INTEGER,
    ended_at     INTEGER,
    reason       TEXT
) WITHOUT ROWID;
CREATE INDEX incidents_of_source ON incidents (source, id);
CREATE INDEX incidents_ended ON incidents (ended_at) WHERE ended_at IS NOT NULL;
