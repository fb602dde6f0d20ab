//! Who spent calls.

use rusqlite::{Connection, params};
use wellspring_core::{SourceName, TenantId, Timestamp};
use wellspring_engine::StoreError;

use super::decoded;

pub(super) fn spenders(
    connection: &Connection,
    source: &SourceName,
    since: Timestamp,
) -> Result<Vec<(TenantId, u64)>, StoreError> {
    let sql = "SELECT tenant, sum(calls) AS calls FROM budget_use WHERE source = ?1 AND hour >= ?2 \
               GROUP BY tenant ORDER BY calls DESC, tenant";
    let of = params![source.as_str(), since.as_millis()];
    decoded(connection, sql, of, |row| {
        let calls: i64 = row.get(1)?;
        Ok(Ok((
            TenantId::from_bytes(row.get(0)?),
            calls.cast_unsigned(),
        )))
    })
}
