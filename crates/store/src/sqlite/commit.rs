//! One batch in one transaction.

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};
use wellspring_core::{Collection, Stored};
use wellspring_engine::{Batch, Before, CommitError, Entry, KeyRow, OutcomeChange, Write};

use crate::row::{AttemptRow, Hot};

/// Commits the batch; after `Ok` it is synced to disk.
pub(super) fn commit(connection: &mut Connection, batch: &Batch) -> Result<(), CommitError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(not_committed)?;
    write(&transaction, batch)?;
    transaction.commit().map_err(|error| {
        // The log frames may or may not have reached the disk.
        if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
            CommitError::Unknown(error.to_string())
        } else {
            CommitError::NotCommitted(error.to_string())
        }
    })
}

fn write(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), CommitError> {
    fence(transaction, batch)?;
    keys(transaction, &batch.keys)?;
    let mut stale = None;
    for step in &batch.writes {
        match apply(transaction, step) {
            Ok(true) => {}
            Ok(false) => stale = Some(step.id),
            Err(rusqlite::Error::SqliteFailure(failure, _))
                if failure.code == ErrorCode::ConstraintViolation =>
            {
                stale = Some(step.id);
            }
            Err(error) => return Err(not_committed(error)),
        }
        if let Some(id) = stale {
            return Err(CommitError::Stale(id));
        }
    }
    entries(transaction, &batch.entries).map_err(not_committed)?;
    if !batch.consumed.is_empty() {
        let mut statement = transaction
            .prepare_cached("DELETE FROM inbox WHERE number = ?1")
            .map_err(not_committed)?;
        for number in &batch.consumed {
            statement.execute([number]).map_err(not_committed)?;
        }
    }
    Ok(())
}

fn fence(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), CommitError> {
    let next_seq = batch
        .entries
        .last()
        .map(|entry| entry.seq.cast_signed() + 1);
    let epoch = batch.epochs.first().map(|(_, epoch)| epoch.cast_signed());
    let sql = "UPDATE shards SET last_batch = ?1, next_seq = coalesce(?2, next_seq) \
               WHERE owner = ?3 AND epoch = coalesce(?4, epoch)";
    let changed = transaction
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement.execute(params![
                batch.number.cast_signed(),
                next_seq,
                batch.incarnation.as_bytes(),
                epoch
            ])
        })
        .map_err(not_committed)?;
    if changed == 1 {
        Ok(())
    } else {
        Err(CommitError::Fenced)
    }
}

/// Remembers the use of idempotency keys.
pub(super) fn keys(transaction: &Transaction<'_>, keys: &[KeyRow]) -> Result<(), CommitError> {
    if keys.is_empty() {
        return Ok(());
    }
    let sql = "INSERT OR IGNORE INTO idempotency_keys (tenant, key, fingerprint, id, at) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut statement = transaction.prepare_cached(sql).map_err(not_committed)?;
    let mut taken = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let KeyRow {
            tenant,
            key,
            fingerprint,
            id,
            at,
        } = key;
        let changed = statement
            .execute(params![
                tenant.as_bytes(),
                key,
                fingerprint,
                id.as_bytes(),
                at.as_millis()
            ])
            .map_err(not_committed)?;
        if changed == 0 {
            taken.push(place);
        }
    }
    if taken.is_empty() {
        Ok(())
    } else {
        Err(CommitError::KeysTaken(taken))
    }
}

/// Applies one step; returns whether the row was at the version it assumes.
fn apply(transaction: &Transaction<'_>, step: &Write) -> rusqlite::Result<bool> {
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

fn insert_hot(transaction: &Transaction<'_>, step: &Write, hot: &Hot) -> rusqlite::Result<usize> {
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
    step: &Write,
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

fn delete_hot(transaction: &Transaction<'_>, step: &Write, version: u32) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM hot WHERE id = ?1 AND version = ?2";
    Ok(transaction
        .prepare_cached(sql)?
        .execute(params![step.id.as_bytes(), version])?
        == 1)
}

fn is_finished_at(
    transaction: &Transaction<'_>,
    step: &Write,
    version: u32,
) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM collections WHERE id = ?1 AND version = ?2";
    let count: i64 = transaction
        .prepare_cached(sql)?
        .query_row(params![step.id.as_bytes(), version], |row| row.get(0))?;
    Ok(count == 1)
}

fn erase(transaction: &Transaction<'_>, step: &Write) -> rusqlite::Result<bool> {
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

fn outcome(transaction: &Transaction<'_>, step: &Write, next: &Collection) -> rusqlite::Result<()> {
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

fn entries(transaction: &Transaction<'_>, entries: &[Entry]) -> rusqlite::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO log (seq, at, tenant, verb, subject, property, event, actor, cause, body) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let mut statement = transaction.prepare_cached(sql)?;
    for entry in entries {
        let change = &entry.change;
        let (subject, property) = change.subject.to_parts();
        let body = crate::facts::stored(&change.body)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        statement.execute(params![
            entry.seq.cast_signed(),
            entry.at.as_millis(),
            entry.tenant.as_bytes(),
            change.verb.code(),
            subject,
            property,
            change.event.map_or(0, Stored::code),
            change.actor.to_bytes(),
            change.cause.code(),
            body
        ])?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn not_committed(error: rusqlite::Error) -> CommitError {
    CommitError::NotCommitted(error.to_string())
}
