-- How often something that has a limit was done for an account, since when.
CREATE TABLE allowances (
    account   uuid NOT NULL,
    since     bigint NOT NULL,
    spent     integer NOT NULL,
    allowance smallint NOT NULL,
    PRIMARY KEY (account, allowance)
) WITH (fillfactor = 70);
