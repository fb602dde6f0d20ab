-- The alerts of all tenants, as the operator lists them.
CREATE INDEX alerts_open_of_all ON alerts (id) WHERE closed_at IS NULL;
CREATE INDEX alerts_of_kind ON alerts (kind, id);
CREATE INDEX alerts_of_source ON alerts (source, id);
CREATE INDEX alerts_of_connection ON alerts (connection, id) WHERE connection IS NOT NULL;
