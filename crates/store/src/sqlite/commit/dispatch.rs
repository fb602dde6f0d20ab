//! What the dispatcher wants kept; how far the log is dispatched is in the row that fences.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};
use wellspring_core::{Stored, SubscriptionId, Timestamp};
use wellspring_engine::{DeliveryAttempt, DeliveryRow, DispatchWrites};

use super::no_text;
use crate::row::{disabled_code, error_text, millis};

pub(super) fn apply(
    transaction: &Transaction<'_>,
    writes: &DispatchWrites,
) -> rusqlite::Result<()> {
    if writes.is_empty() {
        return Ok(());
    }
    let known = known(transaction, writes)?;
    for position in &writes.positions {
        if known.contains(&position.subscription) {
            let sql = "INSERT OR REPLACE INTO positions (subscription, seen, failing_since) VALUES (?1, ?2, ?3)";
            transaction.prepare_cached(sql)?.execute(params![
                position.subscription.as_bytes(),
                position.seen.cast_signed(),
                position.failing_since.map(Timestamp::as_millis)
            ])?;
        }
    }
    for (subscription, _) in &writes.caught_up {
        let sql = "DELETE FROM positions WHERE subscription = ?1";
        transaction
            .prepare_cached(sql)?
            .execute([subscription.as_bytes()])?;
    }
    for row in &writes.deliveries {
        if known.contains(&row.subscription) {
            delivery(transaction, row)?;
        }
    }
    for row in &writes.attempts {
        if known.contains(&row.subscription) {
            attempt(transaction, row)?;
        }
    }
    for (subscription, reason, at) in &writes.disabled {
        let sql = "UPDATE subscriptions SET disabled_reason = ?2, disabled_at = ?3, version = version + 1 \
                   WHERE id = ?1 AND disabled_at IS NULL";
        transaction.prepare_cached(sql)?.execute(params![
            subscription.as_bytes(),
            disabled_code(*reason),
            at.as_millis()
        ])?;
    }
    Ok(())
}

/// Returns the subscriptions that are still there; what concerns others is nobody's.
fn known(
    transaction: &Transaction<'_>,
    writes: &DispatchWrites,
) -> rusqlite::Result<BTreeSet<SubscriptionId>> {
    let positions = writes.positions.iter().map(|row| row.subscription);
    let deliveries = writes.deliveries.iter().map(|row| row.subscription);
    let attempts = writes.attempts.iter().map(|row| row.subscription);
    let named: BTreeSet<SubscriptionId> = positions.chain(deliveries).chain(attempts).collect();
    let mut statement = transaction.prepare_cached("SELECT 1 FROM subscriptions WHERE id = ?1")?;
    let mut known = BTreeSet::new();
    for id in named {
        if statement.exists([id.as_bytes()])? {
            known.insert(id);
        }
    }
    Ok(known)
}

fn delivery(transaction: &Transaction<'_>, row: &DeliveryRow) -> rusqlite::Result<()> {
    let sql = "INSERT INTO deliveries (subscription, seq, tenant, line, message_id, status, attempts, failures, \
               created_at, next_attempt_at, ended_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
               ON CONFLICT (subscription, seq) DO UPDATE SET status = ?6, attempts = ?7, failures = ?8, \
               next_attempt_at = ?10, ended_at = ?11";
    transaction.prepare_cached(sql)?.execute(params![
        row.subscription.as_bytes(),
        row.seq.cast_signed(),
        row.tenant.as_bytes(),
        row.line,
        row.message_id,
        row.status.code(),
        row.attempts,
        row.failures,
        row.created_at.as_millis(),
        row.next_attempt_at.map(Timestamp::as_millis),
        row.ended_at.map(Timestamp::as_millis)
    ])?;
    Ok(())
}

fn attempt(transaction: &Transaction<'_>, row: &DeliveryAttempt) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO delivery_attempts (subscription, seq, number, at, duration_ms, status, snippet, \
               error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    transaction.prepare_cached(sql)?.execute(params![
        row.subscription.as_bytes(),
        row.seq.cast_signed(),
        row.number,
        row.at.as_millis(),
        millis(row.duration),
        row.status,
        row.snippet,
        error_text(row.error.as_ref()).map_err(no_text)?
    ])?;
    Ok(())
}
