//! What becomes of alerts.

use rusqlite::{Transaction, params};
use wellspring_core::{Alert, AlertWrite, Stored, Timestamp};

pub(super) fn apply(transaction: &Transaction<'_>, writes: &[AlertWrite]) -> rusqlite::Result<()> {
    for write in writes {
        match write {
            AlertWrite::Open(alert) => open(transaction, alert)?,
            AlertWrite::Again(id, at) => {
                let sql = "UPDATE alerts SET count = count + 1, last_at = ?2 WHERE id = ?1";
                change(transaction, sql, (id.as_bytes(), *at))?;
            }
            AlertWrite::Acknowledge(id, at) => {
                let sql = "UPDATE alerts SET acknowledged_at = ?2 WHERE id = ?1";
                change(transaction, sql, (id.as_bytes(), *at))?;
            }
            AlertWrite::Close(id, at) => {
                let sql = "UPDATE alerts SET closed_at = ?2 WHERE id = ?1";
                change(transaction, sql, (id.as_bytes(), *at))?;
            }
        }
    }
    Ok(())
}

fn open(transaction: &Transaction<'_>, alert: &Alert) -> rusqlite::Result<()> {
    let (account, connection) = alert.connection.unzip();
    let sql = "INSERT INTO alerts (id, tenant, kind, source, account, connection, code, \
               opened_at, last_at, count, acknowledged_at, closed_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    transaction.prepare_cached(sql)?.execute(params![
        alert.id.as_bytes(),
        alert.tenant.as_bytes(),
        alert.kind.code(),
        alert.source.as_str(),
        account.map(|id| *id.as_bytes()),
        connection.map(|id| *id.as_bytes()),
        alert.code,
        alert.opened_at.as_millis(),
        alert.last_at.as_millis(),
        alert.count,
        alert.acknowledged_at.map(Timestamp::as_millis),
        alert.closed_at.map(Timestamp::as_millis)
    ])?;
    Ok(())
}

fn change(
    transaction: &Transaction<'_>,
    sql: &str,
    (id, at): (&[u8; 16], Timestamp),
) -> rusqlite::Result<()> {
    let params = params![id, at.as_millis()];
    transaction.prepare_cached(sql)?.execute(params).map(drop)
}
