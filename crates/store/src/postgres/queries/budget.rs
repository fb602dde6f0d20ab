//! Who spent calls.

use wellspring_core::{SourceName, TenantId, Timestamp};
use wellspring_engine::StoreError;

use crate::postgres::columns::Fields;
use crate::postgres::session::Session;

pub(super) async fn spenders(
    session: &Session,
    source: &SourceName,
    since: Timestamp,
) -> Result<Vec<(TenantId, u64)>, StoreError> {
    let sql = "SELECT tenant, sum(calls)::int8 AS calls FROM budget_use \
               WHERE source = $1 AND hour >= $2 GROUP BY tenant ORDER BY 2 DESC, tenant";
    let of = (source.as_str(), since.as_millis());
    let rows = session.query(sql, &[&of.0, &of.1]).await?;
    let read = |row| {
        let fields = Fields::new("budget_use", row);
        let calls: i64 = fields.get("calls")?;
        Ok((
            TenantId::from_bytes(fields.uuid("tenant")?),
            calls.cast_unsigned(),
        ))
    };
    rows.iter().map(read).collect()
}
