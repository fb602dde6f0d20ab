//! What is written in one transaction.

use serde::Serialize;
use wellspring_core::notification::Maintenance;
use wellspring_core::{AccountId, SourceName, Stored, Timestamp};
use wellspring_engine::{
    IncidentStage, IncidentWrite, Notice, NoticeBatch, Notification, StoreError,
};

use crate::postgres::columns::{Fields, text};
use crate::postgres::session::{Param, Session};
use crate::row::{body_text, channel_code, goes_on};

pub(super) async fn commit(session: &Session, batch: &NoticeBatch) -> Result<bool, StoreError> {
    let shard = i16::from(batch.shard.0);
    let sql = "SELECT 1 AS held FROM shards WHERE shard = $1 AND owner = $2 AND epoch = $3 \
               FOR KEY SHARE";
    let (node, epoch) = (batch.incarnation.uuid(), batch.epoch.cast_signed());
    if session
        .query_opt(sql, &[&shard, &node, &epoch])
        .await?
        .is_none()
    {
        return Ok(false);
    }
    if let Some((from, to)) = batch.cursor {
        let sql = "UPDATE notification_cursors SET seen = $3 WHERE shard = $1 AND seen = $2";
        let (from, to) = (from.cast_signed(), to.cast_signed());
        if session.execute(sql, &[&shard, &from, &to]).await? != 1 {
            return Ok(false);
        }
    }
    for (connection, account, issue) in &batch.issues {
        let sql = "DELETE FROM notification_issues WHERE connection = $1";
        session.execute(sql, &[&connection.uuid()]).await?;
        if issue.is_blank() {
            continue;
        }
        let sql = "INSERT INTO notification_issues (connection, account, body) \
                   SELECT $1, a.id, $3 FROM accounts a \
                   WHERE a.id = $2 AND a.erasing_at IS NULL FOR SHARE OF a";
        let issue = json(issue)?;
        let params: [Param<'_>; 3] = [&connection.uuid(), &account.uuid(), &issue];
        session.execute(sql, &params).await?;
    }
    for (account, source, told) in &batch.maintenance {
        put_maintenance(session, *account, source, told.as_ref()).await?;
    }
    for step in &batch.incidents {
        if !put_incident(session, shard, step).await? {
            return Ok(false);
        }
    }
    for notification in &batch.notifications {
        add(session, notification).await?;
    }
    for notice in &batch.notices {
        put_notice(session, notice).await?;
    }
    Ok(true)
}

/// Writes a step of telling of an incident; returns whether it goes on from what is kept.
///
/// A commit of ours whose answer was lost may still be under way: it is waited for.
async fn put_incident(
    session: &Session,
    shard: i16,
    step: &IncidentWrite,
) -> Result<bool, StoreError> {
    let id = step.id.uuid();
    let body = json(&step.to)?;
    let params: [Param<'_>; 3] = [&shard, &id, &text(&body)];
    if step.from.is_none() {
        let sql = "INSERT INTO incidents_told (shard, incident, body) VALUES ($1, $2, $3) \
                   ON CONFLICT DO NOTHING";
        if session.execute(sql, &params).await? != 1 {
            return Ok(false);
        }
    } else {
        let sql = "SELECT body FROM incidents_told WHERE shard = $1 AND incident = $2 FOR UPDATE";
        let row = session.query_opt(sql, &[&shard, &id]).await?;
        let read = |row| Fields::new("incidents_told", row).get("body");
        let kept: Option<&str> = row.as_ref().map(read).transpose()?;
        if !goes_on(kept, step) {
            return Ok(false);
        }
    }
    if step.to.stage == IncidentStage::Ended {
        let sql = "DELETE FROM incidents_told WHERE shard = $1 AND incident = $2";
        session.execute(sql, &[&shard, &id]).await?;
        return Ok(true);
    }
    let sql = "UPDATE incidents_told SET body = $3 WHERE shard = $1 AND incident = $2";
    session.execute(sql, &params).await?;
    Ok(true)
}

async fn put_maintenance(
    session: &Session,
    account: AccountId,
    source: &SourceName,
    told: Option<&Maintenance>,
) -> Result<(), StoreError> {
    let Some(told) = told else {
        let sql = "DELETE FROM maintenance_told WHERE account = $1 AND source = $2";
        let params: [Param<'_>; 2] = [&account.uuid(), &text(source.as_str())];
        session.execute(sql, &params).await?;
        return Ok(());
    };
    let sql = "INSERT INTO maintenance_told (account, source, body) \
               SELECT a.id, $2, $3 FROM accounts a \
               WHERE a.id = $1 AND a.erasing_at IS NULL FOR SHARE OF a \
               ON CONFLICT (account, source) DO UPDATE SET body = excluded.body";
    let body = json(told)?;
    let params: [Param<'_>; 3] = [&account.uuid(), &text(source.as_str()), &text(&body)];
    session.execute(sql, &params).await?;
    Ok(())
}

/// Adds a message; returns whether it was new and there is somebody to tell.
pub(super) async fn add(session: &Session, one: &Notification) -> Result<bool, StoreError> {
    let sql = "WITH present AS (SELECT id FROM accounts \
               WHERE id = $2 AND erasing_at IS NULL FOR SHARE), \
               head AS (INSERT INTO notification_heads AS h (account, seq) \
               SELECT id, 1 FROM present \
               ON CONFLICT (account) DO UPDATE SET seq = h.seq + 1 RETURNING account, seq) \
               INSERT INTO notifications \
               (id, account, kind, at, read_at, in_app, body, request, seq) \
               SELECT $1, account, $3, $4, $5, $6, $7, $8, seq FROM head ON CONFLICT DO NOTHING";
    let body = json(one)?;
    let request = one.request.as_ref().map(|request| request.key.as_slice());
    let params: [Param<'_>; 8] = [
        &one.id.uuid(),
        &one.account.uuid(),
        &i16::from(one.kind.code()),
        &one.at.as_millis(),
        &one.read_at.map(Timestamp::as_millis),
        &one.in_app,
        &text(&body),
        &request,
    ];
    Ok(session.execute(sql, &params).await? == 1)
}

pub(super) async fn put_notice(session: &Session, notice: &Notice) -> Result<(), StoreError> {
    let sql = "INSERT INTO notices \
               (notification, channel, slot, account, shard, status, due, body) \
               SELECT $1, $2, $3, a.id, $5, $6, $7, $8 FROM accounts a \
               WHERE a.id = $4 AND a.erasing_at IS NULL FOR SHARE OF a \
               ON CONFLICT (notification, channel, slot) \
               DO UPDATE SET status = excluded.status, due = excluded.due, body = excluded.body";
    let body = json(notice)?;
    let params: [Param<'_>; 8] = [
        &notice.notification.uuid(),
        &i16::from(channel_code(notice.channel)),
        &notice.slot.cast_signed(),
        &notice.account.uuid(),
        &i16::from(notice.account.shard().0),
        &i16::from(notice.status.code()),
        &notice.due.as_millis(),
        &text(&body),
    ];
    session.execute(sql, &params).await?;
    Ok(())
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    body_text(value).map_err(|error| StoreError::Unavailable(error.to_string()))
}
