//! Tells people what they should know: a reader of the log with a cursor, apart from the driver.
//!
//! What is to be told, what was told and how far the log was read are written together, so that
//! nobody is told twice. A message is marked before it leaves; what a crash leaves marked is sent
//! again under its id, save by SMS, where that would be a second message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wellspring_core::notification::{
    Channel, Contact, Issue, IssueKey, NotificationKind, Preferences, Telling,
};
use wellspring_core::{
    AccountId, ConnectionId, NotificationId, Shard, SourceName, TenantId, Timestamp,
};

use crate::{
    AddressBook, Clock, CommitError, EngineHandle, Holding, MaintenanceTold, Notice, NoticeAddress,
    NoticeBackend, NoticeBatch, NoticeOrder, NoticeResult, NoticeWords, Notification, PhoneMark,
    RequestMark, StoreError, Tasks, Transport, random_seed,
};

mod compose;
mod drafts;
mod incident;
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

    fn push_key(&self) -> Option<String> {
        None
    }

    fn words(&self, _order: &NoticeOrder) -> NoticeWords {
        NoticeWords::default()
    }
}

/// A message that a tenant has a person told.
#[derive(Debug, Clone)]
pub struct NoticeRequest {
    /// Whose person it is.
    pub tenant: TenantId,
    /// Which person.
    pub account: AccountId,
    /// What it is about.
    pub kind: NotificationKind,
    /// What the templates are filled with.
    pub event: Map<String, Value>,
    /// Over which channels it may go; all if it is empty.
    pub over: Vec<Channel>,
    /// The request, where its sender named it.
    pub request: Option<RequestMark>,
}

/// A message that was written, now or before under the same request.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The message.
    pub notification: Notification,
    /// The ways that it goes.
    pub notices: Vec<Notice>,
    /// Whether it was there before.
    pub is_again: bool,
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
        let writing = engine.writing();
        tasks.spawn("notifier", async move {
            running.await;
            drop(writing);
        });
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
            unsent: BTreeMap::new(),
            sending: FuturesUnordered::new(),
            unrecorded: Vec::new(),
            incidents_at: Instant::now(),
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
    /// those that are asked for, configured and wanted by the person.
    ///
    /// # Errors
    ///
    /// When the database does not answer; it may have been written.
    pub async fn notify(&self, asked: NoticeRequest) -> Result<Told, StoreError> {
        let now = self.parts.clock.now();
        let mut rng = ChaCha8Rng::seed_from_u64(random_seed());
        let account = asked.account;
        let draft = Draft {
            id: NotificationId::mint_in(now, account.shard(), &mut rng),
            tenant: asked.tenant,
            account,
            kind: asked.kind,
            event: asked.event,
            mends: 0,
        };
        let people = self.parts.people(vec![account]).await?;
        let nobody = (Preferences::default(), Contact::default());
        let (preferences, contact) = people.get(&account).unwrap_or(&nobody);
        let over = &asked.over;
        let (notification, notices) = write_up(now, draft, preferences, contact, |channel| {
            (over.is_empty() || over.contains(&channel)) && self.has(channel)
        });
        let notification = Notification {
            request: asked.request,
            ..notification
        };
        let adding = self
            .parts
            .store
            .add_notification(notification.clone(), notices.clone());
        if let Some(before) = adding.await? {
            let notices = self.parts.store.notices(before.id).await?;
            return Ok(Told {
                notification: before,
                notices,
                is_again: true,
            });
        }
        self.wrote.send_modify(|number| *number += 1);
        self.wake.notify_one();
        Ok(Told {
            notification,
            notices,
            is_again: false,
        })
    }

    /// Returns whether a channel is configured; the list in the application always is.
    pub fn has(&self, channel: Channel) -> bool {
        self.parts.has(channel)
    }

    /// Returns the key that browsers subscribe to Web Push with, where that is configured.
    pub fn push_key(&self) -> Option<String> {
        self.parts.transport.push_key()
    }

    /// Returns what a message says in the application, in the language of its person.
    pub fn words(&self, one: &Notification, contact: &Contact) -> NoticeWords {
        self.parts.transport.words(&NoticeOrder {
            id: one.id,
            tenant: one.tenant,
            account: one.account,
            kind: one.kind,
            channel: Channel::InApp,
            to: NoticeAddress::InApp,
            language: compose::language(contact),
            events: vec![compose::event(one, contact)],
            at: one.at,
            unsubscribe_url: None,
        })
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
        let mut known = BTreeMap::new();
        let mut phones = Vec::new();
        for mut person in people {
            let contact = self.addresses.open(&person).unwrap_or_default();
            known.insert(
                person.account,
                (person.preferences.clone(), contact.clone()),
            );
            let mark = self.mark(&contact);
            phones.extend(mark.map(|mark| (person.account, mark)));
            if mark.is_some() && mark != person.phone {
                // Who may get an SMS is found again by what they answer.
                let version = person.version;
                person.version = version.saturating_add(1);
                person.phone = mark;
                self.store.put_person(person, version).await?;
            }
        }
        if phones.is_empty() || !self.has(Channel::Sms) {
            return Ok(known);
        }
        let marks = phones.iter().map(|(_, mark)| *mark).collect();
        let stopped = self.store.stopped_phones(marks).await?;
        phones.retain(|(_, mark)| stopped.contains(mark));
        for (account, _) in phones {
            if let Some((preferences, _)) = known.get_mut(&account) {
                preferences.channels_off.insert(Channel::Sms);
            }
        }
        Ok(known)
    }

    /// Returns whether the number has said that it wants no SMS.
    async fn is_stopped(&self, contact: &Contact) -> Result<bool, StoreError> {
        let Some(mark) = self.mark(contact) else {
            return Ok(false);
        };
        let stopped = self.store.stopped_phones(vec![mark]).await?;
        Ok(!stopped.is_empty())
    }

    fn mark(&self, contact: &Contact) -> Option<PhoneMark> {
        let phone = contact.phone.as_deref()?;
        Some(self.addresses.mark(phone))
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
    /// What did not leave because whether it was marked is not known, by the epoch of the attempt.
    unsent: BTreeMap<NoticeKey, u64>,
    sending: FuturesUnordered<Sending>,
    /// What came of messages and is not written yet.
    unrecorded: Vec<Notice>,
    /// When sources are looked at for incidents.
    incidents_at: Instant,
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
        let mut last = None;
        loop {
            let holding = self.holding.borrow_and_update().clone();
            // Who is on their way out shows nothing any more.
            if !holding.shards.is_empty() {
                last = Some(holding.clone());
            }
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
            tokio::pin!(pace);
            let mut ended = false;
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return self.finish(last).await,
                    // What is under way goes on however much there is to read.
                    Some(done) = self.sending.next(), if !self.sending.is_empty() => {
                        self.done(done).await;
                        ended = true;
                    }
                    () = &mut pace => break,
                }
            }
            if more || ended {
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.finish(last).await,
                Some(done) = self.sending.next(), if !self.sending.is_empty() => {
                    self.done(done).await;
                    while let Some(Some(done)) = self.sending.next().now_or_never() {
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

    /// Takes nothing new, and writes down for a while what comes of what is under way.
    async fn finish(mut self, holding: Option<Holding>) {
        let Some(holding) = holding else { return };
        let late = tokio::time::sleep(LAST);
        tokio::pin!(late);
        loop {
            self.record(&holding).await;
            if self.sending.is_empty() && self.unrecorded.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = &mut late => return,
                Some(done) = self.sending.next(), if !self.sending.is_empty() => {
                    self.done(done).await;
                }
                () = tokio::time::sleep(POLL), if !self.unrecorded.is_empty() => {}
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
        more |= self.tell_incidents(holding).await?;
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
            if slice.entries.iter().any(read::is_of_incident) {
                self.incidents_at = Instant::now();
            }
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
            maintenance: Vec::new(),
            incidents: Vec::new(),
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
            let places: BTreeSet<(AccountId, SourceName)> =
                heard.iter().filter_map(Heard::at_source).collect();
            let told = self
                .parts
                .store
                .maintenance_told(places.into_iter().collect());
            let told = told.await?;
            self.listen(now, (&known, &told), heard, &mut batch)
        };
        let lag = seen.saturating_sub(read.kept);
        let nothing = batch.issues.is_empty() && batch.maintenance.is_empty() && drafts.is_empty();
        if nothing && lag < WRITE_AFTER {
            return Ok(false);
        }
        self.parts.write_drafts(now, drafts, &mut batch).await?;
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
        (known, told): (&Issues, &MaintenanceTold),
        heard: Vec<Heard>,
        batch: &mut NoticeBatch,
    ) -> Vec<Draft> {
        let mut issues = BTreeMap::new();
        let mut maintenance = BTreeMap::new();
        let mut drafts = Vec::new();
        for heard in heard {
            let at_source = heard.at_source();
            let place = heard.place();
            let before = known.get(&place.connection).cloned().unwrap_or_default();
            let entry = issues.entry(place.connection);
            let (_, issue) = entry.or_insert((place.account, before));
            let Heard::State(place, state) = heard else {
                *issue = Issue::default();
                continue;
            };
            let seen = state.observation();
            let openings = issue.told();
            let mut tellings = issue.observe(now, &seen);
            if let Some(key) = at_source {
                let before = told.get(&key).cloned().unwrap_or_default();
                let source = maintenance.entry(key).or_insert(before);
                tellings.extend(source.observe(now, &seen));
            }
            for telling in tellings {
                let (kind, event) = state.event(place, telling);
                let mends = match telling {
                    Telling::Tell(_, _) => 0,
                    Telling::Mended(_, IssueKey::Maintenance) => 1,
                    Telling::Mended(_, _) => openings,
                };
                drafts.push(Draft {
                    id: NotificationId::mint_in(now, place.account.shard(), &mut self.rng),
                    tenant: place.tenant,
                    account: place.account,
                    kind,
                    event,
                    mends,
                });
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
        for ((account, source), said) in maintenance {
            let key = (account, source);
            let kept = (!said.is_blank(now)).then_some(said);
            if told.get(&key) != kept.as_ref() {
                batch.maintenance.push((key.0, key.1, kept));
            }
        }
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

/// What was told about connections.
type Issues = BTreeMap<ConnectionId, Issue>;

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
/// How long it waits at its end for what is under way, a little less than an engine does.
const LAST: Duration = Duration::from_secs(9);
/// How long messages are kept.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
const SWEEP: usize = 1_000;
const FIRST_SWEEP: Duration = Duration::from_secs(60);
const BETWEEN_SWEEPS: Duration = Duration::from_secs(3_600);
