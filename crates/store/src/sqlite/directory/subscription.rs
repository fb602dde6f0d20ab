//! Subscriptions.

use rusqlite::{Connection, Row, Transaction, params};
use wellspring_core::{SubscriptionId, TenantId, Timestamp};
use wellspring_engine::{StoreError, Subscription};

use crate::row::{
    disabled, disabled_code, patterns, patterns_text, subscription_kind, subscription_kind_code,
};
use crate::sqlite::unavailable;

pub(super) fn all(connection: &Connection) -> Result<Vec<Subscription>, StoreError> {
    let sql = "SELECT id, tenant, kind, patterns, url, description, created_at, version, enabled, disabled_reason, \
               disabled_at, sealed_secrets FROM subscriptions ORDER BY id";
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|error| unavailable(&error))?;
    let rows = statement.query_map([], subscription);
    let rows: Vec<_> = rows
        .and_then(Iterator::collect)
        .map_err(|error| unavailable(&error))?;
    rows.into_iter().collect()
}

pub(super) fn put(
    transaction: &Transaction<'_>,
    row: &Subscription,
    expected: Option<u32>,
) -> rusqlite::Result<bool> {
    let sql = match expected {
        None => {
            "INSERT OR IGNORE INTO subscriptions (id, tenant, kind, patterns, url, description, created_at, version, \
             enabled, disabled_reason, disabled_at, sealed_secrets) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
        }
        Some(_) => {
            "UPDATE subscriptions SET tenant = ?2, kind = ?3, patterns = ?4, url = ?5, description = ?6, \
             created_at = ?7, version = ?8, enabled = ?9, disabled_reason = ?10, disabled_at = ?11, \
             sealed_secrets = ?12 WHERE id = ?1 AND version = ?13"
        }
    };
    let patterns = patterns_text(&row.patterns)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let mut statement = transaction.prepare_cached(sql)?;
    let columns = params![
        row.id.as_bytes(),
        row.tenant.as_bytes(),
        subscription_kind_code(row.kind),
        patterns,
        &*row.url,
        row.description,
        row.created_at.as_millis(),
        row.version,
        row.enabled,
        row.disabled.map(|disabled| disabled_code(disabled.reason)),
        row.disabled.map(|disabled| disabled.at.as_millis()),
        row.sealed_secrets,
        expected
    ];
    let columns = match expected {
        None => &columns[..12],
        Some(_) => columns,
    };
    let written = statement.execute(columns)? == 1;
    if written && expected.is_none() {
        let sql = "INSERT INTO positions (subscription, seen) SELECT ?1, next_seq - 1 FROM shards";
        transaction
            .prepare_cached(sql)?
            .execute([row.id.as_bytes()])?;
    }
    Ok(written)
}

pub(super) fn delete(
    transaction: &Transaction<'_>,
    tenant: TenantId,
    id: SubscriptionId,
) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM subscriptions WHERE id = ?1 AND tenant = ?2";
    let deleted = transaction
        .prepare_cached(sql)?
        .execute(params![id.as_bytes(), tenant.as_bytes()])?;
    if deleted == 0 {
        return Ok(false);
    }
    for sql in [
        "DELETE FROM positions WHERE subscription = ?1",
        "DELETE FROM deliveries WHERE subscription = ?1",
        "DELETE FROM delivery_attempts WHERE subscription = ?1",
    ] {
        transaction.prepare_cached(sql)?.execute([id.as_bytes()])?;
    }
    Ok(true)
}

fn subscription(row: &Row<'_>) -> rusqlite::Result<Result<Subscription, StoreError>> {
    let id = SubscriptionId::from_bytes(row.get(0)?);
    let texts: String = row.get(3)?;
    let kind = subscription_kind(id, row.get(2)?);
    let disabled = disabled(id, row.get(9)?, row.get(10)?);
    let plain = Subscription {
        id,
        tenant: TenantId::from_bytes(row.get(1)?),
        kind: wellspring_engine::SubscriptionKind::Webhook,
        patterns: Vec::new(),
        url: row.get::<_, String>(4)?.into(),
        description: row.get(5)?,
        created_at: Timestamp::from_millis(row.get(6)?),
        version: row.get(7)?,
        enabled: row.get(8)?,
        disabled: None,
        sealed_secrets: row.get(11)?,
    };
    let decode = || {
        Ok(Subscription {
            kind: kind?,
            patterns: patterns(id, &texts)?,
            disabled: disabled?,
            ..plain
        })
    };
    Ok(decode())
}
