-- Kinds of failures that no rule matched.
CREATE TABLE unclassified (
    id       uuid PRIMARY KEY,
    first_at bigint NOT NULL,
    last_at  bigint NOT NULL,
    count    bigint NOT NULL,
    digest   bytea NOT NULL UNIQUE,
    source   text NOT NULL,
    body     text NOT NULL
);
CREATE INDEX unclassified_of_source ON unclassified (source, id);
CREATE INDEX unclassified_last ON unclassified (last_at);
