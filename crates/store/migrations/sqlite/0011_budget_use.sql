-- How many calls of a source were spent for whom: what commits granted, hour by hour.
CREATE TABLE budget_use (
    source TEXT NOT NULL,
    -- When it began, in UTC.
    hour INTEGER NOT NULL,
    tenant BLOB NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (source, hour, tenant)
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_use_old ON budget_use (hour);
