-- Telephone numbers, as keyed hashes, that have said whether they want SMS: they outlive accounts.
CREATE TABLE phones (
    phone   BLOB NOT NULL PRIMARY KEY,
    stopped INTEGER NOT NULL,
    heard   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- Until now that was a preference.
INSERT INTO phones (phone, stopped, heard)
SELECT DISTINCT phone, 1, '[]' FROM people WHERE phone IS NOT NULL AND heard <> '[]'
AND EXISTS (SELECT 1 FROM json_each(preferences, '$.channels_off') WHERE value = 'sms');
