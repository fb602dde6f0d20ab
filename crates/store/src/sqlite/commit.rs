//! One batch in one transaction.

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};
use wellspring_core::Shard;
use wellspring_core::budget::Spent;
use wellspring_engine::{Batch, CommitError, Entry, KeyRow, Write};

use crate::row::{LogRow, aggregate_parts};

mod alert;
mod budget;
mod collection;
mod connection;
mod dispatch;
mod source;
mod unclassified;

pub(super) use budget::read as spent;

/// Commits the batch; after `Ok` it is synced to disk.
pub(super) fn commit(connection: &mut Connection, batch: &Batch) -> Result<Spent, CommitError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(not_committed)?;
    write(&transaction, batch)?;
    let spent = budget::apply(&transaction, &batch.spends).map_err(not_committed)?;
    transaction.commit().map_err(|error| {
        // The log frames may or may not have reached the disk.
        if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
            CommitError::Unknown(error.to_string())
        } else {
            CommitError::NotCommitted(error.to_string())
        }
    })?;
    Ok(spent)
}

fn write(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), CommitError> {
    fence(transaction, batch)?;
    keys(transaction, &batch.keys)?;
    for step in &batch.writes {
        let applied = match step {
            Write::Collection(step) => collection::apply(transaction, step),
            Write::Account(step) => connection::apply_account(transaction, step),
            Write::Connection(step) => connection::apply(transaction, step),
            Write::Source(step) => source::apply(transaction, step),
        };
        match applied {
            Ok(true) => {}
            Ok(false) => return Err(CommitError::Stale(step.id())),
            Err(rusqlite::Error::SqliteFailure(failure, _))
                if failure.code == ErrorCode::ConstraintViolation =>
            {
                return Err(CommitError::Stale(step.id()));
            }
            Err(error) => return Err(not_committed(error)),
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
    unclassified::apply(transaction, &batch.unclassified).map_err(not_committed)?;
    dispatch::apply(transaction, &batch.dispatch).map_err(not_committed)
}

fn fence(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), CommitError> {
    let next_seq = batch
        .entries
        .last()
        .map(|entry| entry.seq.cast_signed() + 1);
    let epoch = batch.epochs.first().map(|(_, epoch)| epoch.cast_signed());
    let cursors = batch.dispatch.cursors.iter().rev();
    let dispatched = cursors
        .filter(|(shard, _)| *shard == Shard(0))
        .map(|(_, seen)| seen.cast_signed())
        .next();
    let sql = "UPDATE shards SET last_batch = ?1, next_seq = coalesce(?2, next_seq), \
               dispatched = coalesce(?5, dispatched) \
               WHERE owner = ?3 AND epoch = coalesce(?4, epoch)";
    let changed = transaction
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement.execute(params![
                batch.number.cast_signed(),
                next_seq,
                batch.incarnation.as_bytes(),
                epoch,
                dispatched
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
    let sql = "INSERT OR IGNORE INTO idempotency_keys (tenant, key, fingerprint, kind, id, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
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
        let (kind, id) = aggregate_parts(*id);
        let changed = statement
            .execute(params![
                tenant.as_bytes(),
                key,
                fingerprint,
                kind,
                id,
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

fn entries(transaction: &Transaction<'_>, entries: &[Entry]) -> rusqlite::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO log (seq, at, tenant, verb, subject, property, event, actor, cause, body) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let mut statement = transaction.prepare_cached(sql)?;
    for entry in entries {
        let row = LogRow::of(entry).map_err(no_text)?;
        statement.execute(params![
            row.seq.cast_signed(),
            row.at,
            row.tenant.as_bytes(),
            row.verb,
            row.subject,
            row.property,
            row.event,
            row.actor,
            row.cause,
            row.body
        ])?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn not_committed(error: rusqlite::Error) -> CommitError {
    CommitError::NotCommitted(error.to_string())
}

/// Says that something has no text form.
fn no_text(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
