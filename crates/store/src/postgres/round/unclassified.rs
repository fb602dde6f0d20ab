//! Failures that no rule matched.

use std::collections::BTreeMap;

use uuid::Uuid;
use wellspring_core::SourceName;
use wellspring_engine::{CommitError, MOST_UNCLASSIFIED, UnclassifiedWrite};

use super::Call;
use crate::postgres::columns::text;
use crate::postgres::session::Param;
use crate::row::unclassified_body;

/// What one batch has met, as columns.
#[derive(Default)]
pub(in crate::postgres) struct Unclassified<'a> {
    id: Vec<Uuid>,
    digest: Vec<&'a [u8]>,
    source: Vec<&'a str>,
    body: Vec<String>,
    count: Vec<i64>,
    first_at: Vec<i64>,
    last_at: Vec<i64>,
    /// How many kinds of the source there may be for this one to be new.
    room: Vec<i64>,
}

impl<'a> Unclassified<'a> {
    pub(in crate::postgres) fn of(writes: &'a [UnclassifiedWrite]) -> Result<Self, CommitError> {
        let mut columns = Self::default();
        let mut places: BTreeMap<&SourceName, i64> = BTreeMap::new();
        let most = i64::try_from(MOST_UNCLASSIFIED).unwrap_or(i64::MAX);
        for write in writes {
            let body = unclassified_body(&write.kept);
            let body = body.map_err(|error| CommitError::NotCommitted(error.to_string()))?;
            let place = places.entry(&write.kept.source).or_default();
            columns.id.push(write.id.uuid());
            columns.digest.push(&write.digest);
            columns.source.push(write.kept.source.as_str());
            columns.body.push(text(&body).into_owned());
            columns.count.push(write.count.into());
            columns.first_at.push(write.first_at.as_millis());
            columns.last_at.push(write.last_at.as_millis());
            columns.room.push(most - *place);
            *place += 1;
        }
        Ok(columns)
    }

    /// Adds the statement; without rows it is left out.
    pub(in crate::postgres) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if self.id.is_empty() {
            return;
        }
        let params: Vec<Param<'_>> = vec![
            &self.id,
            &self.digest,
            &self.source,
            &self.body,
            &self.count,
            &self.first_at,
            &self.last_at,
            &self.room,
        ];
        // In one order, so that nodes which meet the same do not wait for each other.
        let sql = "INSERT INTO unclassified AS k (id, digest, source, body, count, first_at, last_at) \
                   SELECT u.id, u.digest, u.source, u.body, u.count, u.first_at, u.last_at \
                   FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::int8[], \
                   $6::int8[], $7::int8[], $8::int8[]) \
                   AS u (id, digest, source, body, count, first_at, last_at, room) \
                   WHERE EXISTS (SELECT 1 FROM unclassified e WHERE e.digest = u.digest) \
                   OR (SELECT count(*) FROM unclassified e WHERE e.source = u.source) < u.room \
                   ORDER BY u.digest \
                   ON CONFLICT (digest) DO UPDATE SET count = k.count + excluded.count, \
                   last_at = greatest(k.last_at, excluded.last_at)";
        calls.push(Call::any(sql, params));
    }
}
