//! A notifier's way to the database: slow now and then, and not to be relied on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use wellspring_core::notification::{Channel, Issue};
use wellspring_core::source::Source;
use wellspring_core::{
    AccountId, ConnectionId, NotificationId, Shard, SourceName, TenantId, Timestamp,
};
use wellspring_engine::{
    Allowance, CommitError, Cursor, IncidentsTold, LogSlice, MaintenanceTold, Notice,
    NoticeBackend, NoticeBatch, NoticeStatus, Notices, Notification, NotificationFilter, Person,
    PhoneMark, StoreError,
};
use wellspring_store::MemoryStore;

use super::outside::{Heard, Outside};
use crate::Plant;

/// The store as one notifier reaches it; it may die before and after each request.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) store: MemoryStore,
    pub(super) outside: Arc<Outside>,
    /// Writes whose answers were lost before they were done.
    late: Mutex<Vec<NoticeBatch>>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// It is done, and its answer is lost.
    Unheard,
    /// It is lost, and nobody says so.
    Lost,
    /// Nobody says so, and it is done before whatever its writer writes next.
    Late,
    Refused,
    /// The shard is another's.
    #[cfg(test)]
    Fenced,
}

impl Way {
    pub(super) fn new(store: MemoryStore, outside: Arc<Outside>) -> Self {
        Self {
            store,
            outside,
            late: Mutex::default(),
        }
    }

    fn late(&self) -> MutexGuard<'_, Vec<NoticeBatch>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the store asked, with a pause on either side.
    fn ask<'a, T: Send + 'a>(
        &'a self,
        asked: impl FnOnce(&'a MemoryStore) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        Box::pin(async move {
            self.outside.pause().await;
            if self.outside.fate(true) != Fate::Done {
                return Err(StoreError::Unavailable("the connection broke".to_owned()));
            }
            let answer = asked(&self.store).await;
            self.outside.pause().await;
            answer
        })
    }

    async fn write(&self, batch: NoticeBatch) -> Result<(), CommitError> {
        self.outside.pause().await;
        let fate = self.outside.fate(false);
        let broke = || "the connection broke".to_owned();
        match fate {
            Fate::Refused => return Err(CommitError::NotCommitted("the disk is full".to_owned())),
            #[cfg(test)]
            Fate::Fenced => return Err(CommitError::Fenced),
            Fate::Lost => return Err(CommitError::Unknown(broke())),
            Fate::Late => {
                self.late().push(batch);
                return Err(CommitError::Unknown(broke()));
            }
            Fate::Done | Fate::Unheard => {}
        }
        let late = std::mem::take(&mut *self.late());
        for late in late {
            if self.store.commit_notices(late.clone()).await.is_ok() {
                self.outside.hear(Heard::Written(Box::new(late)));
            }
        }
        let marks = batch.cursor.is_none()
            && batch
                .notices
                .iter()
                .all(|notice| notice.status == NoticeStatus::Sending);
        let mut written = batch.clone();
        match self.outside.plant {
            Some(Plant::SendUnmarked) if marks => return Ok(()),
            Some(Plant::ForgetTold) => written.issues.clear(),
            Some(_) | None => {}
        }
        self.store.commit_notices(written).await?;
        self.outside.hear(Heard::Written(Box::new(batch)));
        self.outside.pause().await;
        if fate == Fate::Unheard {
            return Err(CommitError::Unknown(broke()));
        }
        Ok(())
    }
}

impl NoticeBackend for Way {
    fn log_head(&self) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        self.ask(NoticeBackend::log_head)
    }

    fn kept_sources(&self) -> BoxFuture<'_, Result<Vec<Source>, StoreError>> {
        self.ask(NoticeBackend::kept_sources)
    }

    fn log_after(
        &self,
        shard: Shard,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<LogSlice, StoreError>> {
        Box::pin(async move {
            let slice = self.ask(move |store| store.log_after(shard, after, limit));
            let mut slice = slice.await?;
            self.outside.stir();
            if self.outside.plant == Some(Plant::MissEntries) && after.is_multiple_of(3) {
                slice.entries.clear();
            }
            Ok(slice)
        })
    }
}

impl Notices for Way {
    fn people(&self, accounts: Vec<AccountId>) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        Box::pin(async move {
            let mut people = self.ask(move |store| store.people(accounts)).await?;
            if self.outside.plant == Some(Plant::DisturbAtNight) {
                for person in &mut people {
                    person.preferences.quiet_hours = None;
                }
            }
            Ok(people)
        })
    }

    fn put_person(&self, person: Person, expected: u32) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.ask(move |store| store.put_person(person, expected))
    }

    fn people_called(&self, phone: PhoneMark) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        self.ask(move |store| store.people_called(phone))
    }

    fn hear_phone(
        &self,
        phone: PhoneMark,
        by: Option<PhoneMark>,
        stopped: bool,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.ask(move |store| store.hear_phone(phone, by, stopped))
    }

    fn stopped_phones(
        &self,
        phones: Vec<PhoneMark>,
    ) -> BoxFuture<'_, Result<Vec<PhoneMark>, StoreError>> {
        self.ask(move |store| store.stopped_phones(phones))
    }

    fn spend(
        &self,
        account: AccountId,
        allowance: Allowance,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        self.ask(move |store| store.spend(account, allowance, now))
    }

    fn accounts_at(
        &self,
        source: SourceName,
        shard: Shard,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(AccountId, TenantId)>, StoreError>> {
        self.ask(move |store| store.accounts_at(source, shard, after, limit))
    }

    fn accounts_told(
        &self,
        source: SourceName,
        shard: Shard,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(AccountId, TenantId)>, StoreError>> {
        self.ask(move |store| store.accounts_told(source, shard, after, limit))
    }

    fn notice_cursors(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<BTreeMap<Shard, u64>, StoreError>> {
        self.ask(move |store| store.notice_cursors(shards))
    }

    fn issues(
        &self,
        connections: Vec<ConnectionId>,
    ) -> BoxFuture<'_, Result<BTreeMap<ConnectionId, Issue>, StoreError>> {
        self.ask(move |store| store.issues(connections))
    }

    fn maintenance_told(
        &self,
        of: Vec<(AccountId, SourceName)>,
    ) -> BoxFuture<'_, Result<MaintenanceTold, StoreError>> {
        self.ask(move |store| store.maintenance_told(of))
    }

    fn incidents_told(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<IncidentsTold, StoreError>> {
        self.ask(move |store| store.incidents_told(shards))
    }

    fn held_notices(
        &self,
        accounts: Vec<AccountId>,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        self.ask(move |store| store.held_notices(accounts))
    }

    fn commit_notices(&self, batch: NoticeBatch) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(self.write(batch))
    }

    fn add_notification(
        &self,
        notification: Notification,
        notices: Vec<Notice>,
    ) -> BoxFuture<'_, Result<Option<Notification>, StoreError>> {
        self.ask(move |store| store.add_notification(notification, notices))
    }

    fn due_notices(
        &self,
        channel: Channel,
        shards: Vec<Shard>,
        by: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        self.ask(move |store| store.due_notices(channel, shards, by, limit))
    }

    fn notifications_of(
        &self,
        ids: Vec<NotificationId>,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>> {
        self.ask(move |store| store.notifications_of(ids))
    }

    fn notifications(
        &self,
        account: AccountId,
        filter: NotificationFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>> {
        self.ask(move |store| store.notifications(account, filter, limit))
    }

    fn notification_head(&self, account: AccountId) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.ask(move |store| store.notification_head(account))
    }

    fn notifications_since(
        &self,
        account: AccountId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(u64, Notification)>, StoreError>> {
        self.ask(move |store| store.notifications_since(account, after, limit))
    }

    fn notices(
        &self,
        notification: NotificationId,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>> {
        self.ask(move |store| store.notices(notification))
    }

    fn read_notification(
        &self,
        account: AccountId,
        id: NotificationId,
        at: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.ask(move |store| store.read_notification(account, id, at))
    }

    fn sweep_notifications(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            let swept = self.ask(move |store| store.sweep_notifications(before, limit));
            let swept = swept.await?;
            self.outside.hear(Heard::Swept(before));
            Ok(swept)
        })
    }
}
