-- What an attempt had brought, and what followed.
ALTER TABLE fetch_attempts
    ADD COLUMN documents integer NOT NULL DEFAULT 0,
    ADD COLUMN records integer NOT NULL DEFAULT 0,
    ADD COLUMN next_at bigint;

-- Fetches that ended, added up: one row for each connection, day, status and class of duration.
-- The rows outlive the fetch log, and the connection.
CREATE TABLE fetch_statistics (
    connection  uuid NOT NULL,
    tenant      uuid NOT NULL,
    fetches     bigint NOT NULL,
    attempts    bigint NOT NULL,
    records     bigint NOT NULL,
    documents   bigint NOT NULL,
    duration_ms bigint NOT NULL,
    day         integer NOT NULL,
    status      smallint NOT NULL,
    bucket      smallint NOT NULL,
    source      text NOT NULL,
    PRIMARY KEY (connection, day, status, bucket)
) WITH (fillfactor = 80);
CREATE INDEX fetch_statistics_of_a_source ON fetch_statistics (tenant, source, day);
CREATE INDEX fetch_statistics_of_a_day ON fetch_statistics (day);
