-- What a tenant or the operator must act on.
CREATE TABLE alerts (
    id              uuid PRIMARY KEY,
    tenant          uuid NOT NULL,
    account         uuid,
    connection      uuid,
    opened_at       bigint NOT NULL,
    last_at         bigint NOT NULL,
    acknowledged_at bigint,
    closed_at       bigint,
    count           integer NOT NULL,
    kind            smallint NOT NULL,
    source          text NOT NULL,
    code            text
);
CREATE INDEX alerts_listed ON alerts (tenant, id);
CREATE INDEX alerts_open ON alerts (tenant, id) WHERE closed_at IS NULL;
CREATE INDEX alerts_of_account ON alerts (account) WHERE account IS NOT NULL;
CREATE INDEX alerts_closed ON alerts (closed_at) WHERE closed_at IS NOT NULL;

-- What is kept of sources beside their files.
CREATE TABLE sources (
    id      uuid PRIMARY KEY,
    version integer NOT NULL,
    body    text NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE incidents (
    id           uuid PRIMARY KEY,
    started_at   bigint NOT NULL,
    expected_end bigint,
    ended_at     bigint,
    kind         smallint NOT NULL,
    detected_by  smallint NOT NULL,
    source       text NOT NULL,
    reason       text
);
CREATE INDEX incidents_of_source ON incidents (source, id);
CREATE INDEX incidents_ended ON incidents (ended_at) WHERE ended_at IS NOT NULL;
