-- How many calls of a source were spent for whom: what commits granted, hour by hour, by the
-- database's clock.
CREATE TABLE budget_use (
    source TEXT NOT NULL,
    -- When it began, in UTC.
    hour BIGINT NOT NULL,
    tenant UUID NOT NULL,
    calls BIGINT NOT NULL,
    PRIMARY KEY (source, hour, tenant)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
CREATE INDEX budget_use_old ON budget_use (hour);
