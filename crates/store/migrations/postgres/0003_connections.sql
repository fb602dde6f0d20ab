-- Names given by tenants are looked up, and not unique here: what two requests give at once is
-- for those who take requests to settle.
CREATE TABLE accounts (
    id          uuid PRIMARY KEY,
    tenant      uuid NOT NULL,
    created_at  bigint NOT NULL,
    erasing_at  bigint,
    version     integer NOT NULL,
    external_id text,
    erasing_by  bytea
);
CREATE INDEX accounts_listed ON accounts (tenant, id);
CREATE INDEX accounts_named ON accounts (tenant, external_id, id) WHERE external_id IS NOT NULL;
CREATE INDEX accounts_erasing ON accounts (id) WHERE erasing_at IS NOT NULL;

-- Rewritten at each step; no index has a column that changes, so that updates stay on their page
-- (timers live in memory and are rebuilt by scans of this table).
CREATE TABLE connections (
    id      uuid PRIMARY KEY,
    account uuid NOT NULL,
    tenant  uuid NOT NULL,
    due     bigint,
    lane    bigint,
    version integer NOT NULL,
    shard   smallint NOT NULL,
    state   smallint NOT NULL,
    source  text NOT NULL,
    body    text NOT NULL
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX connections_listed ON connections (account, id);

CREATE TABLE secrets (
    connection uuid NOT NULL,
    slot       smallint NOT NULL,
    sealed     bytea NOT NULL,
    PRIMARY KEY (connection, slot)
);

-- Where streams go on.
CREATE TABLE stream_cursors (
    connection uuid NOT NULL,
    stream     text NOT NULL,
    cursor     text NOT NULL,
    PRIMARY KEY (connection, stream)
) WITH (fillfactor = 80);

CREATE TABLE records (
    connection uuid NOT NULL,
    stream     text NOT NULL,
    key        text NOT NULL,
    hash       bytea NOT NULL,
    body       bytea NOT NULL,
    PRIMARY KEY (connection, stream, key)
);

CREATE TABLE interactions (
    id         uuid PRIMARY KEY,
    connection uuid NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    closed_at  bigint,
    reason     smallint,
    hash       bytea,
    question   text NOT NULL
);
CREATE INDEX interactions_listed ON interactions (connection, id);
CREATE INDEX interactions_closed ON interactions (closed_at) WHERE closed_at IS NOT NULL;

-- The fetch log; a row is written over as its fetch goes on.
CREATE TABLE fetches (
    id         uuid PRIMARY KEY,
    connection uuid NOT NULL,
    tenant     uuid NOT NULL,
    ended_at   bigint,
    body       text NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX fetches_listed ON fetches (connection, id);

CREATE TABLE fetch_attempts (
    fetch_id    uuid NOT NULL,
    at          bigint NOT NULL,
    duration_ms bigint NOT NULL,
    number      smallint NOT NULL,
    error       text,
    PRIMARY KEY (fetch_id, number)
);

CREATE TABLE documents (
    id         uuid PRIMARY KEY,
    tenant     uuid NOT NULL,
    account    uuid NOT NULL,
    connection uuid NOT NULL,
    hash       bytea NOT NULL,
    source_id  text,
    body       text NOT NULL
);
CREATE INDEX documents_listed ON documents (tenant, id);
CREATE INDEX documents_of_account ON documents (account, id);
CREATE INDEX documents_of_connection ON documents (connection, id);
CREATE INDEX documents_by_source ON documents (connection, source_id, id)
    WHERE source_id IS NOT NULL;
CREATE INDEX documents_by_hash ON documents (connection, hash, id);

-- Documents whose rows are gone and whose bytes are to go.
CREATE TABLE blob_garbage (
    id uuid PRIMARY KEY
);

CREATE TABLE subscriptions (
    id              uuid PRIMARY KEY,
    tenant          uuid NOT NULL,
    created_at      bigint NOT NULL,
    disabled_at     bigint,
    version         integer NOT NULL,
    kind            smallint NOT NULL,
    disabled_reason smallint,
    enabled         boolean NOT NULL,
    url             text NOT NULL,
    description     text,
    patterns        text NOT NULL,
    sealed_secrets  bytea NOT NULL
);
CREATE INDEX subscriptions_listed ON subscriptions (tenant, id);

-- Where subscriptions go on that are not caught up with a shard.
CREATE TABLE positions (
    shard         smallint NOT NULL,
    subscription  uuid NOT NULL,
    seen          bigint NOT NULL,
    failing_since bigint,
    PRIMARY KEY (shard, subscription)
) WITH (fillfactor = 50);
CREATE INDEX positions_of ON positions (subscription);

-- Most rows are written once, as delivered. Status 3 is that; 1 and 2 are open.
CREATE TABLE deliveries (
    subscription    uuid NOT NULL,
    tenant          uuid NOT NULL,
    line            uuid NOT NULL,
    seq             bigint NOT NULL,
    created_at      bigint NOT NULL,
    next_attempt_at bigint,
    ended_at        bigint,
    shard           smallint NOT NULL,
    status          smallint NOT NULL,
    attempts        smallint NOT NULL,
    failures        smallint NOT NULL,
    message_id      text NOT NULL,
    PRIMARY KEY (shard, seq, subscription)
) WITH (fillfactor = 90);
CREATE INDEX deliveries_listed ON deliveries (subscription, created_at, shard, seq);
CREATE INDEX deliveries_undelivered ON deliveries (subscription, created_at, shard, seq)
    WHERE status <> 3;
CREATE INDEX deliveries_open ON deliveries (shard, subscription, seq) WHERE status < 3;

CREATE TABLE delivery_attempts (
    subscription uuid NOT NULL,
    seq          bigint NOT NULL,
    at           bigint NOT NULL,
    duration_ms  bigint NOT NULL,
    shard        smallint NOT NULL,
    number       smallint NOT NULL,
    http_status  smallint,
    snippet      text NOT NULL,
    error        text,
    PRIMARY KEY (shard, seq, subscription, number)
);

-- Tokens that tenants give out for one account each: links to the connect page, and what such a
-- page or an application's own client works with.
CREATE TABLE tokens (
    hash       bytea PRIMARY KEY,
    tenant     uuid NOT NULL,
    account    uuid NOT NULL,
    connection uuid,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    spent_at   bigint,
    kind       smallint NOT NULL,
    source     text,
    return_url text
);
CREATE INDEX tokens_of ON tokens (account);
CREATE INDEX tokens_ending ON tokens (expires_at);
