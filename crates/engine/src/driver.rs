//! The synchronous machine: events in, actions out; no IO, no clock, no task.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wellspring_core::budget::Correction;
use wellspring_core::{
    Account, AccountId, Collection, Connection, IncarnationId, Lane, Shard, TenantId, Timestamp,
};

use crate::{Aggregate, Batch, KeyRow, SourceTable, TenantTable, Write};

mod account;
mod budget;
mod collection;
mod command;
mod commit;
mod connection;
mod dispatch;
mod dispatching;
mod gate;
mod heard;
mod lease;
mod limit;
mod load;
mod order;
mod queue;
mod source;
mod wheel;

pub use dispatch::DispatchView;
pub use gate::LaneView;
pub use limit::LimitView;
pub use order::{
    Action, Answer, Busy, Command, DeliverOrder, EffectId, Event, FetchOrder, Key, Origin, Request,
    Wish,
};

use dispatch::Dispatcher;
use gate::Gate;
use lease::Owned;
use queue::{Entry, Line, Place};
use wheel::Timer;

/// How much the driver takes on at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Steps in one commit.
    pub batch_steps: usize,
    /// Bytes of payload in one commit, beyond which no further step joins.
    pub batch_bytes: usize,
    /// Commands that wait for a commit.
    pub commands: usize,
    /// Unfinished collections of this node.
    pub backlog: u64,
    /// Calls to the outside in flight, of all lanes together.
    pub in_flight: u32,
    /// Calls in flight to one receiver's host.
    pub receiver_concurrency: u32,
    /// Aggregates kept in memory while they wait for a slot; the others are read again.
    pub residents: usize,
    /// Messages to subscriptions in flight.
    pub sends: usize,
    /// Messages in flight to one subscription.
    pub subscription_concurrency: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_steps: 512,
            batch_bytes: 1 << 20,
            commands: 4_096,
            backlog: 5_000_000,
            in_flight: 4_096,
            receiver_concurrency: 16,
            residents: 8_192,
            sends: 1_024,
            subscription_concurrency: 16,
        }
    }
}

/// What happened since the driver began; all of it only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Collections accepted.
    pub accepted: u64,
    /// Requests refused because a queue was full or the database away.
    pub refused: u64,
    /// Calls to sources that began.
    pub fetches: u64,
    /// Calls to sources that failed.
    pub fetches_failed: u64,
    /// Calls to callbacks that began.
    pub deliveries: u64,
    /// Calls to callbacks that failed.
    pub deliveries_failed: u64,
    /// Collections delivered.
    pub delivered: u64,
    /// Collections given up.
    pub failed: u64,
    /// Calls that were a breaker's probe.
    pub probes: u64,
    /// Results that came for a step that was no longer the latest.
    pub stale_results: u64,
    /// Commits that were durable.
    pub commits: u64,
    /// Steps in them.
    pub steps: u64,
    /// Commits that failed or whose outcome was unknown at first.
    pub commits_failed: u64,
    /// Aggregates read because they were not in memory.
    pub loads: u64,
    /// Attempts on connections that began.
    pub attempts: u64,
    /// Attempts on connections that failed.
    pub attempts_failed: u64,
    /// Documents that came in.
    pub documents: u64,
    /// Questions that were posed.
    pub questions: u64,
    /// Changes that were looked up among the subscriptions of their tenant.
    pub lookups: u64,
    /// Reads of the log for subscriptions that retry or catch up.
    pub log_reads: u64,
    /// Messages sent to subscriptions.
    pub sends: u64,
    /// Messages to subscriptions that were not taken.
    pub sends_failed: u64,
    /// Deliveries to subscriptions that were given up.
    pub sends_exhausted: u64,
}

/// The driver of one incarnation.
///
/// After every call of [`Self::handle`] (or after a run of them) call [`Self::flush`] and
/// perform the actions; call [`Self::handle`] with [`Event::Tick`] at [`Self::next_wakeup`].
/// `T` is whatever finds the caller of a command again.
#[derive(Debug)]
pub struct Driver<T> {
    incarnation: IncarnationId,
    /// The moment of the last event.
    now: Timestamp,
    limits: Limits,
    rng: ChaCha8Rng,
    sources: Arc<SourceTable>,
    tenants: Arc<TenantTable>,
    leases: BTreeMap<Shard, Owned>,
    open_shards: Vec<Shard>,
    next_shard: usize,
    ready: bool,
    dead: bool,
    residents: BTreeMap<Aggregate, Resident>,
    queued_residents: usize,
    loading: BTreeMap<Aggregate, LoadFor>,
    to_load: Vec<Aggregate>,
    waiting: HashMap<Aggregate, Vec<Waiting<T>>>,
    gates: BTreeMap<Lane, Gate>,
    /// Tenants by the order in which they were first seen: what waits says in four bytes whose it is.
    tenant_numbers: BTreeMap<TenantId, u32>,
    gate_wakes: BTreeSet<(Timestamp, Lane)>,
    starved: BTreeSet<Lane>,
    /// Lanes whose slots were given back without a result.
    freed: BTreeSet<Lane>,
    last_starved: Lane,
    in_flight: u32,
    calls: u64,
    /// The numbers of the calls that have no result yet.
    flights: BTreeSet<u64>,
    wheel: BinaryHeap<Timer>,
    pending: VecDeque<Step<T>>,
    committing: Option<Committing<T>>,
    batch_number: u64,
    retry: Option<Retry>,
    keys: HashSet<(TenantId, [u8; 32])>,
    erasing: BTreeSet<Aggregate>,
    /// Accounts that are being erased, their connections first.
    erasures: BTreeMap<AccountId, account::Erasure>,
    untaken: Vec<i64>,
    /// What is known of sources besides their files.
    standings: BTreeMap<Lane, source::Standing>,
    source_wakes: BTreeSet<(Timestamp, Lane)>,
    watched_at: Timestamp,
    /// By how much longer than usual calls may take to go out after they were spent.
    patience: u32,
    /// Until when sources want no calls, as far as that is not written yet.
    blocks: BTreeMap<Lane, Timestamp>,
    /// What sources have said of their own count, to be written with the next batch.
    corrections: Vec<(budget::Budget, Correction)>,
    /// What is known of limits.
    limited: limit::Known,
    actions: Vec<Action<T>>,
    counters: Counters,
    dispatcher: Dispatcher<T>,
}

impl<T> Driver<T> {
    /// Makes a driver that owns nothing yet.
    pub fn new(
        incarnation: IncarnationId,
        sources: Arc<SourceTable>,
        tenants: Arc<TenantTable>,
        limits: Limits,
        seed: u64,
    ) -> Self {
        Self {
            incarnation,
            now: Timestamp::MIN,
            limits,
            rng: ChaCha8Rng::seed_from_u64(seed),
            sources,
            tenants,
            leases: BTreeMap::new(),
            open_shards: Vec::new(),
            next_shard: 0,
            ready: false,
            dead: false,
            residents: BTreeMap::new(),
            queued_residents: 0,
            loading: BTreeMap::new(),
            to_load: Vec::new(),
            waiting: HashMap::new(),
            gates: BTreeMap::new(),
            tenant_numbers: BTreeMap::new(),
            gate_wakes: BTreeSet::new(),
            starved: BTreeSet::new(),
            freed: BTreeSet::new(),
            last_starved: Lane(0),
            in_flight: 0,
            calls: 0,
            flights: BTreeSet::new(),
            wheel: BinaryHeap::new(),
            pending: VecDeque::new(),
            committing: None,
            batch_number: 0,
            retry: None,
            keys: HashSet::new(),
            erasing: BTreeSet::new(),
            erasures: BTreeMap::new(),
            untaken: Vec::new(),
            standings: BTreeMap::new(),
            source_wakes: BTreeSet::new(),
            watched_at: Timestamp::MIN,
            patience: 1,
            blocks: BTreeMap::new(),
            corrections: Vec::new(),
            limited: limit::Known::default(),
            actions: Vec::new(),
            counters: Counters::default(),
            dispatcher: Dispatcher::new(incarnation, limits, !seed),
        }
    }

    /// Takes in what happened; changes what [`Self::next_wakeup`] says.
    pub fn handle(&mut self, now: Timestamp, event: Event<T>) {
        self.now = now;
        if self.dead {
            self.refuse_dead(event);
            return;
        }
        // What begins now begins before anything else goes out.
        if self.source_wakes.first().is_some_and(|(at, _)| *at <= now) {
            self.wake_sources(now);
        }
        match event {
            Event::Command(command) => self.command(now, command),
            Event::Leased(leases) => {
                self.dispatcher.leased(&leases);
                self.leased(leases);
            }
            Event::Scanned { rows, done } => self.scanned(now, rows, done),
            Event::Drain(shards) => {
                self.dispatcher.drain(now, &shards);
                self.drain(now, &shards);
            }
            Event::Loaded { asked, rows } => self.loaded(now, asked, rows),
            Event::LoadFailed(asked) => self.load_failed(now, asked),
            Event::Committed(number, outcome) => self.committed(now, number, outcome),
            Event::Resolved(number, outcome) => self.resolved(now, number, outcome),
            Event::Fetched(effect, result) => self.fetched(now, effect, result),
            Event::Delivered(effect, result) => self.delivered(now, effect, result),
            Event::Ran(effect, result) => self.ran(now, effect, result),
            Event::Reported(effect, report, caller) => self.reported(now, effect, report, caller),
            Event::Calling(effect, endpoint, caller) => {
                self.calling(now, effect, &endpoint, caller)
            }
            Event::Heard(effect, heard) => self.heard(now, effect, &heard),
            Event::Children(account, connections) => self.children(now, account, connections),
            Event::Sent(id, result) => self.dispatcher.sent(now, id, result),
            Event::Read(number, answer) => self.dispatcher.read(now, number, answer),
            Event::Subscriptions { table, whole } => self.subscriptions(now, &table, whole),
            Event::Tenants(tenants) => self.tenants = tenants,
            Event::Sources(sources) => {
                self.sources = sources;
                self.limited.changed();
                // They are about windows as they were; the next answer says it again.
                self.corrections.clear();
                self.tick_sources(now);
                self.pump_all(now);
            }
            Event::Kept(sources) => self.kept(now, sources),
            Event::Spent(names, spent) => {
                self.learnt(now, &names, spent, false);
                self.pump_all(now);
            }
            Event::Tick => self.tick(now),
        }
        self.pump_freed(now);
    }

    /// Closes the batch if none is under way, and hands over all that is to be done.
    pub fn flush(&mut self, actions: &mut Vec<Action<T>>) {
        self.settle_dispatched();
        self.close_batch();
        self.release_drained();
        if !self.to_load.is_empty() {
            for chunk in self.to_load.chunks(LOAD_CHUNK) {
                self.actions.push(Action::Load(chunk.to_vec()));
            }
            self.to_load.clear();
        }
        actions.append(&mut self.actions);
        self.dispatcher.actions(actions);
    }

    /// Returns the inbox rows that could not be taken in now and are to be handed over again.
    pub fn untaken(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.untaken)
    }

    /// Returns when [`Event::Tick`] is needed next.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let retry = self.retry.as_ref().map(|retry| retry.at);
        let timer = self.wheel.peek().map(|timer| timer.due);
        let gate = self.gate_wakes.first().map(|(at, _)| *at);
        let patience = self
            .leases
            .values()
            .filter_map(|owned| owned.patience)
            .min();
        let source = self.source_wakes.first().map(|(at, _)| *at);
        let dispatch = self.dispatcher.next_wakeup();
        let is_writable = self.retry.is_none() && self.committing.is_none() && !self.dead;
        let save = self.dispatcher.save_due().filter(|_| is_writable);
        [retry, timer, gate, patience, source, dispatch, save]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns what happened so far.
    pub const fn counters(&self) -> Counters {
        let dispatched = self.dispatcher.counted;
        Counters {
            lookups: dispatched.lookups,
            log_reads: dispatched.log_reads,
            sends: dispatched.sent,
            sends_failed: dispatched.failed,
            sends_exhausted: dispatched.exhausted,
            ..self.counters
        }
    }

    /// Returns whether every lease has been scanned and commands are taken.
    pub const fn is_ready(&self) -> bool {
        self.ready && !self.dead
    }

    /// Returns whether the last commit failed and none has succeeded since.
    pub const fn is_store_down(&self) -> bool {
        self.retry.is_some()
    }

    /// Returns how many unfinished collections this node knows of.
    pub fn backlog(&self) -> u64 {
        self.leases.values().map(|owned| owned.live).sum()
    }

    /// Returns how many calls to the outside are in flight.
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Returns how many timers the wheel holds.
    pub fn timers(&self) -> usize {
        self.wheel.len()
    }

    /// Returns whether nothing is queued, being written or in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0
            && self.pending.is_empty()
            && self.committing.is_none()
            && self.loading.is_empty()
            && self.dispatcher.is_idle()
    }

    /// Returns the line in which a tenant's calls wait.
    fn line(&mut self, tenant: TenantId, awaited: bool) -> Line {
        let next = u32::try_from(self.tenant_numbers.len()).unwrap_or(u32::MAX);
        let number = *self.tenant_numbers.entry(tenant).or_insert(next);
        Line::of(number, awaited)
    }

    fn tick(&mut self, now: Timestamp) {
        if let Some(retry) = &mut self.retry
            && retry.at <= now
        {
            self.retry_due();
        }
        self.end_attempts(now);
        let mut touched = BTreeSet::new();
        while self.wheel.peek().is_some_and(|timer| timer.due <= now) {
            let Some(timer) = self.wheel.pop() else { break };
            if !self.leases.contains_key(&timer.id.shard()) {
                continue;
            }
            if timer.lane == Lane::ALARM {
                self.alarm(now, timer.id);
            } else {
                self.gate(timer.lane).queue.insert(timer.entry());
                touched.insert(timer.lane);
            }
        }
        while let Some((at, lane)) = self.gate_wakes.first().copied() {
            if at > now {
                break;
            }
            self.gate_wakes.pop_first();
            self.gate(lane).wake = None;
            touched.insert(lane);
        }
        for lane in touched {
            self.pump(now, lane);
        }
        self.watch_sources(now);
        self.dispatcher.tick(now);
    }
}

/// An aggregate in memory.
#[derive(Debug)]
struct Resident {
    held: Held,
    phase: Phase,
}

/// What is in memory of an aggregate.
#[derive(Debug, Clone)]
enum Held {
    Collection {
        collection: Collection,
        payload: Option<Bytes>,
    },
    Account(Account),
    Source(Box<wellspring_core::source::Source>),
    Connection {
        connection: Box<Connection>,
        /// The attempt that is under way, also while a step is being written.
        flight: Option<Flight>,
        /// The slot that is held for the attempt that begins when its step is durable.
        slot: Option<Slot>,
    },
}

impl Held {
    const fn version(&self) -> u32 {
        match self {
            Self::Collection { collection, .. } => collection.version,
            Self::Account(account) => account.version,
            Self::Source(source) => source.version,
            Self::Connection { connection, .. } => connection.version,
        }
    }

    const fn collection(&self) -> Option<&Collection> {
        match self {
            Self::Collection { collection, .. } => Some(collection),
            Self::Account(_) | Self::Connection { .. } | Self::Source(_) => None,
        }
    }
}

/// A slot of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    lane: Lane,
    probe: bool,
    /// Since when the attempt that it is held for was due.
    due: Timestamp,
}

/// An attempt that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flight {
    effect: EffectId,
}

/// What is going on with an aggregate in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A step of it is not durable yet.
    Committing,
    /// A call for it is in flight.
    Flying,
    /// It waits for a slot of its lane.
    Queued,
}

/// What waits for a step of the same aggregate to become durable, or for the aggregate to be read.
#[derive(Debug)]
enum Waiting<T> {
    Command(Command<T>),
    /// An attempt that ended.
    Ran(EffectId, crate::RunResult),
    /// What an attempt reports.
    Reported(EffectId, crate::Report, T),
}

/// Why an aggregate is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadFor {
    /// A slot of the lane is held for it.
    Start { place: Place, probe: bool },
    /// Its give-up time has passed.
    GiveUp(Place),
    /// Its alarm has gone off.
    Alarm,
    /// Commands wait for it.
    Command,
}

/// A step that waits for its commit.
#[derive(Debug)]
struct Step<T> {
    /// Nothing for a command from the inbox that changed nothing.
    write: Option<Write>,
    tenant: TenantId,
    at: Timestamp,
    changes: Vec<wellspring_core::Change>,
    /// Changes that are told to several tenants, each in its own log.
    told: Vec<(TenantId, wellspring_core::Change)>,
    /// What no rule matched and the step is about.
    unclassified: Option<Box<wellspring_core::Unclassified>>,
    key: Option<KeyRow>,
    origin: Option<Origin<T>>,
    /// The call that begins when it is durable, where its source has a budget.
    wanted: Option<budget::Wanted>,
}

/// The batch that is being written.
#[derive(Debug)]
struct Committing<T> {
    number: u64,
    steps: Vec<Step<T>>,
    next_seqs: BTreeMap<Shard, u64>,
    /// What the store was given.
    batch: Arc<Batch>,
}

/// The database does not take commits.
#[derive(Debug)]
struct Retry {
    at: Timestamp,
    failures: u16,
    /// The batch whose outcome has to be found out first.
    unresolved: Option<u64>,
    /// Whether the wait is over.
    due: bool,
}

/// Aggregates read by one request to the store.
const LOAD_CHUNK: usize = 256;
