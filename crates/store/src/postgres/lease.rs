//! Incarnations and their shards, by the database's clock.
//!
//! Whoever changes what an incarnation owns holds the lock of its row in `nodes` first: commits,
//! takings, givings and fences of one incarnation happen one after another.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::Row;
use uuid::Uuid;
use wellspring_core::{IncarnationId, Shard};
use wellspring_engine::{Lease, Membership, StoreError};

use super::columns::Fields;
use super::session::Session;

pub(super) async fn join(
    session: &Session,
    incarnation: IncarnationId,
    lease: Duration,
) -> Result<(), StoreError> {
    // It may be tried again after an answer was lost.
    let sql = "INSERT INTO nodes (incarnation, expires_at, last_batch) \
               VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond', 0) \
               ON CONFLICT (incarnation) DO UPDATE SET expires_at = excluded.expires_at";
    session
        .execute(sql, &[&incarnation.uuid(), &millis(lease)])
        .await?;
    Ok(())
}

/// Renews, fences whoever did not, and tells who is there.
pub(super) async fn renew(
    session: &Session,
    incarnation: IncarnationId,
    lease: Duration,
) -> Result<Membership, StoreError> {
    let sql = "UPDATE nodes SET expires_at = clock_timestamp() + $2 * interval '1 millisecond' \
               WHERE incarnation = $1";
    if session
        .execute(sql, &[&incarnation.uuid(), &millis(lease)])
        .await?
        == 0
    {
        return Err(StoreError::Fenced);
    }
    let (present, expired) = membership(session).await?;
    if !expired || !fence(session).await? {
        return Ok(present);
    }
    membership(session).await.map(|(present, _)| present)
}

/// Ends the expired; returns whether there were any.
///
/// Whoever is in the middle of a commit still has its row locked and is left for the next time.
async fn fence(session: &Session) -> Result<bool, StoreError> {
    session.batch("BEGIN").await?;
    let sql = "DELETE FROM nodes WHERE incarnation IN (SELECT incarnation FROM nodes \
               WHERE expires_at <= clock_timestamp() ORDER BY incarnation FOR UPDATE SKIP LOCKED) \
               RETURNING incarnation";
    let dead = session.query(sql, &[]).await?;
    let dead: Vec<Uuid> = dead
        .iter()
        .map(|row| Fields::new("nodes", row).get("incarnation"))
        .collect::<Result<_, _>>()?;
    // A statement of its own sees what the dead took before their rows could be locked.
    let sql = "UPDATE shards SET owner = NULL, epoch = epoch + 1 WHERE owner = ANY($1)";
    session.execute(sql, &[&dead]).await?;
    session.batch("COMMIT").await?;
    for incarnation in &dead {
        tracing::warn!(%incarnation, "A node's lease ended, its shards are free");
    }
    Ok(!dead.is_empty())
}

/// Returns who is there, and whether somebody's lease has ended.
async fn membership(session: &Session) -> Result<(Membership, bool), StoreError> {
    let sql = "SELECT n.incarnation, n.expires_at <= clock_timestamp() AS expired, \
               array(SELECT s.shard FROM shards s WHERE s.owner = n.incarnation) AS shards \
               FROM nodes n ORDER BY n.incarnation";
    let (mut nodes, mut owners, mut anyone) = (Vec::new(), BTreeMap::new(), false);
    for row in session.query(sql, &[]).await? {
        let fields = Fields::new("nodes", &row);
        let incarnation = IncarnationId::from_bytes(fields.uuid("incarnation")?);
        anyone |= fields.get::<bool>("expired")?;
        nodes.push(incarnation);
        for shard in fields.get::<Vec<i16>>("shards")? {
            let shard = u8::try_from(shard).map_err(|_other| fields.inconsistent("shards"))?;
            owners.insert(Shard(shard), incarnation);
        }
    }
    Ok((Membership { nodes, owners }, anyone))
}

pub(super) async fn acquire(
    session: &Session,
    incarnation: IncarnationId,
    shards: &[Shard],
) -> Result<Vec<Lease>, StoreError> {
    session.batch("BEGIN").await?;
    if !lock(session, incarnation).await? {
        session.batch("ROLLBACK").await?;
        return Err(StoreError::Fenced);
    }
    // Locked in one order, so that nodes that want the same ones do not wait for each other.
    let sql = "UPDATE shards SET owner = $1, epoch = epoch + 1 WHERE shard IN (\
               SELECT shard FROM shards WHERE shard = ANY($2) AND (owner IS NULL OR owner = $1) \
               ORDER BY shard FOR UPDATE) RETURNING shard, epoch, next_seq";
    let rows = session
        .query(sql, &[&incarnation.uuid(), &numbers(shards)])
        .await?;
    let mut leases: Vec<Lease> = rows.iter().map(lease).collect::<Result<_, _>>()?;
    leases.sort_by_key(|lease| lease.shard);
    session.batch("COMMIT").await?;
    Ok(leases)
}

fn lease(row: &Row) -> Result<Lease, StoreError> {
    let fields = Fields::new("shards", row);
    Ok(Lease {
        shard: fields.shard("shard")?,
        epoch: fields.place("epoch")?,
        next_seq: fields.place("next_seq")?,
    })
}

pub(super) async fn release(
    session: &Session,
    incarnation: IncarnationId,
    shards: &[Shard],
) -> Result<(), StoreError> {
    session.batch("BEGIN").await?;
    lock(session, incarnation).await?;
    let sql = "UPDATE shards SET owner = NULL, epoch = epoch + 1 \
               WHERE owner = $1 AND shard = ANY($2)";
    session
        .execute(sql, &[&incarnation.uuid(), &numbers(shards)])
        .await?;
    session.batch("COMMIT").await?;
    Ok(())
}

pub(super) async fn leave(session: &Session, incarnation: IncarnationId) -> Result<(), StoreError> {
    session.batch("BEGIN").await?;
    let sql = "DELETE FROM nodes WHERE incarnation = $1";
    session.execute(sql, &[&incarnation.uuid()]).await?;
    let sql = "UPDATE shards SET owner = NULL, epoch = epoch + 1 WHERE owner = $1";
    session.execute(sql, &[&incarnation.uuid()]).await?;
    session.batch("COMMIT").await?;
    Ok(())
}

/// Tells whether a batch is durable, after waiting for a commit that may still be under way.
///
/// A commit whose outcome was lost has its incarnation's row locked until it has ended.
pub(super) async fn committed(
    session: &Session,
    incarnation: IncarnationId,
    number: u64,
) -> Result<bool, StoreError> {
    let sql = "SELECT last_batch FROM nodes WHERE incarnation = $1 FOR UPDATE";
    let row = session.query_opt(sql, &[&incarnation.uuid()]).await?;
    let row = row.ok_or(StoreError::Fenced)?;
    let last: i64 = Fields::new("nodes", &row).get("last_batch")?;
    Ok(last.cast_unsigned() >= number)
}

/// Locks an incarnation's row; returns whether it is there.
async fn lock(session: &Session, incarnation: IncarnationId) -> Result<bool, StoreError> {
    let sql = "SELECT incarnation FROM nodes WHERE incarnation = $1 FOR UPDATE";
    Ok(session
        .query_opt(sql, &[&incarnation.uuid()])
        .await?
        .is_some())
}

pub(super) fn numbers(shards: &[Shard]) -> Vec<i16> {
    shards.iter().map(|shard| i16::from(shard.0)).collect()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
