//! Tells people what they should know: a reader of the log with a cursor, apart from the driver.
//!
//! What is to be told, what was told and how far the log was read are written together, so that
//! nobody is told twice. A message is marked before it leaves; what a crash leaves marked is sent
//! again under its id, save by SMS, where that would be a second message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::FuturesUnordered;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wellspring_core::notification::{Channel, Contact, NotificationKind, Preferences};
use wellspring_core::{AccountId, ConnectionId, NotificationId, Shard, TenantId, Timestamp};

use crate::{
    AddressBook, Clock, CommitError, EngineHandle, Holding, Notice, NoticeBackend, NoticeBatch,
    NoticeOrder, NoticeResult, Notification, StoreError, Tasks, Transport, random_seed,
};

mod compose;
mod read;
mod send;

use compose::{Draft, write_up};
use read::Heard;
use send::{NoticeKey, Sending};

/// What a notifier is made of.
#[derive(Debug, Clone)]
pub struct NotifierParts {
    /// Where the log is, and what is written.
    pub store: Arc<dyn NoticeBackend>,
    /// How people are reached.
    pub transport: Arc<dyn Transport>,
    /// What their addresses are.
    pub addresses: Arc<dyn AddressBook>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Reaches nobody: where no channel is configured there is the list in the application.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTransport;

impl Transport for NoTransport {
    fn send(&self, _order: NoticeOrder) -> BoxFuture<'_, NoticeResult> {
        Box::pin(ready(NoticeResult::Refused {
            reason: "the channel is not configured".to_owned(),
            address_gone: false,
        }))
    }

    fn has(&self, _channel: Channel) -> bool {
        false
    }
}

/// Starts notifiers.
#[derive(Debug)]
pub struct Notifier;

impl Notifier {
    /// Starts a notifier for the shards that an engine holds.
    pub fn start(parts: NotifierParts, engine: &EngineHandle, tasks: &Tasks) -> NotifierHandle {
        let (holding, grew) = (engine.holding(), engine.log_grew());
        let (handle, running) =
            Self::running(parts, holding, grew, random_seed(), tasks.stop_token());
        tasks.spawn("notifier", running);
        handle
    }

    /// Returns a notifier and what runs it, for whoever has another engine and a clock of their own.
    pub fn running(
        parts: NotifierParts,
        holding: watch::Receiver<Holding>,
        grew: watch::Receiver<u64>,
        seed: u64,
        stop: &CancellationToken,
    ) -> (NotifierHandle, BoxFuture<'static, ()>) {
        let wrote = Arc::new(watch::Sender::new(0));
        let wake = Arc::<Notify>::default();
        let notifier = Loop {
            parts: parts.clone(),
            holding,
            grew,
            wake: Arc::clone(&wake),
            wrote: Arc::clone(&wrote),
            read: BTreeMap::new(),
            flying: BTreeSet::new(),
            sending: FuturesUnordered::new(),
            unrecorded: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        let handle = NotifierHandle { parts, wake, wrote };
        (handle, Box::pin(notifier.run(stop.clone())))
    }
}

/// Has people told something; cheap to clone.
#[derive(Debug, Clone)]
pub struct NotifierHandle {
    parts: NotifierParts,
    wake: Arc<Notify>,
    wrote: Arc<watch::Sender<u64>>,
}

impl NotifierHandle {
    /// Writes a message of the tenant's to a person, and returns it with the ways that it goes:
    /// those of `over` (all if it is empty) that are configured and that the person wants.
    ///
    /// # Errors
    ///
    /// When the database does not answer; it may have been written.
    pub async fn notify(
        &self,
        (tenant, account): (TenantId, AccountId),
        kind: NotificationKind,
        event: Map<String, Value>,
        over: &[Channel],
    ) -> Result<(Notification, Vec<Notice>), StoreError> {
        let now = self.parts.clock.now();
        let mut rng = ChaCha8Rng::seed_from_u64(random_seed());
        let draft = Draft {
            id: NotificationId::mint_in(now, account.shard(), &mut rng),
            tenant,
            account,
            kind,
            event,
        };
        let people = self.parts.people(vec![account]).await?;
        let nobody = (Preferences::default(), Contact::default());
        let (preferences, contact) = people.get(&account).unwrap_or(&nobody);
        let (notification, notices) = write_up(now, draft, preferences, contact, |channel| {
            (over.is_empty() || over.contains(&channel)) && self.has(channel)
        });
        let adding = self
            .parts
            .store
            .add_notification(notification.clone(), notices.clone());
        adding.await?;
        self.wrote.send_modify(|number| *number += 1);
        self.wake.notify_one();
        Ok((notification, notices))
    }

    /// Returns whether a channel is configured; the list in the application always is.
    pub fn has(&self, channel: Channel) -> bool {
        self.parts.has(channel)
    }

    /// Returns the book of addresses.
    pub fn addresses(&self) -> &dyn AddressBook {
        self.parts.addresses.as_ref()
    }

    /// Returns a number that changes whenever this node has written about messages.
    pub fn wrote(&self) -> watch::Receiver<u64> {
        self.wrote.subscribe()
    }
}

impl NotifierParts {
    fn has(&self, channel: Channel) -> bool {
        channel == Channel::InApp || self.transport.has(channel)
    }

    async fn people(
        &self,
        accounts: Vec<AccountId>,
    ) -> Result<BTreeMap<AccountId, (Preferences, Contact)>, StoreError> {
        if accounts.is_empty() {
            return Ok(BTreeMap::new());
        }
        let people = self.store.people(accounts).await?;
        let people = people.into_iter().map(|person| {
            let contact = self.addresses.open(&person).unwrap_or_default();
            (person.account, (person.preferences, contact))
        });
        Ok(people.collect())
    }
}

struct Loop {
    parts: NotifierParts,
    holding: watch::Receiver<Holding>,
    grew: watch::Receiver<u64>,
    wake: Arc<Notify>,
    wrote: Arc<watch::Sender<u64>>,
    /// How far each shard was read.
    read: BTreeMap<Shard, Read>,
    flying: BTreeSet<NoticeKey>,
    sending: FuturesUnordered<Sending>,
    /// What came of messages and is not written yet.
    unrecorded: Vec<Notice>,
    rng: ChaCha8Rng,
}

/// How far a shard was read.
#[derive(Debug, Clone, Copy)]
struct Read {
    epoch: u64,
    kept: u64,
    seen: u64,
}

impl Loop {
    async fn run(mut self, stop: CancellationToken) {
        let mut sweep_at = Instant::now() + FIRST_SWEEP;
        loop {
            let holding = self.holding.borrow_and_update().clone();
            self.grew.mark_unchanged();
            let turn = self.turn(&holding).await;
            let more = turn.unwrap_or_else(|error| {
                tracing::debug!(%error, "Notifier could not read, trying again");
                false
            });
            if Instant::now() >= sweep_at && !holding.shards.is_empty() {
                sweep_at = Instant::now()
                    + if self.sweep().await {
                        PACE
                    } else {
                        BETWEEN_SWEEPS
                    };
            }
            // A busy log is read in stretches, not entry by entry.
            let pace = tokio::time::sleep(if more { Duration::ZERO } else { PACE });
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = pace => {}
            }
            if more {
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = self.sending.next(), if !self.sending.is_empty() => {
                    self.done(done).await;
                    while let Some(Some(done)) = futures_util::FutureExt::now_or_never(self.sending.next()) {
                        self.done(done).await;
                    }
                }
                () = self.wake.notified() => {}
                Ok(()) = self.grew.changed() => {}
                Ok(()) = self.holding.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Reads, writes and sends a bounded part; returns whether there is more.
    async fn turn(&mut self, holding: &Holding) -> Result<bool, StoreError> {
        self.record(holding).await;
        if holding.shards.is_empty() {
            return Ok(false);
        }
        let mut more = self.read_log(holding).await?;
        // Nothing is sent on top of what could not be written.
        if self.unrecorded.is_empty() {
            more |= self.send_due(holding).await?;
            self.record(holding).await;
        }
        Ok(more)
    }

    async fn read_log(&mut self, holding: &Holding) -> Result<bool, StoreError> {
        self.read
            .retain(|shard, read| epoch(holding, *shard) == Some(read.epoch));
        let fresh = holding.shards.iter().map(|(shard, _)| *shard);
        let fresh: Vec<Shard> = fresh
            .filter(|shard| !self.read.contains_key(shard))
            .collect();
        if !fresh.is_empty() {
            let cursors = self.parts.store.notice_cursors(fresh.clone()).await?;
            for shard in fresh {
                let kept = cursors.get(&shard).copied().unwrap_or(0);
                let epoch = epoch(holding, shard).unwrap_or(0);
                let read = Read {
                    epoch,
                    kept,
                    seen: kept,
                };
                self.read.insert(shard, read);
            }
        }
        let head = self.parts.store.log_head().await?;
        let behind: Vec<(Shard, Read)> = self
            .read
            .iter()
            .filter(|(shard, read)| head.seen(**shard) > read.seen)
            .map(|(shard, read)| (*shard, *read))
            .collect();
        let mut more = false;
        for (shard, read) in behind {
            let slice = self.parts.store.log_after(shard, read.seen, STRETCH);
            let slice = slice.await?;
            more |= slice.has_more;
            let heard: Vec<Heard> = slice.entries.iter().filter_map(Heard::of).collect();
            let seen = slice.seen.max(read.seen);
            let written = self.take_in(holding, shard, (read, seen), heard).await?;
            if let Some(read) = self.read.get_mut(&shard) {
                read.seen = seen;
                if written {
                    read.kept = seen;
                }
            }
        }
        Ok(more)
    }

    /// Writes what the entries mean for people; returns whether anything was written.
    async fn take_in(
        &mut self,
        holding: &Holding,
        shard: Shard,
        (read, seen): (Read, u64),
        heard: Vec<Heard>,
    ) -> Result<bool, StoreError> {
        let now = self.parts.clock.now();
        let mut batch = NoticeBatch {
            incarnation: holding.incarnation,
            shard,
            epoch: read.epoch,
            cursor: Some((read.kept, seen)),
            issues: Vec::new(),
            notifications: Vec::new(),
            notices: Vec::new(),
        };
        let connections: BTreeSet<ConnectionId> =
            heard.iter().map(|heard| heard.place().connection).collect();
        let drafts = if connections.is_empty() {
            Vec::new()
        } else {
            let known = self.parts.store.issues(connections.into_iter().collect());
            let known = known.await?;
            self.listen(now, &known, heard, &mut batch)
        };
        let lag = seen.saturating_sub(read.kept);
        if batch.issues.is_empty() && drafts.is_empty() && lag < WRITE_AFTER {
            return Ok(false);
        }
        let accounts: BTreeSet<AccountId> = drafts.iter().map(|draft| draft.account).collect();
        let people = self.parts.people(accounts.into_iter().collect()).await?;
        let nobody = (Preferences::default(), Contact::default());
        for draft in drafts {
            let (preferences, contact) = people.get(&draft.account).unwrap_or(&nobody);
            let over = |channel| self.parts.has(channel);
            let (notification, notices) = write_up(now, draft, preferences, contact, over);
            batch.notifications.push(notification);
            batch.notices.extend(notices);
        }
        match self.parts.store.commit_notices(batch).await {
            Ok(()) => {
                self.wrote.send_modify(|number| *number += 1);
                Ok(true)
            }
            Err(error) => {
                // Where it stands is read again: it may have been written, or be another's.
                self.read.remove(&shard);
                Err(match error {
                    CommitError::Fenced => StoreError::Fenced,
                    other @ (CommitError::NotCommitted(_)
                    | CommitError::Unknown(_)
                    | CommitError::Stale(_)
                    | CommitError::KeysTaken(_)) => StoreError::Unavailable(other.to_string()),
                })
            }
        }
    }

    fn listen(
        &mut self,
        now: Timestamp,
        known: &BTreeMap<ConnectionId, wellspring_core::notification::Issue>,
        heard: Vec<Heard>,
        batch: &mut NoticeBatch,
    ) -> Vec<Draft> {
        let mut issues = BTreeMap::new();
        let mut drafts = Vec::new();
        for heard in heard {
            let place = heard.place();
            let before = known.get(&place.connection).cloned().unwrap_or_default();
            let entry = issues.entry(place.connection);
            let (_, issue) = entry.or_insert((place.account, before));
            match heard {
                Heard::Gone(_) => *issue = wellspring_core::notification::Issue::default(),
                Heard::State(place, state) => {
                    for telling in issue.observe(now, &state.observation()) {
                        let (kind, event) = state.event(place, telling);
                        let shard = place.account.shard();
                        drafts.push(Draft {
                            id: NotificationId::mint_in(now, shard, &mut self.rng),
                            tenant: place.tenant,
                            account: place.account,
                            kind,
                            event,
                        });
                    }
                }
            }
        }
        let changed = issues.into_iter().filter(|(connection, (_, issue))| {
            known
                .get(connection)
                .map_or_else(|| !issue.is_blank(), |before| before != issue)
        });
        batch.issues = changed
            .map(|(connection, (account, issue))| (connection, account, issue))
            .collect();
        drafts
    }

    /// Removes old messages; returns whether there may be more.
    async fn sweep(&mut self) -> bool {
        let before = self.parts.clock.now().before(KEEP);
        match self.parts.store.sweep_notifications(before, SWEEP).await {
            Ok(removed) => removed >= SWEEP,
            Err(error) => {
                tracing::warn!(%error, "Old messages could not be removed, trying again later");
                false
            }
        }
    }
}

fn epoch(holding: &Holding, shard: Shard) -> Option<u64> {
    let mut shards = holding.shards.iter();
    shards
        .find(|(held, _)| *held == shard)
        .map(|(_, epoch)| *epoch)
}

/// Entries that are read at once.
const STRETCH: usize = 256;
/// How many entries that mean nothing to anybody are read before that is written down.
const WRITE_AFTER: u64 = 1_000;
/// The least time between two looks.
const PACE: Duration = Duration::from_millis(20);
/// How often it looks without having been told.
const POLL: Duration = Duration::from_secs(1);
/// How long messages are kept.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
const SWEEP: usize = 1_000;
const FIRST_SWEEP: Duration = Duration::from_secs(60);
const BETWEEN_SWEEPS: Duration = Duration::from_secs(3_600);
