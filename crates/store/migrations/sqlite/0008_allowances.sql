-- How often something that has a limit was done for an account, since when.
CREATE TABLE allowances (
    account   BLOB NOT NULL,
    allowance INTEGER NOT NULL,
    since     INTEGER NOT NULL,
    spent     INTEGER NOT NULL,
    PRIMARY KEY (account, allowance)
) STRICT, WITHOUT ROWID;
