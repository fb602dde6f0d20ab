//! Retention in small bites: each call looks at a bounded stretch of each table and goes on
//! where the last one ended, so that its cost does not grow with what is kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};
use wellspring_core::{TenantId, Timestamp};
use wellspring_engine::{Settings, StoreError, Sweep, Swept};

use super::threads::transact;
use crate::row::{KEEP_BUDGET_USE, KEEP_BUDGETS, made_at, shortest_of_a_collection};

mod connections;
mod deliveries;

/// Where the next bite begins in each table.
#[derive(Debug, Default, Clone)]
pub(super) struct Position {
    collections: [u8; 16],
    log: i64,
    keys: ([u8; 16], [u8; 32]),
    fetches: [u8; 16],
    deliveries: ([u8; 16], i64),
    /// Which tables the present round has gone through.
    ended: [bool; 13],
}

pub(super) fn sweep(
    connection: &mut Connection,
    sweep: &Sweep,
    position: &Arc<Mutex<Position>>,
) -> Result<Swept, StoreError> {
    let from = position
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let (swept, next) = transact(connection, |transaction| {
        let mut next = from;
        let mut removed = 0;
        let bites = [
            collections,
            log,
            keys,
            connections::fetches,
            connections::interactions,
            deliveries::deliveries,
            connections::tokens,
            connections::statistics,
            connections::alerts,
            connections::incidents,
            connections::unclassified,
            budgets,
            budget_use,
        ];
        for (place, bite) in bites.into_iter().enumerate() {
            // A table that has been gone through waits for the others.
            if !next.ended[place] {
                let (bitten, ended) = bite(transaction, sweep, &mut next)?;
                removed += bitten;
                next.ended[place] = ended;
            }
        }
        let done = next.ended.iter().all(|ended| *ended);
        if done {
            next.ended = Default::default();
        }
        Ok((
            Swept {
                removed: u64::try_from(removed).unwrap_or(u64::MAX),
                done,
            },
            next,
        ))
    })?;
    *position.lock().unwrap_or_else(PoisonError::into_inner) = next;
    Ok(swept)
}

/// What was spent is of no use once nothing in it counts.
fn budgets(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    _: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "DELETE FROM budgets WHERE name IN \
               (SELECT name FROM budgets WHERE quiet_from < ?1 LIMIT ?2)";
    let before = sweep.now.before(KEEP_BUDGETS).as_millis();
    expired(transaction, sweep, sql, before)
}

/// Removes what is older than `before`, so many rows at a time.
fn expired(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    sql: &str,
    before: i64,
) -> rusqlite::Result<(usize, bool)> {
    let removed = transaction
        .prepare_cached(sql)?
        .execute(params![before, sweep.rows])?;
    Ok((removed, removed < sweep.rows))
}

/// Hours in which calls were spent go by their age.
fn budget_use(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    _: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "DELETE FROM budget_use WHERE (source, hour, tenant) IN \
               (SELECT source, hour, tenant FROM budget_use WHERE hour < ?1 LIMIT ?2)";
    let before = sweep.now.before(KEEP_BUDGET_USE).as_millis();
    let removed = transaction
        .prepare_cached(sql)?
        .execute(params![before, sweep.rows])?;
    Ok((removed, removed < sweep.rows))
}

/// Id, tenant, when it was finished, whether it failed, whether it is live.
type CollectionRow = ([u8; 16], [u8; 16], Option<i64>, bool, bool);

fn settings(sweep: &Sweep, tenant: [u8; 16]) -> Settings {
    sweep
        .tenants
        .get(&TenantId::from_bytes(tenant))
        .cloned()
        .unwrap_or_default()
}

fn older(sweep: &Sweep, at: i64, kept: Duration) -> bool {
    Timestamp::from_millis(at) < sweep.now.before(kept)
}

/// Returns whether the thing of this id was made too short a time ago for anything of it to go.
fn is_young(sweep: &Sweep, id: &[u8; 16], kept: Duration) -> bool {
    made_at(id).is_some_and(|at| !older(sweep, at.as_millis(), kept))
}

fn collections(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    position: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "SELECT id, tenant, finished_at, failed_stage IS NOT NULL, \
               EXISTS (SELECT 1 FROM hot h WHERE h.id = c.id) \
               FROM collections c WHERE id > ?1 ORDER BY id LIMIT ?2";
    let rows: Vec<CollectionRow> = transaction
        .prepare_cached(sql)?
        .query_map(params![position.collections, sweep.rows], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut removed = 0;
    let mut young = false;
    let shortest = sweep.shortest(shortest_of_a_collection);
    for (id, tenant, finished_at, failed, live) in &rows {
        let settings = settings(sweep, *tenant);
        // Ids sort by time: what follows is younger than anything that could be due.
        young = is_young(sweep, id, shortest);
        let Some(at) = finished_at.filter(|_| !live) else {
            continue;
        };
        let gone = older(sweep, at, settings.keep_collections);
        // What can still be resumed keeps its data as long as itself.
        if gone || (older(sweep, at, settings.keep_payloads) && !failed) {
            removed += transaction
                .prepare_cached("DELETE FROM payloads WHERE id = ?1")?
                .execute([id])?;
        }
        if gone || older(sweep, at, settings.keep_attempts) {
            removed += transaction
                .prepare_cached("DELETE FROM attempts WHERE id = ?1")?
                .execute([id])?;
        }
        if gone {
            removed += transaction
                .prepare_cached("DELETE FROM collections WHERE id = ?1")?
                .execute([id])?;
        }
    }
    let ended = rows.len() < sweep.rows || young;
    position.collections = if ended {
        [0; 16]
    } else {
        rows.last().map_or([0; 16], |row| row.0)
    };
    Ok((removed, ended))
}

fn log(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    position: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "SELECT seq, at, tenant FROM log WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let rows: Vec<(i64, i64, [u8; 16])> = transaction
        .prepare_cached(sql)?
        .query_map(params![position.log, sweep.rows], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let shortest = sweep.shortest(|settings| settings.keep_changes);
    let mut removed = 0;
    let mut young = false;
    for (seq, at, tenant) in &rows {
        young = !older(sweep, *at, shortest);
        if older(sweep, *at, settings(sweep, *tenant).keep_changes) {
            removed += transaction
                .prepare_cached("DELETE FROM log WHERE seq = ?1")?
                .execute([seq])?;
            let sql = "INSERT INTO log_floors (tenant, seq) VALUES (?1, ?2) \
                       ON CONFLICT (tenant) DO UPDATE SET seq = max(seq, ?2)";
            transaction
                .prepare_cached(sql)?
                .execute(params![tenant, seq])?;
        }
    }
    let ended = rows.len() < sweep.rows || young;
    position.log = if ended {
        0
    } else {
        rows.last().map_or(0, |row| row.0)
    };
    Ok((removed, ended))
}

fn keys(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    position: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "SELECT tenant, key, at FROM idempotency_keys WHERE (tenant, key) > (?1, ?2) ORDER BY tenant, key LIMIT ?3";
    let (tenant, key) = position.keys;
    let rows: Vec<([u8; 16], [u8; 32], i64)> = transaction
        .prepare_cached(sql)?
        .query_map(params![tenant, key, sweep.rows], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut removed = 0;
    for (tenant, key, at) in &rows {
        if older(sweep, *at, Settings::KEEP_KEYS) {
            let sql = "DELETE FROM idempotency_keys WHERE tenant = ?1 AND key = ?2";
            removed += transaction
                .prepare_cached(sql)?
                .execute(params![tenant, key])?;
        }
    }
    let ended = rows.len() < sweep.rows;
    position.keys = if ended {
        Default::default()
    } else {
        rows.last()
            .map_or_else(Default::default, |row| (row.0, row.1))
    };
    Ok((removed, ended))
}
