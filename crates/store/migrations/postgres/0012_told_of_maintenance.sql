-- Who was told of a source's maintenance is gone through in order when it ends, shard by shard.
CREATE INDEX maintenance_told_of ON maintenance_told
    (source, ((get_byte(uuid_send(account), 15) & 63)::int2), account);
