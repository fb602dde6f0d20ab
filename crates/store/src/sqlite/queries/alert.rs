//! Alerts.

use std::fmt::Write as _;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};
use wellspring_core::{Alert, AlertId, Stored, TenantId};
use wellspring_engine::{AlertFilter, StoreError};

use super::{decoded, decoded_one};
use crate::row::{self, AlertRow};

/// Lists those of a tenant, or of all of them.
pub(super) fn alerts(
    connection: &Connection,
    tenant: Option<TenantId>,
    filter: &AlertFilter,
    before: Option<AlertId>,
    limit: usize,
) -> Result<Vec<Alert>, StoreError> {
    let state = match filter.open {
        None => "",
        Some(true) => "AND closed_at IS NULL",
        Some(false) => "AND closed_at IS NOT NULL",
    };
    let blob = |id: &[u8; 16]| Value::Blob(id.to_vec());
    let given = [
        (
            "connection",
            filter.connection.map(|id| blob(id.as_bytes())),
        ),
        ("tenant", tenant.map(|tenant| blob(tenant.as_bytes()))),
        (
            "source",
            filter
                .source
                .as_ref()
                .map(|source| source.to_string().into()),
        ),
        (
            "kind",
            filter.kind.map(|kind| i64::from(kind.code()).into()),
        ),
    ];
    let before = before.map_or([255; 16], |id| *id.as_bytes());
    let mut params = vec![blob(&before)];
    // By the index for the narrowest of what is given: a plus keeps from those for the others.
    let (mut wanted, mut plus) = (String::new(), "");
    for (column, value) in given {
        if let Some(value) = value {
            write!(wanted, " AND {plus}{column} = ?").unwrap_or_default();
            params.push(value);
            plus = "+";
        }
    }
    params.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
    let sql =
        format!("SELECT {ALERT} FROM alerts WHERE id < ? {state}{wanted} ORDER BY id DESC LIMIT ?");
    decoded(connection, &sql, params_from_iter(params), alert)
}

/// Returns one of a tenant, or of any of them.
pub(super) fn load(
    connection: &Connection,
    tenant: Option<TenantId>,
    id: AlertId,
) -> Result<Option<Alert>, StoreError> {
    let sql = format!("SELECT {ALERT} FROM alerts WHERE id = ?1 AND tenant = coalesce(?2, tenant)");
    let of = params![id.as_bytes(), tenant.map(|tenant| *tenant.as_bytes())];
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
