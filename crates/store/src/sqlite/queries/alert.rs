//! Alerts.

use rusqlite::{Connection, Row, params};
use wellspring_core::{Alert, AlertId, Stored, TenantId};
use wellspring_engine::{AlertFilter, StoreError};

use super::{decoded, decoded_one};
use crate::row::{self, AlertRow};

pub(super) fn alerts(
    connection: &Connection,
    tenant: TenantId,
    filter: &AlertFilter,
    before: Option<AlertId>,
    limit: usize,
) -> Result<Vec<Alert>, StoreError> {
    let state = match filter.open {
        None => "",
        Some(true) => "AND closed_at IS NULL",
        Some(false) => "AND closed_at IS NOT NULL",
    };
    let sql = format!(
        "SELECT {ALERT} FROM alerts WHERE tenant = ?1 AND id < ?2 {state} \
         AND kind = coalesce(?4, kind) AND source = coalesce(?5, source) \
         AND (?6 IS NULL OR connection = ?6) ORDER BY id DESC LIMIT ?3"
    );
    let params = params![
        tenant.as_bytes(),
        before.map_or([255; 16], |id| *id.as_bytes()),
        limit,
        filter.kind.map(Stored::code),
        filter.source.as_ref().map(|source| source.as_str()),
        filter.connection.map(|id| *id.as_bytes())
    ];
    decoded(connection, &sql, params, alert)
}

pub(super) fn load(
    connection: &Connection,
    tenant: TenantId,
    id: AlertId,
) -> Result<Option<Alert>, StoreError> {
    let sql = format!("SELECT {ALERT} FROM alerts WHERE id = ?1 AND tenant = ?2");
    let of = params![id.as_bytes(), tenant.as_bytes()];
    decoded_one(connection, &sql, of, alert)
}

fn alert(row: &Row<'_>) -> rusqlite::Result<Result<Alert, StoreError>> {
    Ok(row::alert(AlertRow {
        id: row.get(0)?,
        tenant: row.get(1)?,
        kind: row.get(2)?,
        source: row.get(3)?,
        account: row.get(4)?,
        connection: row.get(5)?,
        code: row.get(6)?,
        opened_at: row.get(7)?,
        last_at: row.get(8)?,
        count: row.get(9)?,
        acknowledged_at: row.get(10)?,
        closed_at: row.get(11)?,
    }))
}

const ALERT: &str = "id, tenant, kind, source, account, connection, code, opened_at, last_at, \
                     count, acknowledged_at, closed_at";
