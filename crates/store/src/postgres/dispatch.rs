//! What the dispatcher reads.

use futures_util::future::try_join3;
use tokio_postgres::Row;
use wellspring_core::{Shard, SubscriptionId, TenantId};
use wellspring_engine::{
    DeliveryRow, DispatchState, LogSlice, Position, StoreError, SubscriptionState,
};

use super::columns::Fields;
use super::log;
use super::queries::count;
use super::session::{Param, Session};
use crate::row::delivery_status;

mod write;

pub(super) use write::Dispatch;

/// The columns of a delivery, for [`delivery`].
macro_rules! delivery_columns {
    () => {
        "d.subscription, d.tenant, d.line, d.seq, d.created_at, d.next_attempt_at, d.ended_at, \
         d.shard, d.status, d.attempts, d.failures, d.message_id"
    };
}
pub(super) use delivery_columns;

/// Reads how far a shard is dispatched; rows of subscriptions that are gone are nobody's.
pub(super) async fn state(session: &Session, shard: Shard) -> Result<DispatchState, StoreError> {
    let number = i16::from(shard.0);
    let cursor = async {
        let sql = "SELECT dispatched FROM shards WHERE shard = $1";
        let row = session.query_opt(sql, &[&number]).await?;
        let cursor = row.map(|row| Fields::new("shards", &row).place("dispatched"));
        cursor.transpose().map(Option::unwrap_or_default)
    };
    let positions = async {
        let sql = "SELECT p.subscription, p.shard, p.seen, p.failing_since FROM positions p \
                   JOIN subscriptions s ON s.id = p.subscription \
                   WHERE p.shard = $1 ORDER BY p.shard, p.subscription";
        let rows = session.query(sql, &[&number]).await?;
        rows.iter().map(position).collect::<Result<Vec<_>, _>>()
    };
    let open = async {
        let sql = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM deliveries d JOIN subscriptions s ON s.id = d.subscription \
             WHERE d.shard = $1 AND d.status < 3 ORDER BY d.seq, d.subscription"
        );
        let rows = session.query(sql, &[&number]).await?;
        rows.iter().map(delivery).collect::<Result<Vec<_>, _>>()
    };
    let (cursor, positions, open) = try_join3(cursor, positions, open).await?;
    Ok(DispatchState {
        cursor,
        positions,
        open,
    })
}

/// Reads where a subscription stands in a shard.
pub(super) async fn subscription(
    session: &Session,
    subscription: SubscriptionId,
    shard: Shard,
) -> Result<SubscriptionState, StoreError> {
    let (number, id) = (i16::from(shard.0), subscription.uuid());
    let sql = "SELECT subscription, shard, seen, failing_since FROM positions \
               WHERE shard = $1 AND subscription = $2";
    let found = session.query_opt(sql, &[&number, &id]).await?;
    let sql = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM deliveries d JOIN subscriptions s ON s.id = d.subscription \
         WHERE d.shard = $1 AND d.subscription = $2 AND d.status < 3 ORDER BY d.seq"
    );
    let open = session.query(sql, &[&number, &id]).await?;
    Ok(SubscriptionState {
        position: found.as_ref().map(position).transpose()?,
        open: open.iter().map(delivery).collect::<Result<_, _>>()?,
    })
}

/// Reads a stretch of a shard's log, with its end and its floor as of the same moment.
pub(super) async fn slice(
    session: &Session,
    shard: Shard,
    after: u64,
    tenant: Option<TenantId>,
    (limit, stretch): (usize, usize),
) -> Result<LogSlice, StoreError> {
    // Of one tenant's entries a bounded stretch is looked through, whose last row comes whosever
    // it is. One row comes in any case.
    let one = "SELECT s.next_seq, l.*, (SELECT f.seq FROM log_floors f \
               WHERE f.shard = s.shard AND f.tenant = $3) AS floor FROM shards s \
               LEFT JOIN LATERAL (SELECT * FROM (SELECT *, row_number() OVER (ORDER BY seq) \
               AS place FROM log WHERE log.shard = $1 AND log.seq > $2 ORDER BY seq LIMIT $4) \
               AS stretch WHERE tenant = $3 OR place = $4 ORDER BY seq LIMIT $5) l ON true \
               WHERE s.shard = $1 ORDER BY l.seq";
    let all = "SELECT s.next_seq, l.*, (SELECT max(f.seq) FROM log_floors f \
               WHERE f.shard = s.shard) AS floor FROM shards s \
               LEFT JOIN LATERAL (SELECT * FROM log WHERE log.shard = $1 AND log.seq > $2 \
               ORDER BY seq LIMIT $3) l ON true WHERE s.shard = $1 ORDER BY l.seq";
    let (number, from) = (i16::from(shard.0), after.cast_signed());
    let (limit_count, stretch_count) = (count(limit), count(stretch.max(limit)));
    let rows = match tenant {
        Some(tenant) => {
            let tenant = tenant.uuid();
            let params: [Param<'_>; 5] = [&number, &from, &tenant, &stretch_count, &limit_count];
            session.query(one, &params).await?
        }
        None => session.query(all, &[&number, &from, &limit_count]).await?,
    };
    let mut slice = LogSlice {
        entries: Vec::new(),
        seen: after,
        has_more: false,
        gap: false,
    };
    let (mut end, mut cut) = (0, false);
    for row in &rows {
        let fields = Fields::new("log", row);
        end = fields.place("next_seq")?.saturating_sub(1);
        let floor: Option<i64> = fields.get("floor")?;
        slice.gap = floor.is_some_and(|floor| floor.cast_unsigned() > after);
        if fields.get::<Option<i64>>("seq")?.is_none() {
            break;
        }
        let entry = log::row(row)?;
        slice.seen = entry.seq;
        if tenant.is_none_or(|tenant| tenant == entry.tenant) {
            slice.entries.push(entry.entry()?);
        }
        let at_end = tenant.is_some() && fields.get::<i64>("place")? == stretch_count;
        cut |= at_end;
    }
    cut |= slice.entries.len() >= limit;
    if !cut {
        slice.seen = after.max(end);
    }
    slice.has_more = slice.seen < end;
    Ok(slice)
}

fn position(row: &Row) -> Result<Position, StoreError> {
    let fields = Fields::new("positions", row);
    Ok(Position {
        subscription: SubscriptionId::from_bytes(fields.uuid("subscription")?),
        shard: fields.shard("shard")?,
        seen: fields.place("seen")?,
        failing_since: fields.timestamp_opt("failing_since")?,
    })
}

/// Reads a delivery.
pub(super) fn delivery(row: &Row) -> Result<DeliveryRow, StoreError> {
    let fields = Fields::new("deliveries", row);
    let subscription = SubscriptionId::from_bytes(fields.uuid("subscription")?);
    Ok(DeliveryRow {
        subscription,
        tenant: TenantId::from_bytes(fields.uuid("tenant")?),
        shard: fields.shard("shard")?,
        seq: fields.place("seq")?,
        line: fields.uuid("line")?,
        message_id: fields.get("message_id")?,
        status: delivery_status(subscription, fields.code("status")?)?,
        attempts: fields.small("attempts")?,
        failures: fields.small("failures")?,
        created_at: fields.timestamp("created_at")?,
        next_attempt_at: fields.timestamp_opt("next_attempt_at")?,
        ended_at: fields.timestamp_opt("ended_at")?,
    })
}
