-- What was spent of budgets: when the calls went out that still count, as the core writes it.
-- Moments in it are those of the database's clock. A commit that spends locks the row.
CREATE TABLE budgets (
    name TEXT PRIMARY KEY,
    ledger BYTEA NOT NULL,
    -- From when on nothing in it counts.
    quiet_from BIGINT NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
-- Rewritten with each batch: kept in the row as it is, as far as it fits.
ALTER TABLE budgets ALTER COLUMN ledger SET STORAGE MAIN;
