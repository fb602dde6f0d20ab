//! Alerts.

use std::time::Duration;

use wellspring_core::{
    AccountId, Alert, AlertId, AlertKind, ConnectionId, Stored, TenantId, Timestamp,
};
use wellspring_engine::StoreError;

use super::inconsistent;

/// The columns of an alert as the databases hold them.
#[derive(Debug)]
pub(crate) struct AlertRow {
    pub(crate) id: [u8; 16],
    pub(crate) tenant: [u8; 16],
    pub(crate) kind: u8,
    pub(crate) source: String,
    pub(crate) account: Option<[u8; 16]>,
    pub(crate) connection: Option<[u8; 16]>,
    pub(crate) code: Option<String>,
    pub(crate) opened_at: i64,
    pub(crate) last_at: i64,
    pub(crate) count: u32,
    pub(crate) acknowledged_at: Option<i64>,
    pub(crate) closed_at: Option<i64>,
}

/// Rebuilds an alert from its columns.
pub(crate) fn alert(row: AlertRow) -> Result<Alert, StoreError> {
    let id = AlertId::from_bytes(row.id);
    let broken = |column| inconsistent("alerts", column, &id);
    let connection = row.account.zip(row.connection);
    Ok(Alert {
        id,
        tenant: TenantId::from_bytes(row.tenant),
        kind: AlertKind::from_code(row.kind).ok_or_else(|| broken("kind"))?,
        source: row.source.parse().map_err(|_error| broken("source"))?,
        connection: connection.map(|(account, connection)| {
            (
                AccountId::from_bytes(account),
                ConnectionId::from_bytes(connection),
            )
        }),
        code: row.code,
        opened_at: Timestamp::from_millis(row.opened_at),
        last_at: Timestamp::from_millis(row.last_at),
        count: row.count,
        acknowledged_at: row.acknowledged_at.map(Timestamp::from_millis),
        closed_at: row.closed_at.map(Timestamp::from_millis),
    })
}

/// How long an alert is kept once it is closed.
pub(crate) const KEEP_ALERTS: Duration = Duration::from_secs(90 * 86_400);
