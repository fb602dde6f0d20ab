-- Kinds of failures that no rule matched.
CREATE TABLE unclassified (
    id       BLOB PRIMARY KEY,
    digest   BLOB NOT NULL UNIQUE,
    source   TEXT NOT NULL,
    body     TEXT NOT NULL,
    count    INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX unclassified_of_source ON unclassified (source, id);
CREATE INDEX unclassified_last ON unclassified (last_at);
