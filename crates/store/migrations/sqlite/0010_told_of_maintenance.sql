-- Who was told of a source's maintenance is gone through in order when it ends.
CREATE INDEX maintenance_told_of ON maintenance_told (source, account);
