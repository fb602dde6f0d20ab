//! What is written in one transaction.

use rusqlite::{OptionalExtension, Transaction, params};
use serde::Serialize;
use wellspring_core::notification::Maintenance;
use wellspring_core::{AccountId, Shard, SourceName, Stored, Timestamp};
use wellspring_engine::{IncidentStage, IncidentWrite, Notice, NoticeBatch, Notification};

use crate::row::{body_text, channel_code, goes_on};

pub(super) fn commit(transaction: &Transaction<'_>, batch: &NoticeBatch) -> rusqlite::Result<bool> {
    let sql = "SELECT coalesce((SELECT seen FROM notification_cursors WHERE shard = ?1), 0) \
               FROM shards WHERE shard = ?1 AND owner = ?2 AND epoch = ?3";
    let kept: Option<i64> = transaction
        .prepare_cached(sql)?
        .query_row(
            params![
                batch.shard.0,
                batch.incarnation.as_bytes(),
                batch.epoch.cast_signed()
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(kept) = kept else { return Ok(false) };
    if let Some((from, to)) = batch.cursor {
        if from.cast_signed() != kept {
            return Ok(false);
        }
        let sql = "INSERT OR REPLACE INTO notification_cursors (shard, seen) VALUES (?1, ?2)";
        transaction
            .prepare_cached(sql)?
            .execute(params![batch.shard.0, to.cast_signed()])?;
    }
    for (connection, account, issue) in &batch.issues {
        let sql = "DELETE FROM notification_issues WHERE connection = ?1";
        transaction
            .prepare_cached(sql)?
            .execute([connection.as_bytes()])?;
        if issue.is_blank() {
            continue;
        }
        let sql = "INSERT INTO notification_issues (connection, account, body) SELECT ?1, ?2, ?3 \
                   WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?2 AND erasing_at IS NULL)";
        transaction.prepare_cached(sql)?.execute(params![
            connection.as_bytes(),
            account.as_bytes(),
            json(issue)?
        ])?;
    }
    for (account, source, told) in &batch.maintenance {
        put_maintenance(transaction, *account, source, told.as_ref())?;
    }
    for step in &batch.incidents {
        if !put_incident(transaction, batch.shard, step)? {
            return Ok(false);
        }
    }
    for notification in &batch.notifications {
        add(transaction, notification)?;
    }
    for notice in &batch.notices {
        put_notice(transaction, notice)?;
    }
    Ok(true)
}

/// Writes a step of telling of an incident; returns whether it goes on from what is kept.
fn put_incident(
    transaction: &Transaction<'_>,
    shard: Shard,
    step: &IncidentWrite,
) -> rusqlite::Result<bool> {
    let place = params![shard.0, step.id.as_bytes()];
    let sql = "SELECT body FROM incidents_told WHERE shard = ?1 AND incident = ?2";
    let kept: Option<String> = transaction
        .prepare_cached(sql)?
        .query_row(place, |row| row.get(0))
        .optional()?;
    if !goes_on(kept.as_deref(), step) {
        return Ok(false);
    }
    if step.to.stage == IncidentStage::Ended {
        let sql = "DELETE FROM incidents_told WHERE shard = ?1 AND incident = ?2";
        transaction.prepare_cached(sql)?.execute(place)?;
        return Ok(true);
    }
    let sql = "INSERT OR REPLACE INTO incidents_told (shard, incident, body) VALUES (?1, ?2, ?3)";
    let row = params![shard.0, step.id.as_bytes(), json(&step.to)?];
    transaction.prepare_cached(sql)?.execute(row)?;
    Ok(true)
}

fn put_maintenance(
    transaction: &Transaction<'_>,
    account: AccountId,
    source: &SourceName,
    told: Option<&Maintenance>,
) -> rusqlite::Result<()> {
    let Some(told) = told else {
        let sql = "DELETE FROM maintenance_told WHERE account = ?1 AND source = ?2";
        let place = params![account.as_bytes(), source.as_str()];
        transaction.prepare_cached(sql)?.execute(place)?;
        return Ok(());
    };
    let sql = "INSERT OR REPLACE INTO maintenance_told (account, source, body) SELECT ?1, ?2, ?3 \
               WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?1 AND erasing_at IS NULL)";
    let row = params![account.as_bytes(), source.as_str(), json(told)?];
    transaction.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Adds a message; returns whether it was new and there is somebody to tell.
pub(super) fn add(transaction: &Transaction<'_>, one: &Notification) -> rusqlite::Result<bool> {
    let sql = "INSERT OR IGNORE INTO notifications \
               (id, account, kind, at, read_at, in_app, body, request, seq) \
               SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
               coalesce((SELECT seq FROM notification_heads WHERE account = ?2), 0) + 1 \
               WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?2 AND erasing_at IS NULL)";
    let added = transaction.prepare_cached(sql)?.execute(params![
        one.id.as_bytes(),
        one.account.as_bytes(),
        one.kind.code(),
        one.at.as_millis(),
        one.read_at.map(Timestamp::as_millis),
        one.in_app,
        json(one)?,
        one.request.map(|request| request.key)
    ])?;
    if added == 1 {
        let sql = "INSERT INTO notification_heads (account, seq) VALUES (?1, 1) \
                   ON CONFLICT (account) DO UPDATE SET seq = seq + 1";
        transaction
            .prepare_cached(sql)?
            .execute([one.account.as_bytes()])?;
    }
    Ok(added == 1)
}

pub(super) fn put_notice(transaction: &Transaction<'_>, notice: &Notice) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO notices \
               (notification, channel, slot, account, shard, status, due, body) \
               SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 \
               WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?4 AND erasing_at IS NULL)";
    transaction.prepare_cached(sql)?.execute(params![
        notice.notification.as_bytes(),
        channel_code(notice.channel),
        notice.slot.cast_signed(),
        notice.account.as_bytes(),
        notice.account.shard().0,
        notice.status.code(),
        notice.due.as_millis(),
        json(notice)?
    ])?;
    Ok(())
}

pub(super) fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    body_text(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
