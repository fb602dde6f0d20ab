//! Messages to people.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use tokio_postgres::Row;
use uuid::Uuid;
use wellspring_core::notification::{Channel, Issue};
use wellspring_core::{
    AccountId, ConnectionId, ConnectionState, IncidentId, NotificationId, Sealed, Shard,
    SourceName, Stored, TenantId, Timestamp,
};
use wellspring_engine::{
    Allowance, CommitError, IncidentsTold, MaintenanceTold, Notice, NoticeBatch, NoticeStatus,
    Notices, Notification, NotificationFilter, Person, PhoneMark, StoreError,
};

use super::PostgresStore;
use super::columns::{Fields, text};
use super::queries::count;
use super::session::{Param, Session};
use crate::row::{REMEMBERED, body, channel_code, is_held, kind_code, mark};

mod commit;

use commit::{add, commit, json, put_notice};

impl PostgresStore {
    /// Reads the rows of one statement.
    async fn rows<T, C: FromIterator<T>>(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
        read: impl Fn(&Row) -> Result<T, StoreError> + Send,
    ) -> Result<C, StoreError> {
        let session = self.pool().get().await?;
        let rows = session.query(sql, params).await?;
        session.keep();
        rows.iter().map(read).collect()
    }
}

impl Notices for PostgresStore {
    fn people(&self, accounts: Vec<AccountId>) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        self.within(async move {
            let ids: Vec<Uuid> = accounts.iter().map(AccountId::uuid).collect();
            let sql = "SELECT account, tenant, version, contact, preferences, phone, heard \
                       FROM people WHERE account = ANY($1)";
            self.rows(sql, &[&ids], person).await
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

    fn people_called(&self, phone: PhoneMark) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        self.within(async move {
            let sql = "SELECT account, tenant, version, contact, preferences, phone, heard \
                       FROM people WHERE phone = $1";
            self.rows(sql, &[&phone.as_slice()], person).await
        })
    }

    fn hear_phone(
        &self,
        phone: PhoneMark,
        by: Option<PhoneMark>,
        stopped: bool,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "INSERT INTO phones AS p (phone, stopped, heard) SELECT $1, $2, $3 \
                       WHERE $2 OR EXISTS (SELECT 1 FROM phones WHERE phone = $1) \
                       ON CONFLICT (phone) DO UPDATE SET stopped = excluded.stopped, heard = \
                       (p.heard || excluded.heard)[greatest(1, cardinality(p.heard) \
                       + cardinality(excluded.heard) - $4 + 1):] \
                       WHERE NOT p.heard && excluded.heard";
            let by: Vec<&[u8]> = by.iter().map(<[u8; 16]>::as_slice).collect();
            let most = i32::try_from(REMEMBERED).unwrap_or(i32::MAX);
            let params: [Param<'_>; 4] = [&phone.as_slice(), &stopped, &by, &most];
            session.execute(sql, &params).await?;
            session.keep();
            Ok(())
        })
    }

    fn stopped_phones(
        &self,
        phones: Vec<PhoneMark>,
    ) -> BoxFuture<'_, Result<Vec<PhoneMark>, StoreError>> {
        self.within(async move {
            let of: Vec<&[u8]> = phones.iter().map(<[u8; 16]>::as_slice).collect();
            let sql = "SELECT phone FROM phones WHERE phone = ANY($1) AND stopped";
            let read = |row: &Row| {
                let fields = Fields::new("phones", row);
                let phone: &[u8] = fields.get("phone")?;
                PhoneMark::try_from(phone).map_err(|_error| fields.inconsistent("phone"))
            };
            self.rows(sql, &[&of], read).await
        })
    }

    fn spend(
        &self,
        account: AccountId,
        allowance: Allowance,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let next = spend(&session, account, allowance, now).await?;
            session.keep();
            Ok(next)
        })
    }

    fn accounts_at(
        &self,
        source: SourceName,
        shard: Shard,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(AccountId, TenantId)>, StoreError>> {
        self.within(async move {
            let sql = "SELECT DISTINCT account, tenant FROM connections WHERE source = $1 \
                       AND shard = $2 AND account > $3 AND state <> $4 \
                       ORDER BY account LIMIT $5";
            let after = after.map_or_else(Uuid::nil, |after| after.uuid());
            let disabled = i16::from(ConnectionState::Disabled.code());
            let (shard, limit) = (i16::from(shard.0), count(limit));
            let params: [Param<'_>; 5] =
                [&text(source.as_str()), &shard, &after, &disabled, &limit];
            self.rows(sql, &params, account_of).await
        })
    }

    fn accounts_told(
        &self,
        source: SourceName,
        shard: Shard,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(AccountId, TenantId)>, StoreError>> {
        self.within(async move {
            let sql = "SELECT m.account, a.tenant FROM maintenance_told m \
                       JOIN accounts a ON a.id = m.account AND a.erasing_at IS NULL \
                       WHERE m.source = $1 AND m.account > $3 \
                       AND (get_byte(uuid_send(m.account), 15) & 63)::int2 = $2 \
                       ORDER BY m.account LIMIT $4";
            let after = after.map_or_else(Uuid::nil, |after| after.uuid());
            let (shard, limit) = (i16::from(shard.0), count(limit));
            let params: [Param<'_>; 4] = [&text(source.as_str()), &shard, &after, &limit];
            self.rows(sql, &params, account_of).await
        })
    }

    fn maintenance_told(
        &self,
        of: Vec<(AccountId, SourceName)>,
    ) -> BoxFuture<'_, Result<MaintenanceTold, StoreError>> {
        self.within(async move {
            let accounts: Vec<Uuid> = of.iter().map(|(account, _)| account.uuid()).collect();
            let sources: Vec<&str> = of.iter().map(|(_, source)| source.as_str()).collect();
            let sql = "SELECT account, source, body FROM maintenance_told WHERE (account, source) \
                       IN (SELECT * FROM unnest($1::uuid[], $2::text[]))";
            let read = |row: &Row| {
                let fields = Fields::new("maintenance_told", row);
                let account = AccountId::from_bytes(fields.uuid("account")?);
                let source: &str = fields.get("source")?;
                let source = source
                    .parse()
                    .map_err(|_error| fields.inconsistent("source"))?;
                let told = body("maintenance_told", &account, fields.get("body")?)?;
                Ok(((account, source), told))
            };
            self.rows(sql, &[&accounts, &sources], read).await
        })
    }

    fn incidents_told(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<IncidentsTold, StoreError>> {
        self.within(async move {
            let shards: Vec<i16> = shards.iter().map(|shard| i16::from(shard.0)).collect();
            let sql = "SELECT shard, incident, body FROM incidents_told WHERE shard = ANY($1)";
            let read = |row: &Row| {
                let fields = Fields::new("incidents_told", row);
                let shard = u8::try_from(fields.get::<i16>("shard")?).unwrap_or(u8::MAX);
                let id = IncidentId::from_bytes(fields.uuid("incident")?);
                let telling = body("incidents_told", &id, fields.get("body")?)?;
                Ok(((Shard(shard), id), telling))
            };
            self.rows(sql, &[&shards], read).await
        })
    }

    fn held_notices(
        &self,
        accounts: Vec<AccountId>,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        self.within(async move {
            let ids: Vec<Uuid> = accounts.iter().map(AccountId::uuid).collect();
            let sql = "SELECT notification, body FROM notices WHERE account = ANY($1) \
                       AND status = $2 ORDER BY notification, channel, slot";
            let planned = i16::from(NoticeStatus::Planned.code());
            let planned: Vec<Notice> = self.rows(sql, &[&ids, &planned], notice).await?;
            Ok(planned.into_iter().filter(is_held).collect())
        })
    }

    fn notice_cursors(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<BTreeMap<Shard, u64>, StoreError>> {
        self.within(async move {
            let shards: Vec<i16> = shards.iter().map(|shard| i16::from(shard.0)).collect();
            let sql = "SELECT shard, seen FROM notification_cursors WHERE shard = ANY($1)";
            let read = |row: &Row| {
                let fields = Fields::new("notification_cursors", row);
                let shard = u8::try_from(fields.get::<i16>("shard")?).unwrap_or(u8::MAX);
                Ok((Shard(shard), fields.get::<i64>("seen")?.cast_unsigned()))
            };
            self.rows(sql, &[&shards], read).await
        })
    }

    fn issues(
        &self,
        connections: Vec<ConnectionId>,
    ) -> BoxFuture<'_, Result<BTreeMap<ConnectionId, Issue>, StoreError>> {
        self.within(async move {
            let ids: Vec<Uuid> = connections.iter().map(ConnectionId::uuid).collect();
            let sql = "SELECT connection, body FROM notification_issues WHERE connection = ANY($1)";
            let read = |row: &Row| {
                let fields = Fields::new("notification_issues", row);
                let id = ConnectionId::from_bytes(fields.uuid("connection")?);
                Ok((id, body("notification_issues", &id, fields.get("body")?)?))
            };
            self.rows(sql, &[&ids], read).await
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
    ) -> BoxFuture<'_, Result<Option<Notification>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            session.batch("BEGIN").await?;
            let mut before = None;
            if add(&session, &notification).await? {
                for notice in &notices {
                    put_notice(&session, notice).await?;
                }
            } else if let Some(request) = notification.request {
                let sql = "SELECT id, body, read_at FROM notifications \
                           WHERE account = $1 AND request = $2";
                let params: [Param<'_>; 2] =
                    [&notification.account.uuid(), &request.key.as_slice()];
                before = session.query_opt(sql, &params).await?;
            }
            session.batch("COMMIT").await?;
            session.keep();
            before.as_ref().map(self::notification).transpose()
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
            let shards: Vec<i16> = shards.iter().map(|shard| i16::from(shard.0)).collect();
            let sql = "SELECT notification, body FROM notices WHERE channel = $1 AND due <= $2 \
                       AND status < 3 AND shard = ANY($3) \
                       AND EXISTS (SELECT 1 FROM accounts a \
                       WHERE a.id = notices.account AND a.erasing_at IS NULL) \
                       ORDER BY channel, due, account, notification LIMIT $4";
            let (channel, limit) = (i16::from(channel_code(channel)), count(limit));
            let by = by.as_millis();
            self.rows(sql, &[&channel, &by, &shards, &limit], notice)
                .await
        })
    }

    fn notifications_of(
        &self,
        ids: Vec<NotificationId>,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>> {
        self.within(async move {
            let ids: Vec<Uuid> = ids.iter().map(NotificationId::uuid).collect();
            let sql = "SELECT id, body, read_at FROM notifications WHERE id = ANY($1) ORDER BY id";
            self.rows(sql, &[&ids], notification).await
        })
    }

    fn notifications(
        &self,
        account: AccountId,
        filter: NotificationFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>> {
        self.within(async move {
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
            self.rows(sql, &params, notification).await
        })
    }

    fn notification_head(&self, account: AccountId) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "SELECT seq FROM notification_heads WHERE account = $1";
            let row = session.query_opt(sql, &[&account.uuid()]).await?;
            session.keep();
            let head: i64 = row.map_or(Ok(0), |row| {
                Fields::new("notification_heads", &row).get("seq")
            })?;
            Ok(head.cast_unsigned())
        })
    }

    fn notifications_since(
        &self,
        account: AccountId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(u64, Notification)>, StoreError>> {
        self.within(async move {
            let sql = "SELECT id, body, read_at, seq FROM notifications \
                       WHERE account = $1 AND seq > $2 AND in_app \
                       ORDER BY account, seq LIMIT $3";
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            let params: [Param<'_>; 3] = [&account.uuid(), &after, &count(limit)];
            let read = |row: &Row| {
                let seq: i64 = Fields::new("notifications", row).get("seq")?;
                Ok((seq.cast_unsigned(), notification(row)?))
            };
            self.rows(sql, &params, read).await
        })
    }

    fn notices(&self, id: NotificationId) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        self.within(async move {
            let sql = "SELECT notification, body FROM notices WHERE notification = $1 \
                       ORDER BY channel, slot";
            self.rows(sql, &[&id.uuid()], notice).await
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

fn account_of(row: &Row) -> Result<(AccountId, TenantId), StoreError> {
    let fields = Fields::new("accounts", row);
    let account = AccountId::from_bytes(fields.uuid("account")?);
    Ok((account, TenantId::from_bytes(fields.uuid("tenant")?)))
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
        phone: mark(account, fields.get("phone")?)?,
        heard: body("people", &account, fields.get("heard")?)?,
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
    let heard = json(&person.heard)?;
    let insert = "INSERT INTO people \
                  (account, tenant, version, contact, preferences, phone, heard) \
                  SELECT a.id, a.tenant, $2, $3, $4, $5, $6 FROM accounts a \
                  WHERE a.id = $1 AND a.erasing_at IS NULL FOR SHARE OF a ON CONFLICT DO NOTHING";
    let update = "UPDATE people p SET version = $2, contact = $3, preferences = $4, \
                  phone = $5, heard = $6 \
                  FROM (SELECT id FROM accounts WHERE id = $1 AND erasing_at IS NULL FOR SHARE) a \
                  WHERE p.account = a.id AND p.version = $7";
    let account = person.account.uuid();
    let (version, expected_version) = (person.version.cast_signed(), expected.cast_signed());
    let preferences = text(&preferences);
    let phone = person.phone.as_ref().map(<[u8; 16]>::as_slice);
    let heard = text(&heard);
    let mut params: Vec<Param<'_>> =
        vec![&account, &version, &contact, &preferences, &phone, &heard];
    let changed = if expected == 0 {
        session.execute(insert, &params).await?
    } else {
        params.push(&expected_version);
        session.execute(update, &params).await?
    };
    Ok(changed == 1)
}

async fn spend(
    session: &Session,
    account: AccountId,
    allowance: Allowance,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let sql = "INSERT INTO allowances AS n (account, allowance, since, spent) \
               SELECT a.id, $2, $3, 1 FROM accounts a \
               WHERE a.id = $1 AND a.erasing_at IS NULL FOR SHARE OF a \
               ON CONFLICT (account, allowance) DO UPDATE SET \
               spent = CASE WHEN n.since <= $4 THEN 1 ELSE n.spent + 1 END, \
               since = CASE WHEN n.since <= $4 THEN $3 ELSE n.since END \
               WHERE n.since <= $4 OR n.spent < $5";
    let (id, code) = (account.uuid(), i16::from(allowance.code()));
    let over = now.before(allowance.window()).as_millis();
    let most = allowance.most().cast_signed();
    let params: [Param<'_>; 5] = [&id, &code, &now.as_millis(), &over, &most];
    if session.execute(sql, &params).await? == 1 {
        return Ok(None);
    }
    let sql = "SELECT since FROM allowances WHERE account = $1 AND allowance = $2";
    let row = session.query_opt(sql, &[&id, &code]).await?;
    let since = row.map(|row| Fields::new("allowances", &row).timestamp("since"));
    let since = since.transpose()?;
    Ok(since.map(|since| since.after(allowance.window())))
}
