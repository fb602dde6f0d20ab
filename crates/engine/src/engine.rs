//! The asynchronous shell: it performs the driver's actions and feeds back what comes of them.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;
use wellspring_core::{IncarnationId, Shard, Timestamp};

use crate::driver::{Action, Answer, Command, DispatchView, Driver, Event, Limits};
use crate::inbox::Inbox;
use crate::meters::Meters;
use crate::traces::{self, Committed};
use crate::{
    Aggregate, Backend, Blobs, Channel, Clock, Connector, SourceTable, StoreError,
    SubscriptionTable, Tasks, TenantTable,
};

mod calls;
mod handle;
mod view;

pub use handle::EngineHandle;
pub use view::{Holding, Snapshot};

/// What an engine is made of.
#[derive(Clone)]
pub struct EngineParts {
    /// Where steps become durable.
    pub store: Arc<dyn Backend>,
    /// How sources are asked.
    pub connector: Arc<dyn Connector>,
    /// How callbacks are reached.
    pub channel: Arc<dyn Channel>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How much it takes on.
    pub limits: Limits,
    /// The configured sources.
    pub sources: Arc<SourceTable>,
    /// What tenants have set.
    pub tenants: Arc<TenantTable>,
    /// Where the bytes of documents are kept.
    pub blobs: Arc<dyn Blobs>,
}

impl std::fmt::Debug for EngineParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineParts")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Starts engines.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Starts an engine; it is ready once [`Snapshot::ready`] says so.
    pub fn start(parts: EngineParts, tasks: &Tasks) -> EngineHandle {
        let (commands, command_inbox) = mpsc::channel(parts.limits.commands);
        let (tables, table_inbox) = mpsc::channel(4);
        let snapshot = Arc::new(RwLock::new(Snapshot::default()));
        let (grown, log) = watch::channel(0);
        let shell = Shell::new(parts.clone(), tasks.clone(), Arc::clone(&snapshot), grown);
        let holding = shell.holding.subscribe();
        let writers = shell.writers.clone();
        tasks.spawn("engine", shell.run(command_inbox, table_inbox));
        tasks.spawn(
            "retention",
            crate::retention::run(
                Arc::clone(&parts.store),
                Arc::clone(&parts.blobs),
                Arc::clone(&parts.clock),
                tasks.clone(),
            ),
        );
        EngineHandle {
            commands,
            tables,
            snapshot,
            log,
            holding,
            writers,
            stop: tasks.stop_token().clone(),
            store: parts.store,
            clock: parts.clock,
        }
    }
}

/// Returns a seed from the operating system.
///
/// # Panics
///
/// Never in practice: Linux gives randomness from the first moment of a process on.
pub fn random_seed() -> u64 {
    getrandom::u64().expect("the operating system gives randomness")
}

/// What replaces what the engine knew.
pub(crate) enum Table {
    Sources(Arc<SourceTable>),
    Tenants(Arc<TenantTable>),
    Subscriptions {
        table: Arc<SubscriptionTable>,
        /// Whether there are no others.
        whole: bool,
        /// Tells when they are taken in.
        taken: oneshot::Sender<()>,
    },
}

type Caller = oneshot::Sender<Answer>;
type StoreEvents = FuturesUnordered<BoxFuture<'static, StoreEvent>>;

/// What comes back from the store.
pub(crate) enum StoreEvent {
    Driver(IncarnationId, Event<Caller>),
    Joined(IncarnationId, Result<(), StoreError>),
    Membership(IncarnationId, Result<crate::Membership, StoreError>),
    Leased(IncarnationId, Result<crate::membership::Taken, StoreError>),
    Kept(IncarnationId, Result<crate::membership::Known, StoreError>),
    Page {
        incarnation: IncarnationId,
        shards: Vec<Shard>,
        after: Option<Aggregate>,
        rows: Result<Vec<crate::Live>, StoreError>,
    },
    Inbox(IncarnationId, Result<Vec<crate::InboxRow>, StoreError>),
    Released(IncarnationId, Result<(), StoreError>),
    Again(IncarnationId, Retried),
}

/// What is tried again after a pause.
#[derive(Debug)]
pub(crate) enum Retried {
    Join,
    Acquire(Vec<Shard>),
    Scan(Vec<Shard>, Option<Aggregate>),
    Renew,
    Inbox,
}

pub(crate) struct Shell {
    pub(crate) parts: EngineParts,
    tasks: Tasks,
    pub(crate) driver: Driver<Caller>,
    pub(crate) incarnation: IncarnationId,
    pub(crate) store_events: StoreEvents,
    results: mpsc::Sender<Event<Caller>>,
    result_inbox: Option<mpsc::Receiver<Event<Caller>>>,
    pub(crate) inbox: Inbox,
    actions: Vec<Action<Caller>>,
    snapshot: Arc<RwLock<Snapshot>>,
    grown: Arc<watch::Sender<u64>>,
    holding: watch::Sender<Holding>,
    /// Those who write under the epochs of its shards beside the driver.
    pub(crate) writers: TaskTracker,
    snapshot_at: Timestamp,
    dispatch: DispatchView,
    dispatch_at: Timestamp,
    /// Whether something happened that the snapshot does not show yet.
    snapshot_stale: bool,
    latency: metrics::Histogram,
    meters: Meters,
    /// The last batch, where traces are made.
    traced: Option<Committed>,
    /// Attempts under way by the number of their effect, and some that have ended.
    runs: BTreeMap<u64, AbortHandle>,
    runs_swept_at: usize,
    pub(crate) stopping: bool,
    /// Releases under way; until they are through the database's word on owners is stale.
    pub(crate) releasing: usize,
    /// Whether shards are being taken and read; one such thing at a time.
    pub(crate) acquiring: bool,
}

impl Shell {
    fn new(
        parts: EngineParts,
        tasks: Tasks,
        snapshot: Arc<RwLock<Snapshot>>,
        grown: watch::Sender<u64>,
    ) -> Self {
        let incarnation = new_incarnation(parts.clock.now());
        let driver = Driver::new(
            incarnation,
            Arc::clone(&parts.sources),
            Arc::clone(&parts.tenants),
            parts.limits,
            random_seed(),
        );
        let calls = usize::try_from(parts.limits.in_flight).unwrap_or(usize::MAX);
        let capacity = calls.saturating_add(parts.limits.sends);
        let (results, result_inbox) = mpsc::channel(capacity);
        Self {
            parts,
            tasks,
            driver,
            incarnation,
            store_events: FuturesUnordered::new(),
            results,
            result_inbox: Some(result_inbox),
            inbox: Inbox::default(),
            actions: Vec::new(),
            snapshot,
            grown: Arc::new(grown),
            holding: watch::Sender::new(Holding {
                incarnation,
                shards: Vec::new(),
            }),
            writers: TaskTracker::new(),
            snapshot_at: Timestamp::MIN,
            dispatch: DispatchView::default(),
            dispatch_at: Timestamp::MIN,
            snapshot_stale: true,
            latency: metrics::histogram!("wellspring_collection_duration_seconds"),
            meters: Meters::new(),
            traced: None,
            runs: BTreeMap::new(),
            runs_swept_at: calls::RUNS_SWEPT_FROM,
            stopping: false,
            releasing: 0,
            acquiring: false,
        }
    }

    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command<Caller>>,
        mut tables: mpsc::Receiver<Table>,
    ) {
        let Some(mut results) = self.result_inbox.take() else {
            return;
        };
        let stop = self.tasks.stop_token().clone();
        let mut sleep: std::pin::Pin<Box<Sleep>> = Box::pin(tokio::time::sleep(Duration::ZERO));
        let mut sleeping_until = None;
        let mut drain_ends: Option<Instant> = None;
        let mut batch = Vec::new();
        let store = Arc::clone(&self.parts.store);
        let writers = self.writers.clone();
        let mut filled = store.inbox_filled();
        self.join();
        loop {
            let wake = (self.driver.next_wakeup(), self.snapshot_stale);
            if sleeping_until != Some(wake) {
                sleep.as_mut().reset(self.deadline(wake.0));
                sleeping_until = Some(wake);
            }
            let mut slept = false;
            tokio::select! {
                biased;
                Some(event) = self.store_events.next(), if !self.store_events.is_empty() => self.store_event(event),
                Some(event) = results.recv() => {
                    let now = self.parts.clock.now();
                    self.handle(now, event);
                }
                Some(command) = commands.recv() => batch.push(command),
                () = &mut filled => {
                    filled = store.inbox_filled();
                    self.read_inbox();
                }
                () = &mut sleep => slept = true,
                Some(table) = tables.recv() => self.replace(table),
                () = stop.cancelled(), if !self.stopping => {
                    self.stopping = true;
                    drain_ends = Some(Instant::now() + DRAIN);
                    writers.close();
                    let shards = self.driver.shards().collect();
                    self.driver.handle(self.parts.clock.now(), Event::Drain(shards));
                }
                () = writers.wait(), if self.stopping && !writers.is_empty() => {}
                () = async { tokio::time::sleep_until(drain_ends.unwrap_or_else(Instant::now)).await }, if drain_ends.is_some() => {
                    tracing::warn!("Calls were still in flight at the end of the shutdown's grace");
                    break;
                }
            }
            let now = self.parts.clock.now();
            // Whatever else has gathered joins the same commit.
            for _ in 0..DRAIN_CHUNK {
                let Ok(event) = results.try_recv() else { break };
                self.handle(now, event);
            }
            for _ in 0..DRAIN_CHUNK {
                let Ok(command) = commands.try_recv() else {
                    break;
                };
                batch.push(command);
            }
            for command in batch.drain(..) {
                self.driver.handle(now, Event::Command(command));
            }
            if slept || self.driver.next_wakeup().is_some_and(|at| at <= now) {
                sleeping_until = None;
                self.driver.handle(now, Event::Tick);
            }
            self.perform();
            self.refresh_snapshot(now);
            let drained = self.driver.shards().next().is_none() && writers.is_empty();
            if self.stopping && drained {
                break;
            }
        }
        if let Err(error) = self.parts.store.leave(self.incarnation).await {
            tracing::warn!(%error, "Could not say goodbye to the database");
        }
        self.refresh_snapshot(Timestamp::MAX);
    }

    pub(crate) fn handle(&mut self, now: Timestamp, event: Event<Caller>) {
        self.driver.handle(now, event);
    }

    fn perform(&mut self) {
        self.driver.flush(&mut self.actions);
        for number in self.driver.untaken() {
            self.inbox.forget(number);
        }
        let actions = std::mem::take(&mut self.actions);
        for action in actions {
            match action {
                Action::Reply(caller, answer) => drop(caller.send(answer)),
                Action::Commit(batch) => {
                    let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
                    let (grown, meter) = (Arc::clone(&self.grown), self.meters.commits.clone());
                    let traced = Committed::begin(&batch);
                    self.traced.clone_from(&traced);
                    self.store_events.push(Box::pin(async move {
                        let (number, steps) = (batch.number, batch.writes.len());
                        let grows = !batch.entries.is_empty();
                        let begun = Instant::now();
                        let outcome = store.commit(batch).await;
                        meter.record(steps, begun.elapsed(), &outcome);
                        if let Some(traced) = traced.filter(|_| outcome.is_ok()) {
                            traced.tell();
                        }
                        if grows && outcome.is_ok() {
                            grown.send_modify(|times| *times = times.wrapping_add(1));
                        }
                        StoreEvent::Driver(incarnation, Event::Committed(number, outcome))
                    }));
                }
                Action::Resolve(number) => {
                    let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
                    let traced = self.traced.clone().filter(|it| it.number() == number);
                    self.store_events.push(Box::pin(async move {
                        let outcome = store.committed(incarnation, number).await.ok();
                        if let (Some(traced), Some(true)) = (traced, outcome) {
                            traced.tell();
                        }
                        StoreEvent::Driver(incarnation, Event::Resolved(number, outcome))
                    }));
                }
                Action::Load(asked) => {
                    let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
                    self.store_events.push(Box::pin(async move {
                        let event = match store.load(asked.clone()).await {
                            Ok(rows) => Event::Loaded { asked, rows },
                            Err(error) => {
                                tracing::warn!(%error, "Collections could not be read, trying again");
                                Event::LoadFailed(asked)
                            }
                        };
                        StoreEvent::Driver(incarnation, event)
                    }));
                }
                Action::Fetch(effect, order) => self.fetch(effect, order),
                Action::Post(request) => self.leave(*request),
                Action::Run(effect, order) => self.run_attempt(effect, order),
                Action::Abort(effect) => {
                    if let Some(run) = self.runs.remove(&effect.number) {
                        run.abort();
                    }
                }
                Action::Children(account) => {
                    let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
                    self.store_events.push(Box::pin(async move {
                        let connections = store.children(account, CHILDREN).await.ok();
                        let event = Event::Children(account, connections);
                        StoreEvent::Driver(incarnation, event)
                    }));
                }
                Action::Deliver(effect, order) => self.deliver(effect, order),
                Action::Send(id, order) => {
                    let (channel, results) =
                        (Arc::clone(&self.parts.channel), self.results.clone());
                    let call = self.meters.send(order.subscription.kind);
                    let span = traces::sending(&order);
                    self.tasks.spawn("send", async move {
                        let result = span.within(channel.send(order)).await;
                        call.sent(&result);
                        span.sent(&result);
                        drop(results.send(Event::Sent(id, result)).await);
                    });
                }
                Action::Read(number, query) => {
                    let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
                    self.store_events.push(Box::pin(async move {
                        let answer = match query.read(store.as_ref()).await {
                            Ok(answer) => Some(answer),
                            Err(error) => {
                                tracing::warn!(%error, "Dispatcher could not read, trying again");
                                None
                            }
                        };
                        StoreEvent::Driver(incarnation, Event::Read(number, answer))
                    }));
                }
                Action::Release(shards) => self.release(shards),
                Action::Fenced => self.begin_anew(),
            }
        }
    }

    fn replace(&mut self, table: Table) {
        let now = self.parts.clock.now();
        match table {
            Table::Sources(table) => {
                self.parts.sources = Arc::clone(&table);
                self.handle(now, Event::Sources(table));
            }
            Table::Tenants(table) => {
                self.parts.tenants = Arc::clone(&table);
                self.handle(now, Event::Tenants(table));
            }
            Table::Subscriptions {
                table,
                whole,
                taken,
            } => {
                self.handle(now, Event::Subscriptions { table, whole });
                // Whoever waited may have gone.
                taken.send(()).unwrap_or_default();
            }
        }
    }

    /// The incarnation is dead: what it knew is forgotten and read again.
    pub(crate) fn begin_anew(&mut self) {
        for run in std::mem::take(&mut self.runs).into_values() {
            run.abort();
        }
        self.incarnation = new_incarnation(self.parts.clock.now());
        self.driver = Driver::new(
            self.incarnation,
            Arc::clone(&self.parts.sources),
            Arc::clone(&self.parts.tenants),
            self.parts.limits,
            random_seed(),
        );
        self.inbox = Inbox::default();
        self.releasing = 0;
        self.acquiring = false;
        self.join();
    }

    /// The wall clock may jump, so no sleep is longer than a while.
    fn deadline(&self, wake: Option<Timestamp>) -> Instant {
        let now = self.parts.clock.now();
        let longest = if self.snapshot_stale {
            REFRESH
        } else {
            LONGEST_SLEEP
        };
        let wait = wake.map_or(longest, |at| at.since(now).min(longest));
        Instant::now() + wait
    }

    fn refresh_snapshot(&mut self, now: Timestamp) {
        let ready = self.driver.is_ready() && !self.stopping;
        let store_down = self.driver.is_store_down();
        let Ok(mut snapshot) = self.snapshot.write() else {
            return;
        };
        let fresh = now >= self.snapshot_at && now.since(self.snapshot_at) < REFRESH;
        self.snapshot_stale = fresh;
        if snapshot.ready == ready && snapshot.store_down == store_down && fresh {
            return;
        }
        // It is counted over all subscriptions, of which there may be very many.
        if now < self.dispatch_at || now.since(self.dispatch_at) >= DISPATCH_REFRESH {
            self.dispatch = self.driver.dispatch_view();
            self.dispatch_at = now;
        }
        self.snapshot_at = now;
        self.snapshot_stale = false;
        let held = Holding {
            incarnation: self.incarnation,
            shards: if ready {
                self.driver.held().collect()
            } else {
                Vec::new()
            },
        };
        self.holding.send_if_modified(|have| {
            let changed = *have != held;
            *have = held;
            changed
        });
        *snapshot = Snapshot {
            ready,
            store_down,
            backlog: self.driver.backlog(),
            in_flight: self.driver.in_flight(),
            timers: self.driver.timers(),
            shards: self.driver.shards().count(),
            counters: self.driver.counters(),
            lanes: self.driver.lanes(),
            dispatch: self.dispatch,
        };
    }
}

fn new_incarnation(now: Timestamp) -> IncarnationId {
    IncarnationId::mint(now, &mut ChaCha8Rng::seed_from_u64(random_seed()))
}

/// Connections of an account that are deleted together.
const CHILDREN: usize = 256;
/// Results and commands that join one round at most.
const DRAIN_CHUNK: usize = 512;
/// How long calls in flight may go on after the first stop signal.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the shell sleeps at most, whatever the wall clock does.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// How often subscriptions are counted.
const DISPATCH_REFRESH: Duration = Duration::from_secs(2);
/// How often the snapshot is refreshed when nothing but numbers change.
const REFRESH: Duration = Duration::from_millis(200);
