-- How people are reached, sealed, and what they want.
CREATE TABLE people (
    account     uuid PRIMARY KEY,
    tenant      uuid NOT NULL,
    version     integer NOT NULL,
    contact     bytea,
    preferences text NOT NULL
);

CREATE TABLE notifications (
    id      uuid PRIMARY KEY,
    account uuid NOT NULL,
    at      bigint NOT NULL,
    read_at bigint,
    kind    smallint NOT NULL,
    in_app  boolean NOT NULL,
    body    text NOT NULL
);
CREATE INDEX notifications_listed ON notifications (account, id);
CREATE INDEX notifications_by_age ON notifications (at);

-- A message on its way over one channel; status 1 and 2 are open.
CREATE TABLE notices (
    notification uuid NOT NULL,
    account      uuid NOT NULL,
    slot         bigint NOT NULL,
    due          bigint NOT NULL,
    channel      smallint NOT NULL,
    shard        smallint NOT NULL,
    status       smallint NOT NULL,
    body         text NOT NULL,
    PRIMARY KEY (notification, channel, slot)
);
CREATE INDEX notices_due ON notices (channel, due, account, notification) WHERE status < 3;
CREATE INDEX notices_of_account ON notices (account);

-- What people were told about their connections.
CREATE TABLE notification_issues (
    connection uuid PRIMARY KEY,
    account    uuid NOT NULL,
    body       text NOT NULL
);
CREATE INDEX notification_issues_of_account ON notification_issues (account);

-- How far the log was read for people. What happened before is no news.
CREATE TABLE notification_cursors (
    shard smallint PRIMARY KEY,
    seen  bigint NOT NULL
) WITH (fillfactor = 20);
INSERT INTO notification_cursors SELECT shard, next_seq - 1 FROM shards;
