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
