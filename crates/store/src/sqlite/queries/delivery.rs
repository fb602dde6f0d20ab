//! Deliveries, and where subscriptions stand.

use rusqlite::{Connection, Row, params};
use wellspring_core::{Shard, Stored, SubscriptionId, TenantId, Timestamp};
use wellspring_engine::{
    DeliveryFilter, DeliveryRow, DeliveryStatus, DeliveryView, DispatchState, Position, StoreError,
    SubscriptionState,
};

use super::{decoded, decoded_one, one, rows};
use crate::row;
use crate::sqlite::unavailable;

pub(super) fn deliveries(
    connection: &Connection,
    tenant: TenantId,
    filter: &DeliveryFilter,
    limit: usize,
) -> Result<Vec<DeliveryRow>, StoreError> {
    // Most are delivered: the others have an index of their own.
    let index = match filter.status {
        None | Some(DeliveryStatus::Delivered) => "INDEXED BY deliveries_listed WHERE",
        Some(DeliveryStatus::Waiting | DeliveryStatus::Retrying | DeliveryStatus::Exhausted) => {
            "INDEXED BY deliveries_undelivered WHERE status <> 3 AND"
        }
    };
    let sql = format!(
        "SELECT {DELIVERY} FROM deliveries {index} tenant = ?1 AND (created_at, seq) < (?2, ?3) \
         AND subscription = coalesce(?4, subscription) AND status = coalesce(?5, status) \
         ORDER BY created_at DESC, seq DESC, subscription DESC LIMIT ?6"
    );
    let (at, seq) = match filter.before {
        None => (i64::MAX, i64::MAX),
        Some((at, Shard(0), seq)) => (at.as_millis(), seq.cast_signed()),
        Some((at, Shard(_), _)) => (at.as_millis(), i64::MAX),
    };
    let subscription = filter.subscription.map(|id| *id.as_bytes());
    let status = filter.status.map(Stored::code);
    let of = params![tenant.as_bytes(), at, seq, subscription, status, limit];
    decoded(connection, &sql, of, delivery)
}

pub(super) fn load(
    connection: &Connection,
    tenant: TenantId,
    subscription: SubscriptionId,
    seq: u64,
) -> Result<Option<DeliveryView>, StoreError> {
    let connection = connection
        .unchecked_transaction()
        .map_err(|error| unavailable(&error))?;
    let sql = format!(
        "SELECT {DELIVERY} FROM deliveries WHERE subscription = ?1 AND seq = ?2 AND +tenant = ?3"
    );
    let (id, place) = (subscription.as_bytes(), seq.cast_signed());
    let of = params![id, place, tenant.as_bytes()];
    let Some(row) = decoded_one(&connection, &sql, of, delivery)? else {
        return Ok(None);
    };
    let sql = "SELECT number, at, duration_ms, status, snippet, error FROM delivery_attempts \
               WHERE subscription = ?1 AND seq = ?2 ORDER BY number";
    let attempts = decoded(&connection, sql, params![id, place], |row| {
        let error: Option<String> = row.get(5)?;
        Ok(row::delivery_attempt(
            (subscription, Shard(0), seq),
            row.get(0)?,
            (row.get(1)?, row.get(2)?),
            (row.get(3)?, row.get(4)?),
            error.as_deref(),
        ))
    })?;
    Ok(Some(DeliveryView { row, attempts }))
}

pub(in crate::sqlite) fn dispatch_state(
    connection: &Connection,
) -> Result<DispatchState, StoreError> {
    let connection = connection
        .unchecked_transaction()
        .map_err(|error| unavailable(&error))?;
    let sql = "SELECT dispatched FROM shards WHERE shard = 0";
    let cursor: Option<i64> = one(&connection, sql, [], |row| row.get(0))?;
    let sql = format!("SELECT {POSITION} FROM positions ORDER BY subscription");
    let positions = rows(&connection, &sql, [], position)?;
    let sql = format!(
        "SELECT {DELIVERY} FROM deliveries INDEXED BY deliveries_open WHERE status < 3 ORDER BY seq, subscription"
    );
    Ok(DispatchState {
        cursor: cursor.unwrap_or_default().cast_unsigned(),
        positions,
        open: decoded(&connection, &sql, [], delivery)?,
    })
}

pub(in crate::sqlite) fn subscription_state(
    connection: &Connection,
    subscription: SubscriptionId,
) -> Result<SubscriptionState, StoreError> {
    let connection = connection
        .unchecked_transaction()
        .map_err(|error| unavailable(&error))?;
    let of = [subscription.as_bytes()];
    let sql = format!("SELECT {POSITION} FROM positions WHERE subscription = ?1");
    let position = one(&connection, &sql, of, position)?;
    let sql = format!(
        "SELECT {DELIVERY} FROM deliveries INDEXED BY deliveries_open WHERE status < 3 AND subscription = ?1 \
         ORDER BY seq"
    );
    let open = decoded(&connection, &sql, of, delivery)?;
    Ok(SubscriptionState { position, open })
}

fn position(row: &Row<'_>) -> rusqlite::Result<Position> {
    let failing_since: Option<i64> = row.get(2)?;
    Ok(Position {
        subscription: SubscriptionId::from_bytes(row.get(0)?),
        shard: Shard(0),
        seen: row.get::<_, i64>(1)?.cast_unsigned(),
        failing_since: failing_since.map(Timestamp::from_millis),
    })
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Result<DeliveryRow, StoreError>> {
    let subscription = SubscriptionId::from_bytes(row.get(0)?);
    let status = match row::delivery_status(subscription, row.get(5)?) {
        Ok(status) => status,
        Err(error) => return Ok(Err(error)),
    };
    let next_attempt_at: Option<i64> = row.get(9)?;
    let ended_at: Option<i64> = row.get(10)?;
    Ok(Ok(DeliveryRow {
        subscription,
        tenant: TenantId::from_bytes(row.get(2)?),
        shard: Shard(0),
        seq: row.get::<_, i64>(1)?.cast_unsigned(),
        line: row.get(3)?,
        message_id: row.get(4)?,
        status,
        attempts: row.get(6)?,
        failures: row.get(7)?,
        created_at: Timestamp::from_millis(row.get(8)?),
        next_attempt_at: next_attempt_at.map(Timestamp::from_millis),
        ended_at: ended_at.map(Timestamp::from_millis),
    }))
}

const POSITION: &str = "subscription, seen, failing_since";
const DELIVERY: &str = "subscription, seq, tenant, line, message_id, status, attempts, failures, created_at, \
     next_attempt_at, ended_at";
