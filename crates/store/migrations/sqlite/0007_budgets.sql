-- What was spent of budgets: when the calls went out that still count, as the core writes it.
CREATE TABLE budgets (
    name TEXT NOT NULL PRIMARY KEY,
    ledger BLOB NOT NULL,
    -- From when on nothing in it counts.
    quiet_from INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
