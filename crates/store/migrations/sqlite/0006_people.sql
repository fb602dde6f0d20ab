-- The order in which messages came to be seen, by person: a stream goes on after a number.
ALTER TABLE notifications ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
CREATE INDEX notifications_in_order ON notifications (account, seq);
CREATE TABLE notification_heads (
    account BLOB PRIMARY KEY,
    seq     INTEGER NOT NULL
) WITHOUT ROWID;

-- A request is one message, however often it is sent.
ALTER TABLE notifications ADD COLUMN request BLOB;
CREATE UNIQUE INDEX notifications_asked ON notifications (account, request) WHERE request IS NOT NULL;

-- A keyed hash of the number, by which an answer by SMS finds its people, and which answers were taken in.
ALTER TABLE people ADD COLUMN phone BLOB;
ALTER TABLE people ADD COLUMN heard TEXT NOT NULL DEFAULT '[]';
CREATE INDEX people_called ON people (phone) WHERE phone IS NOT NULL;

-- What people were told about the maintenance of sources, and how far they were told about incidents.
CREATE TABLE maintenance_told (
    account BLOB NOT NULL,
    source  TEXT NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (account, source)
) WITHOUT ROWID;
CREATE TABLE incidents_told (
    shard    INTEGER NOT NULL,
    incident BLOB NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (shard, incident)
) WITHOUT ROWID;
CREATE INDEX connections_at_source ON connections (source, account);
