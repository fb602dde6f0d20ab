//! What is over on connections that go on, and tokens that have ended.

use rusqlite::{Transaction, params};
use wellspring_core::reliability::Day;
use wellspring_engine::Sweep;

use super::{Position, expired, is_young, older, settings};
use crate::row::{
    KEEP_ALERTS, KEEP_INCIDENTS, KEEP_INTERACTIONS, KEEP_STATISTICS, KEEP_TOKENS, KEEP_UNCLASSIFIED,
};

pub(super) fn fetches(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    position: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "SELECT id, tenant, ended_at FROM fetches WHERE id > ?1 ORDER BY id LIMIT ?2";
    let rows: Vec<([u8; 16], [u8; 16], Option<i64>)> = transaction
        .prepare_cached(sql)?
        .query_map(params![position.fetches, sweep.rows], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let shortest = sweep.shortest(|settings| settings.keep_collections);
    let mut removed = 0;
    let mut young = false;
    for (id, tenant, ended_at) in &rows {
        young = is_young(sweep, id, shortest);
        let kept = settings(sweep, *tenant).keep_collections;
        if ended_at.is_none_or(|at| !older(sweep, at, kept)) {
            continue;
        }
        for sql in [
            "DELETE FROM fetch_attempts WHERE fetch = ?1",
            "DELETE FROM fetches WHERE id = ?1",
        ] {
            removed += transaction.prepare_cached(sql)?.execute([id])?;
        }
    }
    let ended = rows.len() < sweep.rows || young;
    position.fetches = if ended {
        [0; 16]
    } else {
        rows.last().map_or([0; 16], |row| row.0)
    };
    Ok((removed, ended))
}

pub(super) fn interactions(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    _: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "DELETE FROM interactions WHERE (connection, id) IN \
               (SELECT connection, id FROM interactions WHERE closed_at < ?1 LIMIT ?2)";
    let before = sweep.now.before(KEEP_INTERACTIONS).as_millis();
    expired(transaction, sweep, sql, before)
}

pub(super) fn tokens(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    _: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "DELETE FROM tokens WHERE hash IN \
               (SELECT hash FROM tokens WHERE expires_at < ?1 LIMIT ?2)";
    let before = sweep.now.before(KEEP_TOKENS).as_millis();
    expired(transaction, sweep, sql, before)
}

pub(super) fn statistics(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    _: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "DELETE FROM fetch_statistics WHERE (connection, day, status, bucket) IN \
               (SELECT connection, day, status, bucket FROM fetch_statistics \
               WHERE day < ?1 LIMIT ?2)";
    let first = Day::of(sweep.now.before(KEEP_STATISTICS)).0.into();
    expired(transaction, sweep, sql, first)
}

pub(super) fn alerts(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    _: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "DELETE FROM alerts WHERE id IN \
               (SELECT id FROM alerts WHERE closed_at < ?1 LIMIT ?2)";
    let before = sweep.now.before(KEEP_ALERTS).as_millis();
    expired(transaction, sweep, sql, before)
}

pub(super) fn incidents(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    _: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "DELETE FROM incidents WHERE id IN \
               (SELECT id FROM incidents WHERE ended_at < ?1 LIMIT ?2)";
    let before = sweep.now.before(KEEP_INCIDENTS).as_millis();
    expired(transaction, sweep, sql, before)
}

pub(super) fn unclassified(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    _: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let sql = "DELETE FROM unclassified WHERE id IN \
               (SELECT id FROM unclassified WHERE last_at < ?1 LIMIT ?2)";
    let before = sweep.now.before(KEEP_UNCLASSIFIED).as_millis();
    expired(transaction, sweep, sql, before)
}
