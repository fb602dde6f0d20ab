//! Deliveries.

use wellspring_core::{Shard, Stored, SubscriptionId, TenantId};
use wellspring_engine::{DeliveryFilter, DeliveryRow, DeliveryStatus, DeliveryView, StoreError};

use super::count;
use crate::postgres::columns::Fields;
use crate::postgres::dispatch::{self, delivery_columns};
use crate::postgres::session::{Param, Session};
use crate::row::delivery_attempt;

pub(super) async fn deliveries(
    session: &Session,
    tenant: TenantId,
    filter: &DeliveryFilter,
    limit: usize,
) -> Result<Vec<DeliveryRow>, StoreError> {
    // Of each of the tenant's subscriptions the newest: an index of its own for all of a tenant's
    // would be one more to write with each delivery. What was not delivered has one.
    macro_rules! listed {
        ($which:literal) => {
            concat!(
                "SELECT d.* FROM subscriptions s CROSS JOIN LATERAL (SELECT ",
                delivery_columns!(),
                " FROM deliveries d WHERE d.subscription = s.id \
                 AND (d.created_at, d.shard, d.seq) < ($3, $4, $5) AND ",
                $which,
                " ORDER BY d.subscription DESC, d.created_at DESC, d.shard DESC, d.seq DESC \
                 LIMIT $6) d \
                 WHERE s.tenant = $1 AND s.id = coalesce($2, s.id) \
                 ORDER BY d.created_at DESC, d.shard DESC, d.seq DESC, d.subscription DESC \
                 LIMIT $6"
            )
        };
    }
    let (tenant, limit) = (tenant.uuid(), count(limit));
    let of = filter.subscription.map(|id| id.uuid());
    let (at, shard, seq) = filter
        .before
        .map_or((i64::MAX, i16::MAX, i64::MAX), |(at, shard, seq)| {
            (at.as_millis(), shard.0.into(), seq.cast_signed())
        });
    let place: [Param<'_>; 6] = [&tenant, &of, &at, &shard, &seq, &limit];
    let rows = match filter.status {
        None => session.query(listed!("true"), &place).await?,
        Some(DeliveryStatus::Delivered) => session.query(listed!("d.status = 3"), &place).await?,
        Some(
            status @ (DeliveryStatus::Waiting
            | DeliveryStatus::Retrying
            | DeliveryStatus::Exhausted),
        ) => {
            let status = i16::from(status.code());
            let [tenant, of, at, shard, seq, limit] = place;
            let params = [tenant, of, at, shard, seq, limit, &status];
            let sql = listed!("d.status <> 3 AND d.status = $7");
            session.query(sql, &params).await?
        }
    };
    rows.iter().map(dispatch::delivery).collect()
}

pub(super) async fn delivery(
    session: &Session,
    tenant: TenantId,
    subscription: SubscriptionId,
    (shard, seq): (Shard, u64),
) -> Result<Option<DeliveryView>, StoreError> {
    let sql = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM deliveries d JOIN subscriptions s ON s.id = d.subscription \
         WHERE d.shard = $1 AND d.seq = $2 AND d.subscription = $3 AND d.tenant = $4"
    );
    let (number, place, of) = (i16::from(shard.0), seq.cast_signed(), subscription.uuid());
    let row = session
        .query_opt(sql, &[&number, &place, &of, &tenant.uuid()])
        .await?;
    let Some(row) = row else { return Ok(None) };
    let sql = "SELECT number, at, duration_ms, http_status, snippet, error \
               FROM delivery_attempts WHERE shard = $1 AND seq = $2 AND subscription = $3 \
               ORDER BY number";
    let rows = session.query(sql, &[&number, &place, &of]).await?;
    let read = |row| {
        let fields = Fields::new("delivery_attempts", row);
        let status: Option<i16> = fields.get("http_status")?;
        delivery_attempt(
            (subscription, shard, seq),
            fields.small("number")?,
            (fields.get("at")?, fields.get("duration_ms")?),
            (status.map(i16::cast_unsigned), fields.get("snippet")?),
            fields.get("error")?,
        )
    };
    Ok(Some(DeliveryView {
        row: dispatch::delivery(&row)?,
        attempts: rows.iter().map(read).collect::<Result<_, StoreError>>()?,
    }))
}
