//! Retention in small bites: each call looks at a bounded stretch of each table and goes on
//! where the last one ended, so that its cost does not grow with what is kept.
//!
//! One node at a time sweeps; the others find the lock taken and have nothing to do.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;
use wellspring_core::{TenantId, Timestamp};
use wellspring_engine::{Settings, StoreError, Sweep, Swept};

use super::columns::Fields;
use super::queries::count;
use super::session::{Param, Session};
use crate::row::{
    KEEP_ALERTS, KEEP_BUDGET_USE, KEEP_BUDGETS, KEEP_INCIDENTS, KEEP_INTERACTIONS, KEEP_TOKENS,
    KEEP_UNCLASSIFIED, shortest_of_a_collection,
};

mod delivery;
mod fetch;

/// Where the next bite begins in each table.
#[derive(Debug, Clone)]
pub(super) struct Position {
    collections: Uuid,
    log: (i16, i64),
    keys: (Uuid, Vec<u8>),
    fetches: Uuid,
    deliveries: (i16, i64, Uuid),
}

impl Default for Position {
    fn default() -> Self {
        Self {
            collections: Uuid::nil(),
            log: (-1, 0),
            keys: (Uuid::nil(), Vec::new()),
            fetches: Uuid::nil(),
            deliveries: (-1, 0, Uuid::nil()),
        }
    }
}

/// Sweeps once; the position is for the next call.
pub(super) async fn sweep(
    session: &Session,
    sweep: &Sweep,
    mut position: Position,
) -> Result<(Swept, Position), StoreError> {
    session.batch("BEGIN").await?;
    let row = session
        .query_opt("SELECT pg_try_advisory_xact_lock($1) AS mine", &[&LOCK])
        .await?;
    let mine = row.map_or(Ok(false), |row| Fields::new("locks", &row).get("mine"))?;
    let mut swept = Swept {
        removed: 0,
        done: true,
    };
    if mine {
        let bites = [
            collections(session, sweep, &mut position).await?,
            log(session, sweep, &mut position).await?,
            keys(session, sweep, &mut position).await?,
            fetch::fetches(session, sweep, &mut position).await?,
            delivery::deliveries(session, sweep, &mut position).await?,
            ending(session, sweep, INTERACTIONS, KEEP_INTERACTIONS).await?,
            ending(session, sweep, TOKENS, KEEP_TOKENS).await?,
            fetch::statistics(session, sweep).await?,
            ending(session, sweep, ALERTS, KEEP_ALERTS).await?,
            ending(session, sweep, UNCLASSIFIED, KEEP_UNCLASSIFIED).await?,
            ending(session, sweep, INCIDENTS, KEEP_INCIDENTS).await?,
            ending(session, sweep, BUDGETS, KEEP_BUDGETS).await?,
            ending(session, sweep, BUDGET_USE, KEEP_BUDGET_USE).await?,
        ];
        for (removed, ended) in bites {
            swept.removed += removed;
            swept.done &= ended;
        }
    }
    session.batch("COMMIT").await?;
    Ok((swept, position))
}

fn settings(sweep: &Sweep, tenant: [u8; 16]) -> Settings {
    sweep
        .tenants
        .get(&TenantId::from_bytes(tenant))
        .cloned()
        .unwrap_or_default()
}

fn older(sweep: &Sweep, at: Timestamp, kept: Duration) -> bool {
    at < sweep.now.before(kept)
}

async fn collections(
    session: &Session,
    sweep: &Sweep,
    position: &mut Position,
) -> Result<(u64, bool), StoreError> {
    // What a node is about to resume is locked by its commit, and left alone.
    let sql = "SELECT id, tenant, finished_at, failed_stage IS NOT NULL AS failed, version, \
               EXISTS (SELECT 1 FROM hot h WHERE h.id = c.id) AS live \
               FROM collections c WHERE id > $1 ORDER BY id LIMIT $2";
    let rows = session
        .query(sql, &[&position.collections, &count(sweep.rows)])
        .await?;
    let (mut payloads, mut attempts, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    let mut versions = BTreeMap::new();
    let (mut last, mut young) = (Uuid::nil(), false);
    let shortest = sweep.shortest(shortest_of_a_collection);
    for row in &rows {
        let fields = Fields::new("collections", row);
        last = fields.get("id")?;
        let settings = settings(sweep, fields.uuid("tenant")?);
        // Ids sort by time: what follows is younger than anything that could be due.
        young = !older(sweep, created(last), shortest);
        let finished_at: Option<i64> = fields.get("finished_at")?;
        let Some(at) = finished_at.map(Timestamp::from_millis) else {
            continue;
        };
        if fields.get("live")? {
            continue;
        }
        let over = older(sweep, at, settings.keep_collections);
        // What can still be resumed keeps its data as long as itself.
        if over || (older(sweep, at, settings.keep_payloads) && !fields.get::<bool>("failed")?) {
            payloads.push(last);
        }
        if over || older(sweep, at, settings.keep_attempts) {
            attempts.push(last);
        }
        if over {
            gone.push(last);
        }
        versions.insert(last, fields.get::<i32>("version")?);
    }
    versions.retain(|id, _| payloads.contains(id) || attempts.contains(id));
    let unchanged = lock(session, &versions).await?;
    let mut removed = 0;
    for (sql, mut ids) in [
        ("DELETE FROM payloads WHERE id = ANY($1)", payloads),
        ("DELETE FROM attempts WHERE id = ANY($1)", attempts),
        ("DELETE FROM collections WHERE id = ANY($1)", gone),
    ] {
        ids.retain(|id| unchanged.binary_search(id).is_ok());
        if !ids.is_empty() {
            removed += session.execute(sql, &[&ids]).await?;
        }
    }
    let ended = rows.len() < sweep.rows || young;
    position.collections = if ended { Uuid::nil() } else { last };
    Ok((removed, ended))
}

/// Locks those that are still as they were read, and returns them in order.
async fn lock(session: &Session, versions: &BTreeMap<Uuid, i32>) -> Result<Vec<Uuid>, StoreError> {
    let ids: Vec<Uuid> = versions.keys().copied().collect();
    let versions: Vec<i32> = versions.values().copied().collect();
    if ids.is_empty() {
        return Ok(ids);
    }
    let sql = "SELECT c.id FROM unnest($1::uuid[], $2::int4[]) AS u (id, version) \
               JOIN collections c ON c.id = u.id AND c.version = u.version \
               FOR UPDATE OF c SKIP LOCKED";
    let rows = session.query(sql, &[&ids, &versions]).await?;
    let read = |row| Fields::new("collections", row).get("id");
    let mut locked: Vec<Uuid> = rows.iter().map(read).collect::<Result<_, _>>()?;
    locked.sort_unstable();
    Ok(locked)
}

/// Returns the milliseconds in a UUIDv7.
fn created(id: Uuid) -> Timestamp {
    let millis = id.as_u128() >> 80;
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

async fn log(
    session: &Session,
    sweep: &Sweep,
    position: &mut Position,
) -> Result<(u64, bool), StoreError> {
    let shortest = sweep.shortest(|settings| settings.keep_changes);
    let (mut shards, mut seqs) = (Vec::new(), Vec::new());
    let mut floors: BTreeMap<(i16, Uuid), i64> = BTreeMap::new();
    let (mut left, mut ended) = (sweep.rows, false);
    while left > 0 && !ended {
        let chunk = left.min(CHUNK);
        left -= chunk;
        let sql = "SELECT shard, seq, at, tenant FROM log WHERE (shard, seq) > ($1, $2) \
                   ORDER BY shard, seq LIMIT $3";
        let rows = session
            .query(sql, &[&position.log.0, &position.log.1, &count(chunk)])
            .await?;
        ended = rows.len() < chunk;
        // The rest of a shard is younger than anything that could be due.
        let mut young: Option<i16> = None;
        for row in &rows {
            let fields = Fields::new("log", row);
            let (shard, seq) = (fields.get("shard")?, fields.get("seq")?);
            if young == Some(shard) {
                continue;
            }
            position.log = (shard, seq);
            let (at, tenant) = (fields.timestamp("at")?, fields.uuid("tenant")?);
            if !older(sweep, at, shortest) {
                young = Some(shard);
                position.log = (shard, i64::MAX);
            } else if older(sweep, at, settings(sweep, tenant).keep_changes) {
                shards.push(shard);
                seqs.push(seq);
                let floor = floors.entry((shard, Uuid::from_bytes(tenant))).or_default();
                *floor = seq.max(*floor);
            }
        }
    }
    if ended {
        position.log = Position::default().log;
    }
    if seqs.is_empty() {
        return Ok((0, ended));
    }
    let sql = "DELETE FROM log l USING unnest($1::int2[], $2::int8[]) AS u (shard, seq) \
               WHERE l.shard = u.shard AND l.seq = u.seq";
    let removed = session.execute(sql, &[&shards, &seqs]).await?;
    let (places, floors): (Vec<(i16, Uuid)>, Vec<i64>) = floors.into_iter().unzip();
    let (shards, tenants): (Vec<i16>, Vec<Uuid>) = places.into_iter().unzip();
    let sql = "INSERT INTO log_floors (shard, tenant, seq) \
               SELECT * FROM unnest($1::int2[], $2::uuid[], $3::int8[]) \
               ON CONFLICT (shard, tenant) \
               DO UPDATE SET seq = greatest(log_floors.seq, excluded.seq)";
    session.execute(sql, &[&shards, &tenants, &floors]).await?;
    Ok((removed, ended))
}

async fn keys(
    session: &Session,
    sweep: &Sweep,
    position: &mut Position,
) -> Result<(u64, bool), StoreError> {
    let sql = "SELECT tenant, key, at FROM idempotency_keys WHERE (tenant, key) > ($1, $2) \
               ORDER BY tenant, key LIMIT $3";
    let (tenant, key, limit) = (position.keys.0, position.keys.1.clone(), count(sweep.rows));
    let params: [Param<'_>; 3] = [&tenant, &key, &limit];
    let rows = session.query(sql, &params).await?;
    let (mut tenants, mut keys) = (Vec::new(), Vec::new());
    for row in &rows {
        let fields = Fields::new("idempotency_keys", row);
        let (tenant, key): (Uuid, Vec<u8>) = (fields.get("tenant")?, fields.get("key")?);
        position.keys = (tenant, key.clone());
        if older(sweep, fields.timestamp("at")?, Settings::KEEP_KEYS) {
            tenants.push(tenant);
            keys.push(key);
        }
    }
    let ended = rows.len() < sweep.rows;
    if ended {
        position.keys = Position::default().keys;
    }
    if keys.is_empty() {
        return Ok((0, ended));
    }
    let sql = "DELETE FROM idempotency_keys k USING unnest($1::uuid[], $2::bytea[]) \
               AS u (tenant, key) WHERE k.tenant = u.tenant AND k.key = u.key";
    Ok((session.execute(sql, &[&tenants, &keys]).await?, ended))
}

/// Removes the oldest of rows that an index has in the order of their ends.
async fn ending(
    session: &Session,
    sweep: &Sweep,
    sql: &'static str,
    kept: Duration,
) -> Result<(u64, bool), StoreError> {
    let before = sweep.now.before(kept).as_millis();
    let removed = session.execute(sql, &[&before, &count(sweep.rows)]).await?;
    Ok((
        removed,
        usize::try_from(removed).is_ok_and(|n| n < sweep.rows),
    ))
}

const INTERACTIONS: &str = "DELETE FROM interactions WHERE id IN (SELECT id FROM interactions \
                            WHERE closed_at < $1 ORDER BY closed_at LIMIT $2)";
const TOKENS: &str = "DELETE FROM tokens WHERE hash IN (SELECT hash FROM tokens \
                      WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
const ALERTS: &str = "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts \
                      WHERE closed_at < $1 ORDER BY closed_at LIMIT $2)";
const UNCLASSIFIED: &str = "DELETE FROM unclassified WHERE id IN (SELECT id FROM unclassified \
                            WHERE last_at < $1 ORDER BY last_at LIMIT $2)";
const INCIDENTS: &str = "DELETE FROM incidents WHERE id IN (SELECT id FROM incidents \
                         WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)";
const BUDGETS: &str = "DELETE FROM budgets WHERE name IN (SELECT name FROM budgets \
                       WHERE quiet_from < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
const BUDGET_USE: &str = "DELETE FROM budget_use WHERE (source, hour, tenant) IN \
                          (SELECT source, hour, tenant FROM budget_use \
                          WHERE hour < $1 ORDER BY hour LIMIT $2)";
/// Rows read at once where those of a shard may turn out to be young.
const CHUNK: usize = 100;
/// "Wssw".
const LOCK: i64 = 0x5773_7377;
