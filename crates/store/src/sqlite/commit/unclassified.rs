//! Failures that no rule matched.

use rusqlite::{Transaction, params};
use wellspring_engine::{MOST_UNCLASSIFIED, UnclassifiedWrite};

use super::no_text;
use crate::row::unclassified_body;

pub(super) fn apply(
    transaction: &Transaction<'_>,
    writes: &[UnclassifiedWrite],
) -> rusqlite::Result<()> {
    if writes.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO unclassified (id, digest, source, body, count, first_at, last_at) \
               SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 \
               WHERE EXISTS (SELECT 1 FROM unclassified WHERE digest = ?2) \
               OR (SELECT count(*) FROM unclassified WHERE source = ?3) < ?8 \
               ON CONFLICT (digest) DO UPDATE SET count = count + excluded.count, \
               last_at = max(last_at, excluded.last_at)";
    let mut statement = transaction.prepare_cached(sql)?;
    for write in writes {
        statement.execute(params![
            write.id.as_bytes(),
            write.digest,
            write.kept.source.as_str(),
            unclassified_body(&write.kept).map_err(no_text)?,
            write.count,
            write.first_at.as_millis(),
            write.last_at.as_millis(),
            MOST_UNCLASSIFIED
        ])?;
    }
    Ok(())
}
