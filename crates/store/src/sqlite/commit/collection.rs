//! Steps of collections.

use rusqlite::{Transaction, params};
use wellspring_core::{Collection, Stored};
use wellspring_engine::{Before, CollectionWrite, OutcomeChange};

use crate::row::{AttemptRow, Hot};

/// Applies one step; returns whether the row was at the version it assumes.
pub(super) fn apply(
    transaction: &Transaction<'_>,
    step: &CollectionWrite,
) -> rusqlite::Result<bool> {
    let id = step.id.as_bytes();
    let Some(next) = &step.next else {
        return erase(transaction, step);
    };
    let hot = Hot::of(next);
    let held = match (step.before, &hot) {
        (Before::New, Some(hot)) => {
            insert_collection(transaction, next)?;
            insert_hot(transaction, step, hot)?;
            true
        }
        (Before::Live(version), Some(hot)) => update_hot(transaction, step, hot, version)?,
        (Before::Live(version), None) => delete_hot(transaction, step, version)?,
        (Before::Finished(version), Some(hot)) => {
            insert_hot(transaction, step, hot)?;
            is_finished_at(transaction, step, version)?
        }
        (Before::New | Before::Finished(_), None) => false,
    };
    if !held {
        return Ok(false);
    }
    outcome(transaction, step, next)?;
    if let Some(payload) = &step.payload {
        let sql = "INSERT OR REPLACE INTO payloads (id, body) VALUES (?1, ?2)";
        transaction
            .prepare_cached(sql)?
            .execute(params![id, &payload[..]])?;
    }
    if let Some(attempt) = &step.attempt {
        let row = AttemptRow::of(attempt);
        let sql = "INSERT INTO attempts (id, version, stage, at, duration_ms, class, code, message) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        transaction.prepare_cached(sql)?.execute(params![
            id,
            next.version,
            row.stage,
            row.at,
            row.duration_ms,
            row.class,
            row.code,
            row.message
        ])?;
    }
    Ok(true)
}

fn insert_collection(transaction: &Transaction<'_>, next: &Collection) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO collections (id, tenant, source, callback_url, created_at, version, message) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    transaction.prepare_cached(sql)?.execute(params![
        next.id.as_bytes(),
        next.tenant.as_bytes(),
        next.source.as_str(),
        &*next.callback_url,
        next.created_at.as_millis(),
        next.version,
        next.message
    ])
}

fn insert_hot(
    transaction: &Transaction<'_>,
    step: &CollectionWrite,
    hot: &Hot,
) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO hot (id, state, version, due, lane, since, retries, waits, message) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    transaction.prepare_cached(sql)?.execute(params![
        step.id.as_bytes(),
        hot.state,
        hot.version,
        hot.due.as_millis(),
        hot.lane.0.cast_signed(),
        hot.since.as_millis(),
        hot.retries,
        hot.waits,
        hot.message
    ])
}

fn update_hot(
    transaction: &Transaction<'_>,
    step: &CollectionWrite,
    hot: &Hot,
    version: u32,
) -> rusqlite::Result<bool> {
    let sql = "UPDATE hot SET state = ?3, version = ?4, due = ?5, lane = ?6, since = ?7, retries = ?8, waits = ?9, \
               message = ?10 WHERE id = ?1 AND version = ?2";
    let changed = transaction.prepare_cached(sql)?.execute(params![
        step.id.as_bytes(),
        version,
        hot.state,
        hot.version,
        hot.due.as_millis(),
        hot.lane.0.cast_signed(),
        hot.since.as_millis(),
        hot.retries,
        hot.waits,
        hot.message
    ])?;
    Ok(changed == 1)
}

fn delete_hot(
    transaction: &Transaction<'_>,
    step: &CollectionWrite,
    version: u32,
) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM hot WHERE id = ?1 AND version = ?2";
    Ok(transaction
        .prepare_cached(sql)?
        .execute(params![step.id.as_bytes(), version])?
        == 1)
}

fn is_finished_at(
    transaction: &Transaction<'_>,
    step: &CollectionWrite,
    version: u32,
) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM collections WHERE id = ?1 AND version = ?2";
    let count: i64 = transaction
        .prepare_cached(sql)?
        .query_row(params![step.id.as_bytes(), version], |row| row.get(0))?;
    Ok(count == 1)
}

fn erase(transaction: &Transaction<'_>, step: &CollectionWrite) -> rusqlite::Result<bool> {
    let held = match step.before {
        Before::Live(version) => delete_hot(transaction, step, version)?,
        Before::Finished(version) => is_finished_at(transaction, step, version)?,
        Before::New => false,
    };
    for sql in [
        "DELETE FROM collections WHERE id = ?1",
        "DELETE FROM payloads WHERE id = ?1",
        "DELETE FROM attempts WHERE id = ?1",
    ] {
        transaction
            .prepare_cached(sql)?
            .execute([step.id.as_bytes()])?;
    }
    Ok(held)
}

fn outcome(
    transaction: &Transaction<'_>,
    step: &CollectionWrite,
    next: &Collection,
) -> rusqlite::Result<()> {
    let (collected_at, finished_at, failure) = match step.outcome() {
        OutcomeChange::Keep => return Ok(()),
        OutcomeChange::Clear => (None, None, None),
        OutcomeChange::Delivered { collected_at, at } => (Some(collected_at), Some(at), None),
        OutcomeChange::Failed {
            stage,
            collected_at,
            at,
            error,
        } => (collected_at, Some(at), Some((stage, error))),
    };
    let sql = "UPDATE collections SET version = ?2, message = ?3, collected_at = coalesce(collected_at, ?4), \
               finished_at = ?5, failed_stage = ?6, error_class = ?7, error_code = ?8, error_message = ?9 \
               WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![
        step.id.as_bytes(),
        next.version,
        next.message,
        collected_at.map(wellspring_core::Timestamp::as_millis),
        finished_at.map(wellspring_core::Timestamp::as_millis),
        failure.map(|(stage, _)| stage.code()),
        failure.map(|(_, error)| error.class.code()),
        failure.map(|(_, error)| &error.code),
        failure.map(|(_, error)| &error.message)
    ])?;
    Ok(())
}
