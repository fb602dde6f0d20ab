-- How people are reached, sealed, and what they want.
CREATE TABLE people (
    account     BLOB PRIMARY KEY,
    tenant      BLOB NOT NULL,
    version     INTEGER NOT NULL,
    contact     BLOB,
    preferences TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE notifications (
    id      BLOB PRIMARY KEY,
    account BLOB NOT NULL,
    kind    INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    read_at INTEGER,
    in_app  INTEGER NOT NULL,
    body    TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX notifications_listed ON notifications (account, id);
CREATE INDEX notifications_by_age ON notifications (at);

-- A message on its way over one channel; status 1 and 2 are open.
CREATE TABLE notices (
    notification BLOB NOT NULL,
    channel      INTEGER NOT NULL,
    slot         INTEGER NOT NULL,
    account      BLOB NOT NULL,
    shard        INTEGER NOT NULL,
    status       INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    body         TEXT NOT NULL,
    PRIMARY KEY (notification, channel, slot)
) WITHOUT ROWID;
CREATE INDEX notices_due ON notices (channel, due, account, notification) WHERE status < 3;
CREATE INDEX notices_of_account ON notices (account);

-- What people were told about their connections.
CREATE TABLE notification_issues (
    connection BLOB PRIMARY KEY,
    account    BLOB NOT NULL,
    body       TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX notification_issues_of_account ON notification_issues (account);

-- How far the log was read for people. What happened before is no news.
CREATE TABLE notification_cursors (
    shard INTEGER PRIMARY KEY,
    seen  INTEGER NOT NULL
);
INSERT INTO notification_cursors SELECT shard, next_seq - 1 FROM shards;
