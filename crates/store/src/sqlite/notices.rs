//! Messages to people.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, Params, Row, Transaction, params};
use wellspring_core::notification::{Channel, Issue};
use wellspring_core::{
    AccountId, ConnectionId, NotificationId, Sealed, Shard, Stored, TenantId, Timestamp,
};
use wellspring_engine::{
    CommitError, Notice, NoticeBatch, Notices, Notification, NotificationFilter, Person, StoreError,
};

use super::threads::transact;
use super::{SqliteStore, unavailable};
use crate::row::{body, body_text, channel_code, kind_code};

impl Notices for SqliteStore {
    fn people(&self, accounts: Vec<AccountId>) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT account, tenant, version, contact, preferences FROM people \
                       WHERE account = ?1";
            let mut people = Vec::new();
            for account in accounts {
                let row = rows(connection, sql, [account.as_bytes()], person)?;
                people.extend(row);
            }
            people.into_iter().collect()
        }))
    }

    fn put_person(&self, person: Person, expected: u32) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |connection| {
            transact(connection, |transaction| {
                put_person(transaction, &person, expected)
            })
        }))
    }

    fn notice_cursors(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<BTreeMap<Shard, u64>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT shard, seen FROM notification_cursors";
            let all = rows(connection, sql, [], |row| {
                Ok((Shard(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned()))
            })?;
            let wanted = all.into_iter().filter(|(shard, _)| shards.contains(shard));
            Ok(wanted.collect())
        }))
    }

    fn issues(
        &self,
        connections: Vec<ConnectionId>,
    ) -> BoxFuture<'_, Result<BTreeMap<ConnectionId, Issue>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT body FROM notification_issues WHERE connection = ?1";
            let mut issues = BTreeMap::new();
            for id in connections {
                let texts = rows(connection, sql, [id.as_bytes()], |row| {
                    row.get::<_, String>(0)
                })?;
                for text in texts {
                    issues.insert(id, body("notification_issues", &id, &text)?);
                }
            }
            Ok(issues)
        }))
    }

    fn commit_notices(&self, batch: NoticeBatch) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let written = self.write(move |connection| {
                transact(connection, |transaction| commit(transaction, &batch))
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
        Box::pin(self.write(move |connection| {
            transact(connection, |transaction| {
                if add(transaction, &notification)? {
                    for notice in &notices {
                        put_notice(transaction, notice)?;
                    }
                }
                Ok(())
            })
        }))
    }

    fn due_notices(
        &self,
        channel: Channel,
        shards: Vec<Shard>,
        by: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        Box::pin(self.read(move |connection| {
            // There is one shard, which the caller has or has not.
            if shards.is_empty() {
                return Ok(Vec::new());
            }
            let sql = "SELECT body, notification FROM notices WHERE channel = ?1 AND due <= ?2 \
                       AND status < 3 AND EXISTS (SELECT 1 FROM accounts \
                       WHERE accounts.id = notices.account AND erasing_at IS NULL) \
                       ORDER BY due, account, notification LIMIT ?3";
            let params = params![channel_code(channel), by.as_millis(), limit];
            notices(connection, sql, params)
        }))
    }

    fn notifications_of(
        &self,
        ids: Vec<NotificationId>,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT id, body, read_at FROM notifications WHERE id = ?1";
            let mut found = Vec::new();
            for id in ids {
                found.extend(notifications(connection, sql, [id.as_bytes()])?);
            }
            found.sort_by_key(|one| one.id);
            Ok(found)
        }))
    }

    fn notifications(
        &self,
        account: AccountId,
        filter: NotificationFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT id, body, read_at FROM notifications WHERE account = ?1 AND id < ?2 \
                       AND (?3 = 0 OR kind = ?3) AND (NOT ?4 OR read_at IS NULL) \
                       AND (NOT ?5 OR in_app) ORDER BY id DESC LIMIT ?6";
            let before = filter.before.map_or([0xff; 16], |id| *id.as_bytes());
            let params = params![
                account.as_bytes(),
                before,
                kind_code(&filter),
                filter.unread_only,
                filter.in_app_only,
                limit
            ];
            notifications(connection, sql, params)
        }))
    }

    fn notices(
        &self,
        notification: NotificationId,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT body, notification FROM notices WHERE notification = ?1 \
                       ORDER BY channel, slot";
            notices(connection, sql, [notification.as_bytes()])
        }))
    }

    fn read_notification(
        &self,
        account: AccountId,
        id: NotificationId,
        at: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |connection| {
            let sql = "UPDATE notifications SET read_at = coalesce(read_at, ?3) \
                       WHERE id = ?1 AND account = ?2";
            let changed = connection.execute(
                sql,
                params![id.as_bytes(), account.as_bytes(), at.as_millis()],
            );
            let changed = changed.map_err(|error| unavailable(&error))?;
            Ok(changed == 1)
        }))
    }

    fn sweep_notifications(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(self.write(move |connection| {
            transact(connection, |transaction| {
                let sql = "SELECT id FROM notifications WHERE at < ?1 ORDER BY at LIMIT ?2";
                let old: Vec<[u8; 16]> = transaction
                    .prepare_cached(sql)?
                    .query_map(params![before.as_millis(), limit], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?;
                for id in &old {
                    for sql in [
                        "DELETE FROM notices WHERE notification = ?1",
                        "DELETE FROM notifications WHERE id = ?1",
                    ] {
                        transaction.prepare_cached(sql)?.execute([id])?;
                    }
                }
                Ok(old.len())
            })
        }))
    }
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let rows = connection.prepare_cached(sql).and_then(|mut statement| {
        let rows = statement.query_map(params, read)?;
        rows.collect()
    });
    rows.map_err(|error| unavailable(&error))
}

fn notices(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<Notice>, StoreError> {
    let texts = rows(connection, sql, params, |row| {
        let id = NotificationId::from_bytes(row.get(1)?);
        Ok((row.get::<_, String>(0)?, id))
    })?;
    let read = |(text, id): (String, NotificationId)| body("notices", &id, &text);
    texts.into_iter().map(read).collect()
}

fn notifications(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<Notification>, StoreError> {
    let texts = rows(connection, sql, params, |row| {
        let id = NotificationId::from_bytes(row.get(0)?);
        let read_at: Option<i64> = row.get(2)?;
        Ok((
            id,
            row.get::<_, String>(1)?,
            read_at.map(Timestamp::from_millis),
        ))
    })?;
    let read = |(id, text, read_at): (NotificationId, String, Option<Timestamp>)| {
        let row: Notification = body("notifications", &id, &text)?;
        Ok(Notification { read_at, ..row })
    };
    texts.into_iter().map(read).collect()
}

fn person(row: &Row<'_>) -> rusqlite::Result<Result<Person, StoreError>> {
    let account = AccountId::from_bytes(row.get(0)?);
    let tenant = TenantId::from_bytes(row.get(1)?);
    let version = row.get(2)?;
    let contact: Option<Vec<u8>> = row.get(3)?;
    let preferences: String = row.get(4)?;
    Ok(
        body("people", &account, &preferences).map(|preferences| Person {
            account,
            tenant,
            version,
            contact: contact.map(Sealed::new),
            preferences,
        }),
    )
}

fn put_person(
    transaction: &Transaction<'_>,
    person: &Person,
    expected: u32,
) -> rusqlite::Result<bool> {
    let sql = "SELECT version FROM people WHERE account = ?1";
    let kept: Option<u32> = transaction
        .prepare_cached(sql)?
        .query_row([person.account.as_bytes()], |row| row.get(0))
        .optional()?;
    if kept.unwrap_or(0) != expected {
        return Ok(false);
    }
    let sql = "INSERT OR REPLACE INTO people (account, tenant, version, contact, preferences) \
               SELECT ?1, ?2, ?3, ?4, ?5 \
               WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?1 AND erasing_at IS NULL)";
    let put = transaction.prepare_cached(sql)?.execute(params![
        person.account.as_bytes(),
        person.tenant.as_bytes(),
        person.version,
        person.contact.as_ref().map(Sealed::as_bytes),
        json(&person.preferences)?
    ])?;
    Ok(put == 1)
}

fn commit(transaction: &Transaction<'_>, batch: &NoticeBatch) -> rusqlite::Result<bool> {
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
    for notification in &batch.notifications {
        add(transaction, notification)?;
    }
    for notice in &batch.notices {
        put_notice(transaction, notice)?;
    }
    Ok(true)
}

/// Adds a message; returns whether it was new and there is somebody to tell.
fn add(transaction: &Transaction<'_>, one: &Notification) -> rusqlite::Result<bool> {
    let sql = "INSERT OR IGNORE INTO notifications (id, account, kind, at, read_at, in_app, body) \
               SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 \
               WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?2 AND erasing_at IS NULL)";
    let added = transaction.prepare_cached(sql)?.execute(params![
        one.id.as_bytes(),
        one.account.as_bytes(),
        one.kind.code(),
        one.at.as_millis(),
        one.read_at.map(Timestamp::as_millis),
        one.in_app,
        json(one)?
    ])?;
    Ok(added == 1)
}

fn put_notice(transaction: &Transaction<'_>, notice: &Notice) -> rusqlite::Result<()> {
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

fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    body_text(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
