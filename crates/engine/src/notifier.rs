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
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wellspring_core::notification::{Channel, Contact, Preferences};
use wellspring_core::{AccountId, Shard};

use crate::{
    AddressBook, Clock, EngineHandle, Holding, Notice, NoticeBackend, NoticeOrder, NoticeResult,
    NoticeWords, PhoneMark, StoreError, Tasks, Transport, random_seed,
};

mod compose;
mod drafts;
mod handle;
mod incident;
mod listen;
mod read;
mod send;

pub use handle::{NoticeRequest, NotifierHandle, Told};
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
