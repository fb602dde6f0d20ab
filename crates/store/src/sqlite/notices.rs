//! Messages to people.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, Params, Row, Transaction, params};
use wellspring_core::notification::{Channel, Issue};
use wellspring_core::{
    AccountId, ConnectionId, ConnectionState, IncidentId, NotificationId, Sealed, Shard,
    SourceName, Stored, TenantId, Timestamp,
};
use wellspring_engine::{
    Allowance, CommitError, IncidentsTold, MaintenanceTold, Notice, NoticeBatch, Notices,
    Notification, NotificationFilter, Person, PhoneMark, StoreError,
};

use super::threads::transact;
use super::{SqliteStore, unavailable};
use crate::row::{body, channel_code, heard, is_held, kind_code, mark};

mod commit;

use commit::{add, commit, json, put_notice};

impl Notices for SqliteStore {
    fn people(&self, accounts: Vec<AccountId>) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT account, tenant, version, contact, preferences, phone, heard \
                       FROM people WHERE account = ?1";
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

    fn people_called(&self, phone: PhoneMark) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT account, tenant, version, contact, preferences, phone, heard \
                       FROM people WHERE phone = ?1";
            let people = rows(connection, sql, [phone], person)?;
            people.into_iter().collect()
        }))
    }

    fn hear_phone(
        &self,
        phone: PhoneMark,
        by: Option<PhoneMark>,
        stopped: bool,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |connection| {
            let sql = "SELECT stopped, heard FROM phones WHERE phone = ?1";
            let kept = rows(connection, sql, [phone], |row| {
                Ok((row.get::<_, bool>(0)?, row.get::<_, String>(1)?))
            })?;
            let kept = kept.into_iter().next();
            let kept = match kept {
                Some((stopped, text)) => Some((stopped, body("phones", &"", &text)?)),
                None => None,
            };
            let Some((stopped, messages)) = heard(kept, by, stopped) else {
                return Ok(());
            };
            transact(connection, |transaction| {
                let sql =
                    "INSERT OR REPLACE INTO phones (phone, stopped, heard) VALUES (?1, ?2, ?3)";
                let row = params![phone, stopped, json(&messages)?];
                transaction.prepare_cached(sql)?.execute(row)?;
                Ok(())
            })
        }))
    }

    fn stopped_phones(
        &self,
        phones: Vec<PhoneMark>,
    ) -> BoxFuture<'_, Result<Vec<PhoneMark>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT phone FROM phones WHERE phone = ?1 AND stopped";
            let mut stopped = Vec::new();
            for phone in phones {
                let found = rows(connection, sql, [phone], |row| row.get::<_, PhoneMark>(0));
                stopped.extend(found?);
            }
            Ok(stopped)
        }))
    }

    fn spend(
        &self,
        account: AccountId,
        allowance: Allowance,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        Box::pin(self.write(move |connection| {
            transact(connection, |transaction| {
                spend(transaction, account, allowance, now)
            })
        }))
    }

    fn accounts_at(
        &self,
        source: SourceName,
        _shard: Shard,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(AccountId, TenantId)>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT DISTINCT account, tenant FROM connections WHERE source = ?1 \
                       AND account > ?2 AND state <> ?3 ORDER BY account LIMIT ?4";
            let after = after.map_or([0; 16], |after| *after.as_bytes());
            let disabled = ConnectionState::Disabled.code();
            let params = params![source.as_str(), after, disabled, limit];
            rows(connection, sql, params, account_of)
        }))
    }

    fn accounts_told(
        &self,
        source: SourceName,
        _shard: Shard,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(AccountId, TenantId)>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT account, tenant FROM maintenance_told \
                       JOIN accounts ON accounts.id = account AND erasing_at IS NULL \
                       WHERE source = ?1 AND account > ?2 ORDER BY account LIMIT ?3";
            let after = after.map_or([0; 16], |after| *after.as_bytes());
            let params = params![source.as_str(), after, limit];
            rows(connection, sql, params, account_of)
        }))
    }

    fn maintenance_told(
        &self,
        of: Vec<(AccountId, SourceName)>,
    ) -> BoxFuture<'_, Result<MaintenanceTold, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT body FROM maintenance_told WHERE account = ?1 AND source = ?2";
            let mut told = BTreeMap::new();
            for (account, source) in of {
                let params = params![account.as_bytes(), source.as_str()];
                let texts = rows(connection, sql, params, |row| row.get::<_, String>(0))?;
                for text in texts {
                    let read = body("maintenance_told", &account, &text)?;
                    told.insert((account, source.clone()), read);
                }
            }
            Ok(told)
        }))
    }

    fn incidents_told(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<IncidentsTold, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT shard, incident, body FROM incidents_told";
            let all = rows(connection, sql, [], |row| {
                let incident = IncidentId::from_bytes(row.get(1)?);
                Ok((Shard(row.get(0)?), incident, row.get::<_, String>(2)?))
            })?;
            let wanted = all
                .into_iter()
                .filter(|(shard, _, _)| shards.contains(shard));
            wanted
                .map(|(shard, id, text)| Ok(((shard, id), body("incidents_told", &id, &text)?)))
                .collect()
        }))
    }

    fn held_notices(
        &self,
        accounts: Vec<AccountId>,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT body, notification FROM notices WHERE account = ?1 AND status = ?2";
            let planned = wellspring_engine::NoticeStatus::Planned.code();
            let mut held = Vec::new();
            for account in accounts {
                let planned = notices(connection, sql, params![account.as_bytes(), planned])?;
                held.extend(planned.into_iter().filter(is_held));
            }
            Ok(held)
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
    ) -> BoxFuture<'_, Result<Option<Notification>, StoreError>> {
        Box::pin(self.write(move |connection| {
            let (account, request) = (notification.account, notification.request);
            let added = transact(connection, |transaction| {
                let added = add(transaction, &notification)?;
                if added {
                    for notice in &notices {
                        put_notice(transaction, notice)?;
                    }
                }
                Ok(added)
            })?;
            let Some(request) = request.filter(|_| !added) else {
                return Ok(None);
            };
            let sql = "SELECT id, body, read_at FROM notifications \
                       WHERE account = ?1 AND request = ?2";
            let params = params![account.as_bytes(), request.key];
            Ok(notifications(connection, sql, params)?.into_iter().next())
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

    fn notification_head(&self, account: AccountId) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT seq FROM notification_heads WHERE account = ?1";
            let heads = rows(connection, sql, [account.as_bytes()], |row| {
                row.get::<_, i64>(0)
            })?;
            Ok(heads.first().map_or(0, |head| head.cast_unsigned()))
        }))
    }

    fn notifications_since(
        &self,
        account: AccountId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(u64, Notification)>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT id, body, read_at, seq FROM notifications \
                       WHERE account = ?1 AND seq > ?2 AND in_app ORDER BY seq LIMIT ?3";
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            let params = params![account.as_bytes(), after, limit];
            let found = rows(connection, sql, params, |row| {
                Ok((row.get::<_, i64>(3)?, notification_columns(row)?))
            })?;
            let read = |(seq, columns): (i64, _)| Ok((seq.cast_unsigned(), notification(columns)?));
            found.into_iter().map(read).collect()
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

fn account_of(row: &Row<'_>) -> rusqlite::Result<(AccountId, TenantId)> {
    let account = AccountId::from_bytes(row.get(0)?);
    Ok((account, TenantId::from_bytes(row.get(1)?)))
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
    let found = rows(connection, sql, params, notification_columns)?;
    found.into_iter().map(notification).collect()
}

type NotificationColumns = (NotificationId, String, Option<Timestamp>);

fn notification_columns(row: &Row<'_>) -> rusqlite::Result<NotificationColumns> {
    let id = NotificationId::from_bytes(row.get(0)?);
    let read_at: Option<i64> = row.get(2)?;
    Ok((id, row.get(1)?, read_at.map(Timestamp::from_millis)))
}

fn notification((id, text, read_at): NotificationColumns) -> Result<Notification, StoreError> {
    let row: Notification = body("notifications", &id, &text)?;
    Ok(Notification { read_at, ..row })
}

fn person(row: &Row<'_>) -> rusqlite::Result<Result<Person, StoreError>> {
    let account = AccountId::from_bytes(row.get(0)?);
    let tenant = TenantId::from_bytes(row.get(1)?);
    let version = row.get(2)?;
    let contact: Option<Vec<u8>> = row.get(3)?;
    let preferences: String = row.get(4)?;
    let phone: Option<Vec<u8>> = row.get(5)?;
    let heard: String = row.get(6)?;
    let read = move || {
        Ok(Person {
            account,
            tenant,
            version,
            contact: contact.map(Sealed::new),
            preferences: body("people", &account, &preferences)?,
            phone: mark(account, phone)?,
            heard: body("people", &account, &heard)?,
        })
    };
    Ok(read())
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
    let sql = "INSERT OR REPLACE INTO people \
               (account, tenant, version, contact, preferences, phone, heard) \
               SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 \
               WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?1 AND erasing_at IS NULL)";
    let put = transaction.prepare_cached(sql)?.execute(params![
        person.account.as_bytes(),
        person.tenant.as_bytes(),
        person.version,
        person.contact.as_ref().map(Sealed::as_bytes),
        json(&person.preferences)?,
        person.phone,
        json(&person.heard)?
    ])?;
    Ok(put == 1)
}

fn spend(
    transaction: &Transaction<'_>,
    account: AccountId,
    allowance: Allowance,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "INSERT INTO allowances (account, allowance, since, spent) SELECT ?1, ?2, ?3, 1 \
               WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?1 AND erasing_at IS NULL) \
               ON CONFLICT (account, allowance) DO UPDATE SET \
               spent = CASE WHEN since <= ?4 THEN 1 ELSE spent + 1 END, \
               since = CASE WHEN since <= ?4 THEN ?3 ELSE since END \
               WHERE since <= ?4 OR spent < ?5";
    let over = now.before(allowance.window());
    let (id, code) = (account.as_bytes(), allowance.code());
    let taken = transaction.prepare_cached(sql)?.execute(params![
        id,
        code,
        now.as_millis(),
        over.as_millis(),
        allowance.most()
    ])?;
    if taken == 1 {
        return Ok(None);
    }
    let sql = "SELECT since FROM allowances WHERE account = ?1 AND allowance = ?2";
    let since: Option<i64> = transaction
        .prepare_cached(sql)?
        .query_row(params![id, code], |row| row.get(0))
        .optional()?;
    Ok(since.map(|since| Timestamp::from_millis(since).after(allowance.window())))
}
