//! A driver, the rows and ledgers that it has committed, and what it wants done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_core::SeedableRng;
use wellspring_core::budget::{BudgetName, Ledger, Spent, settle};
use wellspring_core::connection::{self, Config, Connection, Wakeup};
use wellspring_core::schedule::{Schedule, SlowPlan};
use wellspring_core::{
    AccountId, Actor, CollectionId, CollectionPolicy, ConnectionId, Error, ErrorClass,
    IncarnationId, Lane, OnQuestionExpired, Shard, SourceId, TenantId, Timestamp, source,
};
use wellspring_engine::{
    Action, Aggregate, Answer, Batch, Command, ConnectionDefaults, DeliverOrder, DispatchAnswer,
    DispatchQuery, DispatchState, Driver, EffectId, Event, FetchOrder, FetchResult, Key, Lease,
    Limits, Live, Loaded, LoadedCollection, Origin, Request, RunOrder, RunResult, Source,
    SourceTable, TenantRules, TenantTable, Write,
};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub(crate) const TENANT: TenantId = TenantId::from_bytes([1; 16]);
pub(crate) const OTHER: TenantId = TenantId::from_bytes([2; 16]);
pub(crate) const SOURCE: &str = "gas";
pub(crate) const URL: &str = "http://a.example/";
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// One driver after another, on rows and ledgers that stay.
pub(crate) struct Bench {
    pub(crate) driver: Driver<u32>,
    pub(crate) now: Timestamp,
    pub(crate) sources: Arc<SourceTable>,
    pub(crate) stored: BTreeMap<CollectionId, LoadedCollection>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    /// What is kept of the sources.
    pub(crate) kept: BTreeMap<SourceId, source::Source>,
    pub(crate) ledgers: BTreeMap<BudgetName, Ledger>,
    pub(crate) commits: VecDeque<Arc<Batch>>,
    /// What was committed.
    pub(crate) batches: Vec<Arc<Batch>>,
    /// Calls of collections.
    pub(crate) calls: VecDeque<(EffectId, FetchOrder)>,
    pub(crate) deliveries: VecDeque<(EffectId, DeliverOrder)>,
    /// Attempts of connections.
    pub(crate) runs: VecDeque<(EffectId, RunOrder)>,
    pub(crate) replies: Vec<(u32, Answer)>,
    pub(crate) posted: Vec<Request>,
    pub(crate) resolves: Vec<u64>,
    pub(crate) fenced: bool,
    /// All that was asked of the database.
    pub(crate) asked: Vec<Aggregate>,
    /// Whether the database answers no reads.
    pub(crate) unreadable: bool,
    /// Whether reads take long, and those that do.
    pub(crate) holds: bool,
    pub(crate) held: Vec<Vec<Aggregate>>,
    shards: Vec<u8>,
    lives: u64,
    never: fn(&Action<u32>) -> bool,
}

impl Bench {
    /// A node that has these shards, and sources that the tenant uses already; some actions are
    /// nothing that a test may come to.
    pub(crate) fn new(
        sources: impl IntoIterator<Item = Source>,
        shards: &[u8],
        limits: Limits,
        never: fn(&Action<u32>) -> bool,
    ) -> Self {
        let sources = Arc::new(SourceTable::new(sources));
        let kept = sources.iter().map(|source| source::Source {
            version: 1,
            tenants: [TENANT].into(),
            ..source::Source::fresh(source.name.clone())
        });
        let mut bench = Self {
            driver: driver(1, &sources, limits),
            now: NOW,
            kept: kept.map(|source| (source.id(), source)).collect(),
            sources,
            stored: BTreeMap::new(),
            connections: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            commits: VecDeque::new(),
            batches: Vec::new(),
            calls: VecDeque::new(),
            deliveries: VecDeque::new(),
            runs: VecDeque::new(),
            replies: Vec::new(),
            posted: Vec::new(),
            resolves: Vec::new(),
            fenced: false,
            asked: Vec::new(),
            unreadable: false,
            holds: false,
            held: Vec::new(),
            shards: shards.to_vec(),
            lives: 1,
            never,
        };
        bench.begin();
        bench
    }

    /// The process is killed, and another begins.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        self.lives += 1;
        self.driver = driver(self.lives, &self.sources, Limits::default());
        self.commits.clear();
        self.calls.clear();
        self.now = now;
        self.begin();
    }

    fn begin(&mut self) {
        self.give(Event::Kept(self.kept.values().cloned().collect()));
        let names = self.driver.budget_names();
        let spent = self.spent(&names);
        self.give(Event::Spent(names, spent));
        let leases = self.shards.iter().map(|shard| Lease {
            shard: Shard(*shard),
            epoch: self.lives,
            next_seq: 1,
        });
        self.give(Event::Leased(leases.collect()));
        let collections = self.stored.values().filter_map(|row| {
            let (due, lane) = row.collection.next_wakeup()?;
            Some(Live {
                id: Aggregate::Collection(row.collection.id),
                due,
                since: row.collection.stage_began()?,
                lane,
                tenant: row.collection.tenant,
                awaited: false,
            })
        });
        let rows = collections.collect();
        self.scan(rows);
    }

    /// Tells of rows, and makes durable what follows.
    pub(crate) fn scan(&mut self, rows: Vec<Live>) {
        self.give(Event::Scanned { rows, done: true });
        self.commit_all();
    }

    pub(crate) fn give(&mut self, event: Event<u32>) {
        self.driver.handle(self.now, event);
        let mut actions = Vec::new();
        self.driver.flush(&mut actions);
        for action in actions {
            assert!(!(self.never)(&action), "nobody wants this: {action:?}");
            match action {
                Action::Commit(batch) => self.commits.push_back(batch),
                Action::Fetch(effect, order) => self.calls.push_back((effect, order)),
                Action::Deliver(effect, order) => self.deliveries.push_back((effect, order)),
                Action::Run(effect, order) => self.runs.push_back((effect, order)),
                Action::Reply(caller, answer) => self.replies.push((caller, answer)),
                Action::Post(request) => self.posted.push(*request),
                Action::Resolve(number) => self.resolves.push(number),
                Action::Fenced => self.fenced = true,
                Action::Load(asked) if self.unreadable => self.give(Event::LoadFailed(asked)),
                Action::Load(asked) if self.holds => self.held.push(asked),
                Action::Load(asked) => self.load(asked),
                Action::Read(number, DispatchQuery::Shard(_)) => {
                    let state = DispatchAnswer::Shard(DispatchState::default());
                    self.give(Event::Read(number, Some(state)));
                }
                Action::Release(_)
                | Action::Abort(_)
                | Action::Children(_)
                | Action::Send(..)
                | Action::Read(..) => panic!("nobody wants this: {action:?}"),
            }
        }
    }

    /// Answers a read from what was committed last.
    pub(crate) fn load(&mut self, asked: Vec<Aggregate>) {
        self.asked.extend(&asked);
        let rows = asked.iter().filter_map(|id| match id {
            Aggregate::Collection(id) => {
                let row = self.stored.get(id).cloned();
                row.map(|row| Loaded::Collection(Box::new(row)))
            }
            Aggregate::Connection(id) => {
                let row = self.connections.get(id).cloned();
                row.map(|row| Loaded::Connection(Box::new(row)))
            }
            Aggregate::Source(id) => {
                let row = self.kept.get(id).cloned();
                row.map(|row| Loaded::Source(Box::new(row)))
            }
            Aggregate::Account(_) => None,
        });
        let rows = rows.collect();
        self.give(Event::Loaded { asked, rows });
    }

    /// Makes the next batch durable.
    pub(crate) fn commit(&mut self) -> Arc<Batch> {
        let batch = self.commits.pop_front().expect("a commit is wanted");
        for write in &batch.writes {
            match write {
                Write::Collection(write) => {
                    if let Some(next) = &write.next {
                        let loaded = LoadedCollection {
                            collection: next.clone(),
                            payload: write.payload.clone(),
                            live: next.next_wakeup().is_some(),
                        };
                        self.stored.insert(write.id, loaded);
                    }
                }
                Write::Connection(write) => {
                    let next = write.next.clone().unwrap();
                    self.connections.insert(write.id, next);
                }
                Write::Source(write) => drop(self.kept.insert(write.id, write.next.clone())),
                Write::Account(_) => panic!("{write:?}"),
            }
        }
        let spends = &batch.spends;
        let names: Vec<BudgetName> = spends
            .budgets
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let mut spent = self.spent(&names);
        spent.granted = settle(&mut spent.ledgers, spends, self.now);
        self.ledgers
            .extend(names.into_iter().zip(spent.ledgers.clone()));
        self.give(Event::Committed(batch.number, Ok(spent)));
        self.batches.push(Arc::clone(&batch));
        batch
    }

    fn spent(&self, names: &[BudgetName]) -> Spent {
        let ledgers = names.iter().map(|name| self.ledgers.get(name).cloned());
        Spent {
            now: self.now,
            granted: Vec::new(),
            ledgers: ledgers.map(Option::unwrap_or_default).collect(),
        }
    }

    pub(crate) fn commit_all(&mut self) {
        while !self.commits.is_empty() {
            self.commit();
        }
    }

    pub(crate) fn tick(&mut self, now: Timestamp) {
        self.now = now;
        self.give(Event::Tick);
    }

    /// Lets time pass, doing what is due at its time.
    pub(crate) fn forward(&mut self, duration: Duration) {
        let until = self.now.after(duration);
        while let Some(at) = self.driver.next_wakeup().filter(|at| *at <= until) {
            self.tick(self.now.max(at));
            self.commit_all();
        }
        self.tick(until);
        self.commit_all();
    }

    pub(crate) fn request(&mut self, request: Request) {
        self.command(request, None, Origin::Caller(1));
    }

    pub(crate) fn command(&mut self, request: Request, key: Option<Key>, origin: Origin<u32>) {
        self.give(Event::Command(Command {
            request,
            key,
            origin,
        }));
    }

    pub(crate) fn collect(&mut self) {
        self.collect_for(TENANT);
    }

    pub(crate) fn collect_for(&mut self, tenant: TenantId) {
        self.request(collection(tenant, SOURCE, URL));
    }

    /// Ends the oldest call of a collection.
    pub(crate) fn answer(&mut self, class: Option<ErrorClass>) {
        let (effect, _) = self.calls.pop_front().expect("a call is wanted");
        self.give(Event::Fetched(effect, fetched(class, None)));
    }

    /// Ends the oldest attempt of a connection, and makes durable what follows.
    pub(crate) fn end(&mut self, class: Option<ErrorClass>) {
        self.end_until(class, None);
    }

    pub(crate) fn end_until(&mut self, class: Option<ErrorClass>, retry_at: Option<Timestamp>) {
        let (effect, _) = self.runs.pop_front().expect("an attempt is wanted");
        self.give(Event::Ran(effect, ran(class, retry_at)));
        self.commit_all();
    }

    /// Keeps a connection, and returns what a scan tells of it.
    pub(crate) fn keep(&mut self, made: Connection) -> Live {
        let Some(Wakeup::Call(due, lane)) = made.next_wakeup() else {
            panic!("{made:?}");
        };
        let live = Live {
            id: Aggregate::Connection(made.id),
            due,
            since: due,
            lane,
            tenant: made.tenant,
            awaited: made.is_awaited(),
        };
        self.connections.insert(made.id, made);
        live
    }
}

/// A driver that knows no rows yet.
pub(crate) fn driver(life: u64, sources: &Arc<SourceTable>, limits: Limits) -> Driver<u32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(life);
    let rules = [TENANT, OTHER].map(|tenant| (tenant, TenantRules::default()));
    let tenants = TenantTable {
        by_id: rules.into(),
    };
    Driver::new(
        IncarnationId::mint(NOW, &mut rng),
        Arc::clone(sources),
        Arc::new(tenants),
        limits,
        life,
    )
}

/// A source that takes so many calls at once.
pub(crate) fn source(name: &str, concurrency: u32) -> Source {
    Source {
        name: name.parse().unwrap(),
        policy: CollectionPolicy::default(),
        concurrency,
        budget: Arc::default(),
        connections: Some(ConnectionDefaults {
            schedule: Schedule::every(HOUR * 24).unwrap(),
            slow_plan: SlowPlan::default(),
            credential_fields: Arc::default(),
            attempts: None,
        }),
        maintenance: Arc::default(),
        limits: Arc::default(),
        backlog_alert: Source::DEFAULT_BACKLOG_ALERT,
    }
}

pub(crate) fn lane() -> Lane {
    Lane::source(&SOURCE.parse().unwrap())
}

/// A connection that was made just now.
pub(crate) fn connection(tenant: TenantId, number: u8, shard: u8) -> Connection {
    let mut id = [number; 16];
    (id[0], id[15]) = (tenant.as_bytes()[0], shard);
    let new = connection::New {
        id: ConnectionId::from_bytes(id),
        account: AccountId::from_bytes([9; 16]),
        tenant,
        source: SOURCE.parse().unwrap(),
        config: Config {
            label: None,
            schedule: Schedule::every(HOUR * 24).unwrap(),
            slow_plan: None,
            on_question_expired: OnQuestionExpired::Retry,
            start_date: None,
            paused: false,
        },
        credentials: None,
        asked_in: None,
    };
    let policy = connection::Policy::default();
    let made = Connection::create(NOW, new, Actor::Operator, &policy);
    made.next.unwrap()
}

pub(crate) fn collection(tenant: TenantId, source: &str, url: &str) -> Request {
    Request::Collect {
        id: None,
        tenant,
        source: source.parse().unwrap(),
        callback_url: url.into(),
        actor: Actor::Operator,
    }
}

/// What comes of a collection's call: data, or an error of a class.
pub(crate) fn fetched(class: Option<ErrorClass>, retry_at: Option<Timestamp>) -> FetchResult {
    class.map_or_else(
        || FetchResult::Fetched(Bytes::from_static(b"[1]")),
        |class| FetchResult::Failed {
            error: error(class),
            retry_at,
            unclassified: None,
        },
    )
}

/// What comes of an attempt: all went well, or an error of a class.
pub(crate) fn ran(class: Option<ErrorClass>, retry_at: Option<Timestamp>) -> RunResult {
    class.map_or(
        RunResult::Finished {
            partial: None,
            unclassified: None,
        },
        |class| RunResult::Failed {
            error: error(class),
            retry_at,
            action: wellspring_core::Action::Default,
            unclassified: None,
        },
    )
}

fn error(class: ErrorClass) -> Error {
    Error {
        class,
        code: "test_code".to_owned(),
        message: "it went wrong".to_owned(),
    }
}
