-- The order in which messages came to be seen, by person: a stream goes on after a number.
-- The row of the head is locked until its message is there, so that no number appears late.
ALTER TABLE notifications ADD COLUMN seq bigint NOT NULL DEFAULT 0;
CREATE INDEX notifications_in_order ON notifications (account, seq);
CREATE TABLE notification_heads (
    account uuid PRIMARY KEY,
    seq     bigint NOT NULL
) WITH (fillfactor = 70);

-- A request is one message, however often it is sent.
ALTER TABLE notifications ADD COLUMN request bytea;
CREATE UNIQUE INDEX notifications_asked ON notifications (account, request) WHERE request IS NOT NULL;

-- A keyed hash of the number, by which an answer by SMS finds its people, and which answers were taken in.
ALTER TABLE people ADD COLUMN phone bytea;
ALTER TABLE people ADD COLUMN heard text NOT NULL DEFAULT '[]';
CREATE INDEX people_called ON people (phone) WHERE phone IS NOT NULL;

-- What people were told about the maintenance of sources, and how far they were told about incidents.
CREATE TABLE maintenance_told (
    account uuid NOT NULL,
    source  text NOT NULL,
    body    text NOT NULL,
    PRIMARY KEY (account, source)
);
CREATE TABLE incidents_told (
    incident uuid NOT NULL,
    shard    smallint NOT NULL,
    body     text NOT NULL,
    PRIMARY KEY (shard, incident)
);
CREATE INDEX connections_at_source ON connections (source, shard, account);
