//! Failures that no rule matched.

use rusqlite::{Connection, params};
use wellspring_core::{SourceName, UnclassifiedId};
use wellspring_engine::{StoreError, UnclassifiedView};

use super::decoded;
use crate::row::{self, UnclassifiedRow};

pub(super) fn unclassified(
    connection: &Connection,
    source: Option<&SourceName>,
    before: Option<UnclassifiedId>,
    limit: usize,
) -> Result<Vec<UnclassifiedView>, StoreError> {
    let sql = "SELECT id, body, count, first_at, last_at FROM unclassified \
               WHERE id < ?1 AND source = coalesce(?2, source) ORDER BY id DESC LIMIT ?3";
    let params = params![
        before.map_or([255; 16], |id| *id.as_bytes()),
        source.map(SourceName::as_str),
        limit
    ];
    decoded(connection, sql, params, |row| {
        Ok(row::unclassified(&UnclassifiedRow {
            id: row.get(0)?,
            body: row.get(1)?,
            count: row.get(2)?,
            first_at: row.get(3)?,
            last_at: row.get(4)?,
        }))
    })
}
