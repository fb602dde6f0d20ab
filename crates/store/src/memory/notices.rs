//! Messages to people.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, ready};
use wellspring_core::notification::{Channel, Issue, Maintenance};
use wellspring_core::{
    AccountId, ConnectionId, ConnectionState, IncidentId, NotificationId, Shard, SourceName,
    TenantId, Timestamp,
};
use wellspring_engine::{
    Allowance, CommitError, IncidentStage, IncidentTelling, IncidentsTold, MaintenanceTold, Notice,
    NoticeBatch, Notices, Notification, NotificationFilter, Person, PhoneMark, StoreError,
};

use super::{Image, MemoryStore};

/// What is kept of messages to people.
#[derive(Debug, Default)]
pub(crate) struct NoticeTables {
    people: BTreeMap<AccountId, Person>,
    notifications: BTreeMap<NotificationId, Notification>,
    notices: BTreeMap<(NotificationId, Channel, u64), Notice>,
    issues: BTreeMap<ConnectionId, (AccountId, Issue)>,
    cursors: BTreeMap<Shard, u64>,
    /// The number of each person's last message, and of each message.
    heads: BTreeMap<AccountId, u64>,
    numbers: BTreeMap<(AccountId, u64), NotificationId>,
    maintenance: BTreeMap<(AccountId, SourceName), Maintenance>,
    incidents: BTreeMap<(Shard, IncidentId), IncidentTelling>,
    /// Whether a number wants no SMS, and the messages that were heard of it.
    phones: BTreeMap<PhoneMark, (bool, Vec<PhoneMark>)>,
    /// When the window of an allowance began, and how often it was used since.
    allowances: BTreeMap<(AccountId, Allowance), (Timestamp, u32)>,
}

impl NoticeTables {
    /// Removes all of an account.
    pub(super) fn erase(&mut self, account: AccountId) {
        self.people.remove(&account);
        self.notifications.retain(|_, one| one.account != account);
        self.notices.retain(|_, one| one.account != account);
        self.issues.retain(|_, (of, _)| *of != account);
        self.heads.remove(&account);
        self.numbers.retain(|(of, _), _| *of != account);
        self.maintenance.retain(|(of, _), _| *of != account);
        self.allowances.retain(|(of, _), _| *of != account);
    }

    fn add(&mut self, one: Notification) {
        let head = self.heads.entry(one.account).or_default();
        *head += 1;
        self.numbers.insert((one.account, *head), one.id);
        self.notifications.insert(one.id, one);
    }

    fn put(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            let key = (notice.notification, notice.channel, notice.slot);
            self.notices.insert(key, notice);
        }
    }
}

impl Image {
    fn is_present(&self, account: AccountId) -> bool {
        let account = self.accounts.get(&account);
        account.is_some_and(|account| account.erasing.is_none())
    }

    fn commit_notices(&mut self, batch: NoticeBatch) -> Result<(), CommitError> {
        let row = self.shards.get(&batch.shard);
        let owned =
            row.is_some_and(|row| row.owner == Some(batch.incarnation) && row.epoch == batch.epoch);
        let kept = self.told.cursors.get(&batch.shard).copied().unwrap_or(0);
        let moved = batch.cursor.is_some_and(|(from, _)| from != kept);
        let told = &self.told.incidents;
        let overtaken = batch.incidents.iter().any(|step| {
            let kept = told.get(&(batch.shard, step.id));
            kept.map(|kept| kept.stage) != step.from
        });
        if !owned || moved || overtaken {
            return Err(CommitError::Fenced);
        }
        if let Some((_, to)) = batch.cursor {
            self.told.cursors.insert(batch.shard, to);
        }
        for (connection, account, issue) in batch.issues {
            if issue.is_blank() || !self.is_present(account) {
                self.told.issues.remove(&connection);
            } else {
                self.told.issues.insert(connection, (account, issue));
            }
        }
        for (account, source, told) in batch.maintenance {
            let key = (account, source);
            match told.filter(|_| self.is_present(account)) {
                Some(told) => self.told.maintenance.insert(key, told),
                None => self.told.maintenance.remove(&key),
            };
        }
        for step in batch.incidents {
            let key = (batch.shard, step.id);
            if step.to.stage == IncidentStage::Ended {
                self.told.incidents.remove(&key);
            } else {
                self.told.incidents.insert(key, step.to);
            }
        }
        for one in batch.notifications {
            if self.is_present(one.account) {
                self.told.add(one);
            }
        }
        let mut notices = batch.notices;
        notices.retain(|notice| self.is_present(notice.account));
        self.told.put(notices);
        Ok(())
    }
}

impl Notices for MemoryStore {
    fn people(&self, accounts: Vec<AccountId>) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        let image = self.image();
        let people = accounts
            .iter()
            .filter_map(|account| image.told.people.get(account).cloned());
        Box::pin(ready(Ok(people.collect())))
    }

    fn put_person(&self, person: Person, expected: u32) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut image = self.image();
        let kept = image.told.people.get(&person.account);
        let fits = kept.map_or(0, |kept| kept.version) == expected;
        let put = fits && image.is_present(person.account);
        if put {
            image.told.people.insert(person.account, person);
        }
        Box::pin(ready(Ok(put)))
    }

    fn people_called(&self, phone: PhoneMark) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        let image = self.image();
        let people = image.told.people.values();
        let people = people.filter(|person| person.phone == Some(phone));
        Box::pin(ready(Ok(people.cloned().collect())))
    }

    fn hear_phone(
        &self,
        phone: PhoneMark,
        by: Option<PhoneMark>,
        stopped: bool,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let phones = &mut self.image().told.phones;
        let kept = phones.remove(&phone);
        if let Some(row) = crate::row::heard(kept, by, stopped) {
            phones.insert(phone, row);
        }
        Box::pin(ready(Ok(())))
    }

    fn stopped_phones(
        &self,
        phones: Vec<PhoneMark>,
    ) -> BoxFuture<'_, Result<Vec<PhoneMark>, StoreError>> {
        let image = self.image();
        let is_stopped = |phone: &PhoneMark| {
            let row = image.told.phones.get(phone);
            row.is_some_and(|(stopped, _)| *stopped)
        };
        let stopped = phones.into_iter().filter(is_stopped).collect();
        Box::pin(ready(Ok(stopped)))
    }

    fn spend(
        &self,
        account: AccountId,
        allowance: Allowance,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        let mut image = self.image();
        if !image.is_present(account) {
            return Box::pin(ready(Ok(None)));
        }
        let allowances = &mut image.told.allowances;
        let (since, spent) = allowances.entry((account, allowance)).or_insert((now, 0));
        if since.after(allowance.window()) <= now {
            (*since, *spent) = (now, 0);
        }
        let next = (*spent >= allowance.most()).then(|| since.after(allowance.window()));
        if next.is_none() {
            *spent += 1;
        }
        Box::pin(ready(Ok(next)))
    }

    fn accounts_at(
        &self,
        source: SourceName,
        shard: Shard,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(AccountId, TenantId)>, StoreError>> {
        let image = self.image();
        let there = image.connections.values().filter(|connection| {
            connection.source == source
                && connection.account.shard() == shard
                && connection.state() != ConnectionState::Disabled
                && after.is_none_or(|after| connection.account > after)
        });
        let there: BTreeMap<AccountId, TenantId> = there
            .map(|connection| (connection.account, connection.tenant))
            .collect();
        Box::pin(ready(Ok(there.into_iter().take(limit).collect())))
    }

    fn accounts_told(
        &self,
        source: SourceName,
        shard: Shard,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(AccountId, TenantId)>, StoreError>> {
        let image = self.image();
        let told = image.told.maintenance.keys().filter(|(account, of)| {
            *of == source
                && account.shard() == shard
                && after.is_none_or(|after| *account > after)
                && image.is_present(*account)
        });
        let told = told.filter_map(|(account, _)| {
            let tenant = image.accounts.get(account)?.tenant;
            Some((*account, tenant))
        });
        Box::pin(ready(Ok(told.take(limit).collect())))
    }

    fn notice_cursors(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<BTreeMap<Shard, u64>, StoreError>> {
        let image = self.image();
        let cursors = image.told.cursors.iter();
        let cursors = cursors.filter(|(shard, _)| shards.contains(shard));
        let cursors = cursors.map(|(shard, seen)| (*shard, *seen)).collect();
        Box::pin(ready(Ok(cursors)))
    }

    fn issues(
        &self,
        connections: Vec<ConnectionId>,
    ) -> BoxFuture<'_, Result<BTreeMap<ConnectionId, Issue>, StoreError>> {
        let image = self.image();
        let issues = connections.into_iter().filter_map(|id| {
            let (_, issue) = image.told.issues.get(&id)?;
            Some((id, issue.clone()))
        });
        Box::pin(ready(Ok(issues.collect())))
    }

    fn maintenance_told(
        &self,
        of: Vec<(AccountId, SourceName)>,
    ) -> BoxFuture<'_, Result<MaintenanceTold, StoreError>> {
        let image = self.image();
        let told = of.into_iter().filter_map(|key| {
            let told = image.told.maintenance.get(&key)?.clone();
            Some((key, told))
        });
        Box::pin(ready(Ok(told.collect())))
    }

    fn incidents_told(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<IncidentsTold, StoreError>> {
        let image = self.image();
        let told = image.told.incidents.iter();
        let told = told.filter(|((shard, _), _)| shards.contains(shard));
        let told = told.map(|(key, telling)| (*key, telling.clone())).collect();
        Box::pin(ready(Ok(told)))
    }

    fn held_notices(
        &self,
        accounts: Vec<AccountId>,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        let image = self.image();
        let held = image
            .told
            .notices
            .values()
            .filter(|notice| accounts.contains(&notice.account) && crate::row::is_held(notice));
        Box::pin(ready(Ok(held.cloned().collect())))
    }

    fn commit_notices(&self, batch: NoticeBatch) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(ready(self.image().commit_notices(batch)))
    }

    fn add_notification(
        &self,
        notification: Notification,
        notices: Vec<Notice>,
    ) -> BoxFuture<'_, Result<Option<Notification>, StoreError>> {
        let mut image = self.image();
        let key = notification.request.map(|request| request.key);
        let before = image.told.notifications.values().find(|one| {
            key.is_some()
                && one.account == notification.account
                && one.request.map(|request| request.key) == key
        });
        if let Some(before) = before {
            return Box::pin(ready(Ok(Some(before.clone()))));
        }
        let fresh = !image.told.notifications.contains_key(&notification.id);
        if fresh && image.is_present(notification.account) {
            image.told.add(notification);
            image.told.put(notices);
        }
        Box::pin(ready(Ok(None)))
    }

    fn due_notices(
        &self,
        channel: Channel,
        shards: Vec<Shard>,
        by: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        let image = self.image();
        let due = image.told.notices.values().filter(|notice| {
            notice.channel == channel
                && notice.status.is_open()
                && notice.due <= by
                && shards.contains(&notice.account.shard())
                && image.is_present(notice.account)
        });
        let mut due: Vec<Notice> = due.cloned().collect();
        due.sort_by_key(|notice| (notice.due, notice.account, notice.notification));
        due.truncate(limit);
        Box::pin(ready(Ok(due)))
    }

    fn notifications_of(
        &self,
        ids: Vec<NotificationId>,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>> {
        let image = self.image();
        let mut rows: Vec<Notification> = ids
            .iter()
            .filter_map(|id| image.told.notifications.get(id).cloned())
            .collect();
        rows.sort_by_key(|one| one.id);
        Box::pin(ready(Ok(rows)))
    }

    fn notifications(
        &self,
        account: AccountId,
        filter: NotificationFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>> {
        let image = self.image();
        let rows = image.told.notifications.values().rev().filter(|one| {
            one.account == account
                && filter.before.is_none_or(|before| one.id < before)
                && filter.kind.is_none_or(|kind| one.kind == kind)
                && !(filter.unread_only && one.read_at.is_some())
                && (one.in_app || !filter.in_app_only)
        });
        Box::pin(ready(Ok(rows.take(limit).cloned().collect())))
    }

    fn notification_head(&self, account: AccountId) -> BoxFuture<'_, Result<u64, StoreError>> {
        let head = self.image().told.heads.get(&account).copied();
        Box::pin(ready(Ok(head.unwrap_or(0))))
    }

    fn notifications_since(
        &self,
        account: AccountId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(u64, Notification)>, StoreError>> {
        let image = self.image();
        let from = (account, after.saturating_add(1));
        let numbers = image.told.numbers.range(from..=(account, u64::MAX));
        let rows = numbers.filter_map(|((_, number), id)| {
            let one = image.told.notifications.get(id)?;
            one.in_app.then(|| (*number, one.clone()))
        });
        Box::pin(ready(Ok(rows.take(limit).collect())))
    }

    fn notices(
        &self,
        notification: NotificationId,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        let image = self.image();
        let notices = image.told.notices.values();
        let notices = notices.filter(|notice| notice.notification == notification);
        Box::pin(ready(Ok(notices.cloned().collect())))
    }

    fn read_notification(
        &self,
        account: AccountId,
        id: NotificationId,
        at: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut image = self.image();
        let row = image.told.notifications.get_mut(&id);
        let found = row.filter(|row| row.account == account).map(|row| {
            row.read_at.get_or_insert(at);
        });
        Box::pin(ready(Ok(found.is_some())))
    }

    fn sweep_notifications(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<usize, StoreError>> {
        let mut image = self.image();
        let old = image.told.notifications.values();
        let old = old.filter(|one| one.at < before).map(|one| one.id);
        let old: Vec<NotificationId> = old.take(limit).collect();
        image.told.notifications.retain(|id, _| !old.contains(id));
        image.told.notices.retain(|(id, _, _), _| !old.contains(id));
        image.told.numbers.retain(|_, id| !old.contains(id));
        Box::pin(ready(Ok(old.len())))
    }
}

#[cfg(test)]
mod tests {
    use wellspring_engine::NoticeStatus;

    #[test]
    fn open_is_what_the_indexes_of_the_tables_say() {
        let open = |status: NoticeStatus| wellspring_core::Stored::code(status) < 3;
        for status in <NoticeStatus as wellspring_core::Stored>::MEMBERS {
            assert_eq!(status.is_open(), open(*status), "{status:?}");
        }
    }
}
