//! Messages to people.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;
use wellspring_core::notification::{Channel, Issue};
use wellspring_core::{
    AccountId, ConnectionId, NotificationId, Sealed, Shard, Stored, TenantId, Timestamp,
};
use wellspring_engine::{
    CommitError, Notice, NoticeBatch, Notices, Notification, NotificationFilter, Person, StoreError,
};

use super::PostgresStore;
use super::columns::{Fields, text};
use super::queries::count;
use super::session::{Param, Session};
use crate::row::{body, body_text, channel_code, kind_code};

impl Notices for PostgresStore {
    fn people(&self, accounts: Vec<AccountId>) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let ids: Vec<Uuid> = accounts.iter().map(AccountId::uuid).collect();
            let sql = "SELECT account, tenant, version, contact, preferences FROM people \
                       WHERE account = ANY($1)";
            let rows = session.query(sql, &[&ids]).await?;
            session.keep();
            rows.iter().map(person).collect()
        })
    }

    fn put_person(&self, person: Person, expected: u32) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let put = put_person(&session, &person, expected).await?;
            session.keep();
            Ok(put)
        })
    }

    fn notice_cursors(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<BTreeMap<Shard, u64>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let shards: Vec<i16> = shards.iter().map(|shard| i16::from(shard.0)).collect();
            let sql = "SELECT shard, seen FROM notification_cursors WHERE shard = ANY($1)";
            let rows = session.query(sql, &[&shards]).await?;
            session.keep();
            let read = |row| {
                let fields = Fields::new("notification_cursors", row);
                let shard = u8::try_from(fields.get::<i16>("shard")?).unwrap_or(u8::MAX);
                Ok((Shard(shard), fields.get::<i64>("seen")?.cast_unsigned()))
            };
            rows.iter().map(read).collect()
        })
    }

    fn issues(
        &self,
        connections: Vec<ConnectionId>,
    ) -> BoxFuture<'_, Result<BTreeMap<ConnectionId, Issue>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let ids: Vec<Uuid> = connections.iter().map(ConnectionId::uuid).collect();
            let sql = "SELECT connection, body FROM notification_issues WHERE connection = ANY($1)";
            let rows = session.query(sql, &[&ids]).await?;
            session.keep();
            let read = |row| {
                let fields = Fields::new("notification_issues", row);
                let id = ConnectionId::from_bytes(fields.uuid("connection")?);
                Ok((id, body("notification_issues", &id, fields.get("body")?)?))
            };
            rows.iter().map(read).collect()
        })
    }

    fn commit_notices(&self, batch: NoticeBatch) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let written = self.within(async move {
                let session = self.pool().get().await?;
                session.batch("BEGIN").await?;
                let held = commit(&session, &batch).await?;
                session
                    .batch(if held { "COMMIT" } else { "ROLLBACK" })
                    .await?;
                session.keep();
                Ok(held)
            });
            match written.await {
                Ok(true) => Ok(()),
                Ok(false) => Err(CommitError::Fenced),
                Err(error) => Err(CommitError::Unknown(error.to_string())),
            }
        })
    }

    fn add_notification(
        &self,
        notification: Notification,
        notices: Vec<Notice>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            session.batch("BEGIN").await?;
            if add(&session, &notification).await? {
                for notice in &notices {
                    put_notice(&session, notice).await?;
                }
            }
            session.batch("COMMIT").await?;
            session.keep();
            Ok(())
        })
    }

    fn due_notices(
        &self,
        channel: Channel,
        shards: Vec<Shard>,
        by: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let shards: Vec<i16> = shards.iter().map(|shard| i16::from(shard.0)).collect();
            let sql = "SELECT notification, body FROM notices WHERE channel = $1 AND due <= $2 \
                       AND status < 3 AND shard = ANY($3) \
                       AND EXISTS (SELECT 1 FROM accounts a \
                       WHERE a.id = notices.account AND a.erasing_at IS NULL) \
                       ORDER BY channel, due, account, notification LIMIT $4";
            let (channel, limit) = (i16::from(channel_code(channel)), count(limit));
            let by = by.as_millis();
            let rows = session
                .query(sql, &[&channel, &by, &shards, &limit])
                .await?;
            session.keep();
            rows.iter().map(notice).collect()
        })
    }

    fn notifications_of(
        &self,
        ids: Vec<NotificationId>,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let ids: Vec<Uuid> = ids.iter().map(NotificationId::uuid).collect();
            let sql = "SELECT id, body, read_at FROM notifications WHERE id = ANY($1) ORDER BY id";
            let rows = session.query(sql, &[&ids]).await?;
            session.keep();
            rows.iter().map(notification).collect()
        })
    }

    fn notifications(
        &self,
        account: AccountId,
        filter: NotificationFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "SELECT id, body, read_at FROM notifications WHERE account = $1 AND id < $2 \
                       AND ($3::int2 = 0 OR kind = $3) AND (NOT $4 OR read_at IS NULL) \
                       AND (NOT $5 OR in_app) ORDER BY account DESC, id DESC LIMIT $6";
            let before = filter.before.map_or_else(Uuid::max, |id| id.uuid());
            let params: [Param<'_>; 6] = [
                &account.uuid(),
                &before,
                &i16::from(kind_code(&filter)),
                &filter.unread_only,
                &filter.in_app_only,
                &count(limit),
            ];
            let rows = session.query(sql, &params).await?;
            session.keep();
            rows.iter().map(notification).collect()
        })
    }

    fn notices(&self, id: NotificationId) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "SELECT notification, body FROM notices WHERE notification = $1 \
                       ORDER BY channel, slot";
            let rows = session.query(sql, &[&id.uuid()]).await?;
            session.keep();
            rows.iter().map(notice).collect()
        })
    }

    fn read_notification(
        &self,
        account: AccountId,
        id: NotificationId,
        at: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "UPDATE notifications SET read_at = coalesce(read_at, $3) \
                       WHERE id = $1 AND account = $2";
            let at = at.as_millis();
            let changed = session
                .execute(sql, &[&id.uuid(), &account.uuid(), &at])
                .await?;
            session.keep();
            Ok(changed == 1)
        })
    }

    fn sweep_notifications(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "WITH old AS (DELETE FROM notifications WHERE id IN (SELECT id \
                       FROM notifications WHERE at < $1 ORDER BY at LIMIT $2) RETURNING id), \
                       gone AS (DELETE FROM notices WHERE notification IN (SELECT id FROM old)) \
                       SELECT count(*) AS removed FROM old";
            let row = session
                .query_opt(sql, &[&before.as_millis(), &count(limit)])
                .await?;
            session.keep();
            let removed: i64 = row.map_or(Ok(0), |row| {
                Fields::new("notifications", &row).get("removed")
            })?;
            Ok(usize::try_from(removed).unwrap_or(0))
        })
    }
}

fn person(row: &Row) -> Result<Person, StoreError> {
    let fields = Fields::new("people", row);
    let account = AccountId::from_bytes(fields.uuid("account")?);
    let contact: Option<Vec<u8>> = fields.get("contact")?;
    Ok(Person {
        account,
        tenant: TenantId::from_bytes(fields.uuid("tenant")?),
        version: fields.version("version")?,
        contact: contact.map(Sealed::new),
        preferences: body("people", &account, fields.get("preferences")?)?,
    })
}

fn notice(row: &Row) -> Result<Notice, StoreError> {
    let fields = Fields::new("notices", row);
    let id = NotificationId::from_bytes(fields.uuid("notification")?);
    body("notices", &id, fields.get("body")?)
}

fn notification(row: &Row) -> Result<Notification, StoreError> {
    let fields = Fields::new("notifications", row);
    let id = NotificationId::from_bytes(fields.uuid("id")?);
    let read: Notification = body("notifications", &id, fields.get("body")?)?;
    Ok(Notification {
        read_at: fields.timestamp_opt("read_at")?,
        ..read
    })
}

// The row of the account is locked, so that its erasure waits and then finds what was written.
async fn put_person(session: &Session, person: &Person, expected: u32) -> Result<bool, StoreError> {
    let contact = person.contact.as_ref().map(Sealed::as_bytes);
    let preferences = json(&person.preferences)?;
    let insert = "INSERT INTO people (account, tenant, version, contact, preferences) \
                  SELECT a.id, a.tenant, $2, $3, $4 FROM accounts a \
                  WHERE a.id = $1 AND a.erasing_at IS NULL FOR SHARE OF a ON CONFLICT DO NOTHING";
    let update = "UPDATE people p SET version = $2, contact = $3, preferences = $4 \
                  FROM (SELECT id FROM accounts WHERE id = $1 AND erasing_at IS NULL FOR SHARE) a \
                  WHERE p.account = a.id AND p.version = $5";
    let account = person.account.uuid();
    let (version, expected_version) = (person.version.cast_signed(), expected.cast_signed());
    let preferences = text(&preferences);
    let mut params: Vec<Param<'_>> = vec![&account, &version, &contact, &preferences];
    let changed = if expected == 0 {
        session.execute(insert, &params).await?
    } else {
        params.push(&expected_version);
        session.execute(update, &params).await?
    };
    Ok(changed == 1)
}

async fn commit(session: &Session, batch: &NoticeBatch) -> Result<bool, StoreError> {
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
    for notification in &batch.notifications {
        add(session, notification).await?;
    }
    for notice in &batch.notices {
        put_notice(session, notice).await?;
    }
    Ok(true)
}

/// Adds a message; returns whether it was new and there is somebody to tell.
async fn add(session: &Session, one: &Notification) -> Result<bool, StoreError> {
    let sql = "INSERT INTO notifications (id, account, kind, at, read_at, in_app, body) \
               SELECT $1, a.id, $3, $4, $5, $6, $7 FROM accounts a \
               WHERE a.id = $2 AND a.erasing_at IS NULL FOR SHARE OF a ON CONFLICT DO NOTHING";
    let body = json(one)?;
    let params: [Param<'_>; 7] = [
        &one.id.uuid(),
        &one.account.uuid(),
        &i16::from(one.kind.code()),
        &one.at.as_millis(),
        &one.read_at.map(Timestamp::as_millis),
        &one.in_app,
        &text(&body),
    ];
    Ok(session.execute(sql, &params).await? == 1)
}

async fn put_notice(session: &Session, notice: &Notice) -> Result<(), StoreError> {
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

fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    body_text(value).map_err(|error| StoreError::Unavailable(error.to_string()))
}
