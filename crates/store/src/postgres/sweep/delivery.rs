//! Deliveries and their attempts.

use uuid::Uuid;
use wellspring_engine::{StoreError, Sweep};

use super::{CHUNK, Position, older, settings};
use crate::postgres::columns::Fields;
use crate::postgres::queries::count;
use crate::postgres::session::{Param, Session};

pub(super) async fn deliveries(
    session: &Session,
    sweep: &Sweep,
    position: &mut Position,
) -> Result<(u64, bool), StoreError> {
    let shortest = sweep.shortest(|settings| settings.keep_attempts);
    let (mut shards, mut seqs, mut subscriptions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut left, mut ended) = (sweep.rows, false);
    while left > 0 && !ended {
        let chunk = left.min(CHUNK);
        left -= chunk;
        let sql = "SELECT shard, seq, subscription, tenant, created_at, ended_at FROM deliveries \
                   WHERE (shard, seq, subscription) > ($1, $2, $3) \
                   ORDER BY shard, seq, subscription LIMIT $4";
        let (shard, seq, subscription) = position.deliveries;
        let params: [Param<'_>; 4] = [&shard, &seq, &subscription, &count(chunk)];
        let rows = session.query(sql, &params).await?;
        ended = rows.len() < chunk;
        // The rest of a shard is younger than anything that could be due.
        let mut young: Option<i16> = None;
        for row in &rows {
            let fields = Fields::new("deliveries", row);
            let place: (i16, i64, Uuid) = (
                fields.get("shard")?,
                fields.get("seq")?,
                fields.get("subscription")?,
            );
            if young == Some(place.0) {
                continue;
            }
            position.deliveries = place;
            if !older(sweep, fields.timestamp("created_at")?, shortest) {
                young = Some(place.0);
                position.deliveries = (place.0, i64::MAX, Uuid::max());
                continue;
            }
            let kept = settings(sweep, fields.uuid("tenant")?).keep_attempts;
            // What is open has not ended.
            if fields
                .timestamp_opt("ended_at")?
                .is_some_and(|at| older(sweep, at, kept))
            {
                shards.push(place.0);
                seqs.push(place.1);
                subscriptions.push(place.2);
            }
        }
    }
    if ended {
        position.deliveries = Position::default().deliveries;
    }
    if seqs.is_empty() {
        return Ok((0, ended));
    }
    // One that is being sent again meanwhile is left, with its attempts.
    let sql = "WITH gone AS (DELETE FROM deliveries d \
               USING unnest($1::int2[], $2::int8[], $3::uuid[]) AS u (shard, seq, subscription) \
               WHERE d.shard = u.shard AND d.seq = u.seq AND d.subscription = u.subscription \
               AND d.status >= 3 RETURNING d.shard, d.seq, d.subscription), \
               attempts AS (DELETE FROM delivery_attempts a USING gone \
               WHERE a.shard = gone.shard AND a.seq = gone.seq \
               AND a.subscription = gone.subscription RETURNING a.number) \
               SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM attempts) AS removed";
    let row = session
        .query_opt(sql, &[&shards, &seqs, &subscriptions])
        .await?;
    let removed = row.map(|row| Fields::new("deliveries", &row).place("removed"));
    Ok((removed.transpose()?.unwrap_or(0), ended))
}
