-- Telephone numbers, as keyed hashes, that have said whether they want SMS: they outlive accounts.
CREATE TABLE phones (
    stopped boolean NOT NULL,
    phone   bytea PRIMARY KEY,
    heard   bytea[] NOT NULL
);
-- Until now that was a preference.
INSERT INTO phones (phone, stopped, heard)
SELECT DISTINCT phone, true, '{}'::bytea[] FROM people WHERE phone IS NOT NULL AND heard <> '[]'
AND preferences::jsonb -> 'channels_off' @> '["sms"]';
