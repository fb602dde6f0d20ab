//! Steps of accounts and connections.

use rusqlite::{Transaction, params};
use wellspring_core::connection::{InteractionWrite, SecretWrite};
use wellspring_core::reliability::FetchTally;
use wellspring_core::{Account, AccountId, Connection, ConnectionId, Stored, Timestamp};
use wellspring_engine::{AccountWrite, Before, ConnectionWrite};

use super::{alert, no_text};
use crate::row::{
    ConnectionRow, document_body, erasing_columns, error_text, fetch_body, millis, question_text,
    tally_columns,
};

/// Applies one step of an account; returns whether the row was at the version it assumes.
pub(super) fn apply_account(
    transaction: &Transaction<'_>,
    step: &AccountWrite,
) -> rusqlite::Result<bool> {
    match (step.before, &step.next) {
        (Before::New, Some(next)) => insert_account(transaction, next),
        (Before::Live(version), Some(next)) => update_account(transaction, next, version),
        (Before::Live(version), None) => erase_account(transaction, step.id, version),
        (Before::New, None) | (Before::Finished(_), _) => Ok(false),
    }
}

fn insert_account(transaction: &Transaction<'_>, next: &Account) -> rusqlite::Result<bool> {
    let (erasing_at, erasing_by) = erasing_columns(next);
    let sql = "INSERT INTO accounts (id, tenant, external_id, created_at, version, erasing_at, erasing_by) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    transaction.prepare_cached(sql)?.execute(params![
        next.id.as_bytes(),
        next.tenant.as_bytes(),
        next.external_id,
        next.created_at.as_millis(),
        next.version,
        erasing_at,
        erasing_by
    ])?;
    Ok(true)
}

fn update_account(
    transaction: &Transaction<'_>,
    next: &Account,
    version: u32,
) -> rusqlite::Result<bool> {
    let (erasing_at, erasing_by) = erasing_columns(next);
    let sql = "UPDATE accounts SET external_id = ?3, version = ?4, erasing_at = ?5, erasing_by = ?6 \
               WHERE id = ?1 AND version = ?2";
    let changed = transaction.prepare_cached(sql)?.execute(params![
        next.id.as_bytes(),
        version,
        next.external_id,
        next.version,
        erasing_at,
        erasing_by
    ])?;
    Ok(changed == 1)
}

fn erase_account(
    transaction: &Transaction<'_>,
    id: AccountId,
    version: u32,
) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM accounts WHERE id = ?1 AND version = ?2";
    let held = transaction
        .prepare_cached(sql)?
        .execute(params![id.as_bytes(), version])?;
    if held == 0 {
        return Ok(false);
    }
    let left: Vec<[u8; 16]> = transaction
        .prepare_cached("SELECT id FROM connections WHERE account = ?1")?
        .query_map([id.as_bytes()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for connection in left {
        let sql = "DELETE FROM connections WHERE id = ?1";
        transaction.prepare_cached(sql)?.execute([connection])?;
        clear(transaction, ConnectionId::from_bytes(connection))?;
    }
    for sql in [
        "INSERT OR IGNORE INTO blob_garbage (id) SELECT id FROM documents WHERE account = ?1",
        "DELETE FROM documents WHERE account = ?1",
        "DELETE FROM tokens WHERE account = ?1",
        "DELETE FROM people WHERE account = ?1",
        "DELETE FROM notices WHERE account = ?1",
        "DELETE FROM notifications WHERE account = ?1",
        "DELETE FROM notification_issues WHERE account = ?1",
        "DELETE FROM notification_heads WHERE account = ?1",
        "DELETE FROM maintenance_told WHERE account = ?1",
        "DELETE FROM allowances WHERE account = ?1",
        "DELETE FROM alerts WHERE account = ?1",
    ] {
        transaction.prepare_cached(sql)?.execute([id.as_bytes()])?;
    }
    Ok(true)
}

/// Applies one step of a connection; returns whether the row was at the version it assumes.
pub(super) fn apply(
    transaction: &Transaction<'_>,
    step: &ConnectionWrite,
) -> rusqlite::Result<bool> {
    let held = match (step.before, &step.next) {
        (Before::New, Some(next)) => insert(transaction, next)?,
        (Before::Live(version), Some(next)) => update(transaction, next, version)?,
        (Before::Live(version), None) => delete(transaction, step.id, version)?,
        (Before::New, None) | (Before::Finished(_), _) => false,
    };
    if !held {
        return Ok(false);
    }
    documents(transaction, step)?;
    alert::apply(transaction, &step.alerts)?;
    if let Some(next) = &step.next {
        fetch(transaction, step, next)?;
        interactions(transaction, step)?;
        secrets(transaction, step)?;
        items(transaction, step)?;
    }
    Ok(true)
}

fn insert(transaction: &Transaction<'_>, next: &Connection) -> rusqlite::Result<bool> {
    let row = ConnectionRow::of(next).map_err(no_text)?;
    let sql = "INSERT INTO connections (id, due, lane, version, state, account, tenant, source, body) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    transaction.prepare_cached(sql)?.execute(params![
        next.id.as_bytes(),
        row.due,
        row.lane,
        row.version,
        row.state,
        next.account.as_bytes(),
        next.tenant.as_bytes(),
        next.source.as_str(),
        row.body
    ])?;
    Ok(true)
}

fn update(
    transaction: &Transaction<'_>,
    next: &Connection,
    version: u32,
) -> rusqlite::Result<bool> {
    let row = ConnectionRow::of(next).map_err(no_text)?;
    let sql = "UPDATE connections SET due = ?3, lane = ?4, version = ?5, state = ?6, body = ?7 \
               WHERE id = ?1 AND version = ?2";
    let changed = transaction.prepare_cached(sql)?.execute(params![
        next.id.as_bytes(),
        version,
        row.due,
        row.lane,
        row.version,
        row.state,
        row.body
    ])?;
    Ok(changed == 1)
}

fn delete(transaction: &Transaction<'_>, id: ConnectionId, version: u32) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM connections WHERE id = ?1 AND version = ?2";
    let held = transaction
        .prepare_cached(sql)?
        .execute(params![id.as_bytes(), version])?;
    if held == 1 {
        clear(transaction, id)?;
    }
    Ok(held == 1)
}

/// Takes what a connection leaves behind, but its documents, which are the account's.
fn clear(transaction: &Transaction<'_>, id: ConnectionId) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM secrets WHERE connection = ?1",
        "DELETE FROM interactions WHERE connection = ?1",
        "DELETE FROM fetch_attempts WHERE fetch IN (SELECT id FROM fetches WHERE connection = ?1)",
        "DELETE FROM fetches WHERE connection = ?1",
        "DELETE FROM records WHERE connection = ?1",
        "DELETE FROM stream_cursors WHERE connection = ?1",
    ] {
        transaction.prepare_cached(sql)?.execute([id.as_bytes()])?;
    }
    Ok(())
}

fn documents(transaction: &Transaction<'_>, step: &ConnectionWrite) -> rusqlite::Result<()> {
    for document in &step.documents {
        let sql = "INSERT OR REPLACE INTO documents (id, tenant, account, connection, source_id, hash, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        transaction.prepare_cached(sql)?.execute(params![
            document.id.as_bytes(),
            document.tenant.as_bytes(),
            document.account.as_bytes(),
            document.connection.as_bytes(),
            document.source_id,
            document.hash,
            document_body(document).map_err(no_text)?
        ])?;
    }
    Ok(())
}

fn fetch(
    transaction: &Transaction<'_>,
    step: &ConnectionWrite,
    next: &Connection,
) -> rusqlite::Result<()> {
    if let Some(fetch) = &step.fetch {
        let sql = "INSERT INTO fetches (id, connection, tenant, ended_at, body) VALUES (?1, ?2, ?3, ?4, ?5) \
                   ON CONFLICT (id) DO UPDATE SET ended_at = ?4, body = ?5";
        transaction.prepare_cached(sql)?.execute(params![
            fetch.id.as_bytes(),
            fetch.connection.as_bytes(),
            next.tenant.as_bytes(),
            fetch.ended_at.map(Timestamp::as_millis),
            fetch_body(fetch).map_err(no_text)?
        ])?;
        if let Some(tally) = FetchTally::of(fetch) {
            count(transaction, next, &tally)?;
        }
    }
    if let Some(attempt) = &step.attempt {
        let sql = "INSERT OR REPLACE INTO fetch_attempts \
                   (fetch, number, at, duration_ms, error, documents, records, next_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        transaction.prepare_cached(sql)?.execute(params![
            attempt.fetch.as_bytes(),
            attempt.number,
            attempt.at.as_millis(),
            millis(attempt.duration),
            error_text(attempt.error.as_ref()).map_err(no_text)?,
            attempt.documents,
            attempt.records,
            attempt.next_at.map(Timestamp::as_millis)
        ])?;
    }
    Ok(())
}

/// Adds a fetch that ended to the statistics.
fn count(
    transaction: &Transaction<'_>,
    connection: &Connection,
    tally: &FetchTally,
) -> rusqlite::Result<()> {
    let ((day, status, bucket), sums) = tally_columns(tally);
    let [fetches, attempts, records, documents, duration_ms] = sums;
    let sql = "INSERT INTO fetch_statistics (connection, day, status, bucket, tenant, source, \
               fetches, attempts, records, documents, duration_ms) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
               ON CONFLICT (connection, day, status, bucket) DO UPDATE SET \
               fetches = fetches + ?7, attempts = attempts + ?8, records = records + ?9, \
               documents = documents + ?10, duration_ms = duration_ms + ?11";
    transaction.prepare_cached(sql)?.execute(params![
        connection.id.as_bytes(),
        day,
        status,
        bucket,
        connection.tenant.as_bytes(),
        connection.source.as_str(),
        fetches,
        attempts,
        records,
        documents,
        duration_ms
    ])?;
    Ok(())
}

fn interactions(transaction: &Transaction<'_>, step: &ConnectionWrite) -> rusqlite::Result<()> {
    for interaction in &step.interactions {
        match interaction {
            InteractionWrite::Open {
                id,
                question,
                at,
                expires_at,
            } => {
                let sql = "INSERT OR REPLACE INTO interactions (connection, id, created_at, expires_at, question) \
                           VALUES (?1, ?2, ?3, ?4, ?5)";
                transaction.prepare_cached(sql)?.execute(params![
                    step.id.as_bytes(),
                    id.as_bytes(),
                    at.as_millis(),
                    expires_at.map(Timestamp::as_millis),
                    question_text(question).map_err(no_text)?
                ])?;
            }
            InteractionWrite::Close {
                id,
                reason,
                at,
                hash,
            } => {
                let sql = "UPDATE interactions SET closed_at = ?3, reason = ?4, hash = ?5 \
                           WHERE connection = ?1 AND id = ?2";
                transaction.prepare_cached(sql)?.execute(params![
                    step.id.as_bytes(),
                    id.as_bytes(),
                    at.as_millis(),
                    reason.code(),
                    hash
                ])?;
            }
        }
    }
    Ok(())
}

fn secrets(transaction: &Transaction<'_>, step: &ConnectionWrite) -> rusqlite::Result<()> {
    let id = step.id.as_bytes();
    let delete = |slot: u8| -> rusqlite::Result<usize> {
        let sql = "DELETE FROM secrets WHERE connection = ?1 AND slot = ?2";
        transaction.prepare_cached(sql)?.execute(params![id, slot])
    };
    for secret in &step.secrets {
        match secret {
            SecretWrite::Put(slot, sealed) => {
                let sql =
                    "INSERT OR REPLACE INTO secrets (connection, slot, sealed) VALUES (?1, ?2, ?3)";
                transaction.prepare_cached(sql)?.execute(params![
                    id,
                    slot.code(),
                    sealed.as_bytes()
                ])?;
            }
            SecretWrite::Move(from, to) => {
                delete(to.code())?;
                let sql = "UPDATE secrets SET slot = ?3 WHERE connection = ?1 AND slot = ?2";
                transaction
                    .prepare_cached(sql)?
                    .execute(params![id, from.code(), to.code()])?;
            }
            SecretWrite::Delete(slot) => drop(delete(slot.code())?),
        }
    }
    Ok(())
}

fn items(transaction: &Transaction<'_>, step: &ConnectionWrite) -> rusqlite::Result<()> {
    let id = step.id.as_bytes();
    for (stream, record) in &step.records {
        // Sources tell again what they have told: what is the same is not written again.
        let sql = "INSERT INTO records (connection, stream, key, hash, body) VALUES (?1, ?2, ?3, ?4, ?5) \
                   ON CONFLICT (connection, stream, key) DO UPDATE SET hash = ?4, body = ?5 WHERE hash <> ?4";
        transaction.prepare_cached(sql)?.execute(params![
            id,
            stream,
            record.key,
            record.hash,
            record.body.as_bytes()
        ])?;
    }
    for (stream, cursor) in &step.cursors {
        let sql = "INSERT OR REPLACE INTO stream_cursors (connection, stream, cursor) VALUES (?1, ?2, ?3)";
        transaction
            .prepare_cached(sql)?
            .execute(params![id, stream, cursor])?;
    }
    Ok(())
}
