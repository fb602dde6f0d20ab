-- What an attempt had brought, and what followed.
ALTER TABLE fetch_attempts ADD COLUMN documents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fetch_attempts ADD COLUMN records INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fetch_attempts ADD COLUMN next_at INTEGER;

-- Fetches that ended, added up: one row for each connection, day, status and class of duration.
-- The rows outlive the fetch log, and the connection.
CREATE TABLE fetch_statistics (
    connection  BLOB NOT NULL,
    day         INTEGER NOT NULL,
    status      INTEGER NOT NULL,
    bucket      INTEGER NOT NULL,
    tenant      BLOB NOT NULL,
    source      TEXT NOT NULL,
    fetches     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    records     INTEGER NOT NULL,
    documents   INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    PRIMARY KEY (connection, day, status, bucket)
) WITHOUT ROWID;
CREATE INDEX fetch_statistics_of_a_source ON fetch_statistics (tenant, source, day);
CREATE INDEX fetch_statistics_of_a_day ON fetch_statistics (day);
