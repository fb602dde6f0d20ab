//! The driver and budgets: what is spent is durable before the call, and shared by all nodes.
#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain fails")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_core::SeedableRng;
use wellspring_core::budget::{BudgetName, Ledger, Limit, Scope, Spent, Window, settle};
use wellspring_core::connection::{Config, Connection, New};
use wellspring_core::schedule::Schedule;
use wellspring_core::{
    AccountId, Actor, CollectionId, CollectionPolicy, ConnectionId, Error, ErrorClass,
    IncarnationId, Kind, Lane, Shard, State, TenantId, Timestamp,
};
use wellspring_engine::{
    Action, Aggregate, Answer, Batch, Command, ConnectionDefaults, DispatchAnswer, DispatchQuery,
    DispatchState, Driver, EffectId, Event, FetchResult, Lease, Leave, Limits, Live, Loaded,
    LoadedCollection, Origin, Request, RunResult, Source, SourceTable, TenantTable, Wish, Write,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_call_is_spent_before_it_goes_out_and_those_beyond_the_budget_wait() {
    let mut bench = Bench::new(3);
    (0..5).for_each(|_| bench.collect());
    assert!(bench.calls.is_empty(), "not spent yet");
    let first = bench.commit();
    assert_eq!((first.writes.len(), first.spends.asks.len()), (1, 1));
    assert_eq!(bench.calls.len(), 1);
    let second = bench.commit();
    assert_eq!((second.writes.len(), second.spends.asks.len()), (4, 2));
    assert_eq!(bench.calls.len(), 3, "and no commit for it alone");
    bench.commit_all();
    assert_eq!(bench.calls.len(), 3);

    bench.answer_all();
    bench.commit_all();
    assert!(bench.calls.is_empty());
    let free = bench.driver.next_wakeup().unwrap();
    assert!(free > NOW.after(MINUTE) && free < NOW.after(MINUTE + SECOND * 2));
    bench.tick(free);
    bench.commit_all();
    assert_eq!(bench.calls.len(), 2);
}

#[test]
fn what_was_spent_is_known_to_the_next_life() {
    let mut bench = Bench::new(3);
    (0..5).for_each(|_| bench.collect());
    bench.commit_all();
    assert_eq!(bench.calls.len(), 3);

    bench.restart(NOW.after(SECOND * 10));
    bench.commit_all();
    assert!(bench.calls.is_empty() && bench.lane_is_waiting());
    let free = bench.driver.lanes()[0].next_allowed_at.unwrap();
    assert!(free > NOW.after(MINUTE) && free < NOW.after(MINUTE + SECOND * 2));
    bench.tick(free);
    bench.commit_all();
    assert_eq!(
        bench.calls.len(),
        3,
        "of five that are to be made once more"
    );
}

#[test]
fn what_another_node_spent_is_not_spent_again() {
    let mut bench = Bench::new(3);
    bench.collect();
    // Between what this node knows and its commit, others take all but one.
    bench.elsewhere(3);
    let denied = bench.commit();
    assert_eq!(denied.spends.asks.len(), 1);
    bench.commit_all();
    assert!(bench.calls.is_empty() && bench.lane_is_waiting());
    let free = bench.driver.next_wakeup().unwrap();
    bench.tick(free);
    bench.commit_all();
    assert_eq!(bench.calls.len(), 1);
}

#[test]
fn the_word_of_a_source_outlives_the_process_and_may_be_longer_than_an_hour() {
    let mut bench = Bench::new(3);
    bench.collect();
    bench.commit_all();
    let until = NOW.after(MINUTE * 60 * 9);
    let effect = bench.calls.pop_front().unwrap();
    let error = Error {
        class: ErrorClass::RateLimitExceeded,
        code: "http_429".to_owned(),
        message: "the quota of the day is spent".to_owned(),
    };
    let retry_at = Some(until);
    bench.give(Event::Fetched(
        effect,
        FetchResult::Failed {
            error,
            retry_at,
            unclassified: None,
        },
    ));
    bench.commit_all();

    bench.restart(NOW.after(SECOND * 10));
    bench.collect();
    bench.commit_all();
    assert_eq!(bench.driver.lanes()[0].paused_until, Some(until));
    bench.tick(until.before(SECOND));
    bench.commit_all();
    assert!(bench.calls.is_empty());
    bench.tick(until);
    bench.commit_all();
    assert_eq!(bench.calls.len(), 2);
}

#[test]
fn a_call_that_could_not_go_out_in_time_is_spent_once_more() {
    let mut bench = Bench::new(3);
    bench.collect();
    bench.now = NOW.after(SECOND * 20);
    bench.commit();
    assert!(bench.calls.is_empty(), "others count it as long gone");
    bench.commit();
    assert_eq!(bench.calls.len(), 1);
    let spent = &bench.ledgers[&BudgetName::new("gas")];
    assert_eq!(spent.standings(bench.now)[0].used, 2);
}

#[test]
fn a_tenant_whose_calls_are_spent_holds_up_nobody_else() {
    let mut bench = Bench::limited(8, Scope::Tenant, 2);
    let other = TenantId::from_bytes([2; 16]);
    (0..5).for_each(|_| bench.collect());
    bench.commit_all();
    assert_eq!(bench.calls.len(), 2);
    (0..5).for_each(|_| bench.collect_for(other));
    bench.commit_all();
    assert_eq!(bench.calls.len(), 4);
    assert!(!bench.lane_is_waiting() && bench.driver.lanes()[0].queued == 0);

    // All that is known of them is gone, and they are asked of again.
    bench.restart(NOW.after(SECOND * 10));
    bench.commit_all();
    assert!(bench.calls.is_empty() && bench.driver.lanes()[0].queued == 0);
    let free = bench.driver.next_wakeup().unwrap();
    assert!(free > NOW.after(MINUTE) && free < NOW.after(MINUTE + SECOND * 2));
    bench.tick(free);
    bench.commit_all();
    assert_eq!(bench.calls.len(), 4);
    assert_eq!(
        bench.ledgers.len(),
        3,
        "one of the source and two of tenants"
    );
}

#[test]
fn what_a_limit_holds_back_is_given_up_in_time() {
    let month = MINUTE * 60 * 24 * 31;
    let limit = Limit {
        scope: Scope::Tenant,
        endpoint: None,
        windows: [Window {
            calls: 1,
            per: month,
        }]
        .into(),
    };
    let mut bench = Bench::with(8, [limit].into());
    (0..2).for_each(|_| bench.collect());
    bench.commit_all();
    assert_eq!(bench.calls.len(), 1);
    bench.answer_all();
    bench.commit_all();
    bench.tick(NOW.after(CollectionPolicy::default().give_up_after));
    bench.commit_all();
    assert!(bench.calls.is_empty());
    assert_eq!(bench.given_up(), 1);
}

#[test]
fn each_call_of_an_attempt_is_spent_and_one_too_many_waits() {
    let mut bench = Bench::limited(8, Scope::Connection, 2);
    let effect = bench.attempt();
    bench.call(effect, "login");
    assert_eq!(bench.leaves(), []);
    bench.commit_all();
    assert_eq!(bench.leaves(), [Some(Leave::Granted)]);
    bench.call(effect, "documents");
    bench.commit_all();
    bench.call(effect, "documents");
    bench.commit_all();
    bench.call(effect, "documents");
    let [granted, Some(Leave::NotBefore(at)), again] = bench.leaves()[..] else {
        panic!("it was not refused");
    };
    assert_eq!(granted, Some(Leave::Granted));
    assert_eq!(again, Some(Leave::NotBefore(at)), "known without a commit");
    assert!(at > NOW.after(MINUTE) && at < NOW.after(MINUTE + SECOND * 2));
    bench.now = at;
    bench.call(effect, "documents");
    bench.commit_all();
    assert_eq!(bench.leaves(), [Some(Leave::Granted)]);
}

#[test]
fn an_attempt_that_is_over_gets_no_leave() {
    let mut bench = Bench::limited(8, Scope::Connection, 2);
    let effect = bench.attempt();
    bench.call(effect, "login");
    bench.end(effect);
    bench.commit_all();
    assert_eq!(bench.leaves(), [None]);
    bench.call(effect, "login");
    assert_eq!(bench.leaves(), [None]);
}

#[test]
fn nothing_begins_at_a_source_that_takes_no_calls_at_all() {
    let mut bench = Bench::limited(8, Scope::Source, 1);
    let effect = bench.attempt();
    bench.call(effect, "login");
    bench.commit_all();
    assert_eq!(bench.leaves(), [Some(Leave::Granted)]);
    bench.end(effect);
    bench.commit_all();
    let lanes = bench.driver.lanes();
    let until = lanes[0].next_allowed_at.unwrap();
    assert!(until > NOW.after(MINUTE) && lanes[0].limits[0].standings[0].left == 0);
    bench.now = NOW.after(SECOND);
    bench.fetch();
    bench.commit_all();
    assert!(bench.runs.is_empty());
    bench.tick(until);
    bench.commit_all();
    assert_eq!(bench.runs.len(), 1);
}

#[test]
fn a_budget_that_goes_and_comes_back_leaves_nothing_reserved() {
    let mut bench = Bench::new(2);
    bench.collect();
    bench.commit_all();
    assert_eq!(bench.calls.len(), 1);

    bench.holds = true;
    bench.restart(NOW.after(SECOND * 10));
    let limited = Arc::clone(&bench.sources);
    let mut free = limited.iter().next().unwrap().clone();
    free.budget = Arc::default();
    let free = Arc::new(SourceTable::new([free]));
    bench.give(Event::Sources(free));
    bench.holds = false;
    let asked = bench.held.pop().expect("it is read with a slot");
    bench.load(asked);
    bench.commit_all();
    assert_eq!(bench.calls.len(), 1);
    bench.answer_all();
    bench.commit_all();

    bench.give(Event::Sources(limited));
    bench.collect();
    bench.commit_all();
    assert_eq!(bench.calls.len(), 1, "one of two is left");
}

#[test]
fn a_first_call_that_is_granted_past_its_give_up_time_is_given_up() {
    let mut bench = Bench::new(3);
    (0..2).for_each(|_| bench.collect());
    // The step of the second waits behind a commit that takes all its time.
    bench.now = NOW.after(CollectionPolicy::default().give_up_after);
    bench.commit_all();
    assert!(bench.calls.is_empty());
    assert_eq!(bench.given_up(), 2);
}

#[test]
fn a_repeat_that_is_granted_past_its_give_up_time_is_given_up() {
    let mut bench = Bench::new(3);
    bench.collect();
    bench.elsewhere(3);
    bench.commit_all();
    let free = bench.driver.next_wakeup().unwrap();
    bench.now = free;
    bench.collect();
    bench.tick(free);
    bench.now = NOW.after(CollectionPolicy::default().give_up_after);
    bench.commit_all();
    assert_eq!(bench.calls.len(), 1, "that of the younger one");
    assert_eq!(bench.given_up(), 1);
}

/// One driver after another on rows and ledgers that stay.
struct Bench {
    driver: Driver<u32>,
    sources: Arc<SourceTable>,
    now: Timestamp,
    commits: VecDeque<Arc<Batch>>,
    calls: VecDeque<EffectId>,
    stored: BTreeMap<CollectionId, LoadedCollection>,
    connection: Connection,
    runs: VecDeque<EffectId>,
    leaves: Vec<Option<Leave>>,
    ledgers: BTreeMap<BudgetName, Ledger>,
    lives: u64,
    /// Whether reads take long, and those that do.
    holds: bool,
    held: Vec<Vec<Aggregate>>,
}

impl Bench {
    fn new(calls: u32) -> Self {
        Self::with(calls, Arc::default())
    }

    /// With so many calls in each minute besides, in the course of what a tenant or connection does.
    fn limited(calls: u32, scope: Scope, of_them: u32) -> Self {
        let limit = Limit {
            scope,
            endpoint: None,
            windows: [Window {
                calls: of_them,
                per: MINUTE,
            }]
            .into(),
        };
        Self::with(calls, [limit].into())
    }

    fn with(calls: u32, limits: Arc<[Limit]>) -> Self {
        let source = Source {
            name: "gas".parse().unwrap(),
            policy: CollectionPolicy::default(),
            concurrency: 8,
            budget: [Window { calls, per: MINUTE }].into(),
            connections: Some(ConnectionDefaults {
                schedule: Schedule::Manual,
                slow_plan: wellspring_core::schedule::SlowPlan::default(),
                credential_fields: Arc::default(),
                attempts: None,
            }),
            maintenance: Arc::default(),
            limits,
            backlog_alert: Source::DEFAULT_BACKLOG_ALERT,
        };
        let sources = Arc::new(SourceTable::new([source]));
        let mut bench = Self {
            driver: driver(&sources, 1),
            sources,
            now: NOW,
            commits: VecDeque::new(),
            calls: VecDeque::new(),
            stored: BTreeMap::new(),
            connection: connection(),
            runs: VecDeque::new(),
            leaves: Vec::new(),
            ledgers: BTreeMap::new(),
            lives: 1,
            holds: false,
            held: Vec::new(),
        };
        bench.begin();
        bench
    }

    /// The process is killed, and another begins.
    fn restart(&mut self, now: Timestamp) {
        self.lives += 1;
        self.driver = driver(&self.sources, self.lives);
        self.commits.clear();
        self.calls.clear();
        self.now = now;
        self.begin();
    }

    fn begin(&mut self) {
        let names = self.driver.budget_names();
        let ledgers = names.iter().map(|name| self.ledgers.get(name).cloned());
        let spent = Spent {
            now: self.now,
            granted: Vec::new(),
            ledgers: ledgers.map(Option::unwrap_or_default).collect(),
        };
        self.give(Event::Spent(names, spent));
        self.give(Event::Leased(vec![Lease {
            shard: Shard(0),
            epoch: self.lives,
            next_seq: 1,
        }]));
        let live = self.stored.values().filter_map(|row| {
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
        let rows = live
            .filter(|row| row.lane == Lane::source(&"gas".parse().unwrap()))
            .collect();
        self.give(Event::Scanned { rows, done: true });
    }

    fn give(&mut self, event: Event<u32>) {
        self.driver.handle(self.now, event);
        let mut actions = Vec::new();
        self.driver.flush(&mut actions);
        for action in actions {
            match action {
                Action::Commit(batch) => self.commits.push_back(batch),
                Action::Fetch(effect, _) => self.calls.push_back(effect),
                Action::Load(asked) if self.holds => self.held.push(asked),
                Action::Load(asked) => self.load(asked),
                Action::Read(number, DispatchQuery::Shard(_)) => {
                    let state = DispatchAnswer::Shard(DispatchState::default());
                    self.give(Event::Read(number, Some(state)));
                }
                Action::Reply(_, Answer::Leave(leave)) => self.leaves.push(Some(leave)),
                Action::Reply(_, Answer::Ended) => self.leaves.push(None),
                Action::Run(effect, _) => self.runs.push_back(effect),
                Action::Reply(..) | Action::Deliver(..) => {}
                Action::Resolve(_)
                | Action::Fenced
                | Action::Release(_)
                | Action::Abort(_)
                | Action::Children(_)
                | Action::Post(_)
                | Action::Send(..)
                | Action::Read(..) => panic!("nobody wants this: {action:?}"),
            }
        }
    }

    fn load(&mut self, asked: Vec<Aggregate>) {
        let rows = asked.iter().filter_map(|id| match id {
            Aggregate::Collection(id) => {
                let row = self.stored.get(id).cloned();
                row.map(|row| Loaded::Collection(Box::new(row)))
            }
            Aggregate::Connection(_) => Some(Loaded::Connection(Box::new(self.connection.clone()))),
            Aggregate::Account(_) | Aggregate::Source(_) => None,
        });
        let rows = rows.collect();
        self.give(Event::Loaded { asked, rows });
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = now;
        self.give(Event::Tick);
    }

    /// Has the connection fetched.
    fn fetch(&mut self) {
        let request = Request::Connection {
            id: self.connection.id,
            tenant: TENANT,
            wish: Wish::Fetch,
            actor: Actor::Operator,
        };
        self.give(Event::Command(Command {
            request,
            key: None,
            origin: Origin::Caller(1),
        }));
    }

    fn attempt(&mut self) -> EffectId {
        self.fetch();
        self.commit_all();
        self.runs.pop_front().unwrap()
    }

    fn call(&mut self, effect: EffectId, endpoint: &str) {
        self.give(Event::Calling(effect, endpoint.into(), 7));
    }

    fn end(&mut self, effect: EffectId) {
        let (partial, unclassified) = (None, None);
        let result = RunResult::Finished {
            partial,
            unclassified,
        };
        self.give(Event::Ran(effect, result));
    }

    /// Returns what was said of calls since the last time.
    fn leaves(&mut self) -> Vec<Option<Leave>> {
        std::mem::take(&mut self.leaves)
    }

    fn collect(&mut self) {
        self.collect_for(TENANT);
    }

    fn collect_for(&mut self, tenant: TenantId) {
        let request = Request::Collect {
            id: None,
            tenant,
            source: "gas".parse().unwrap(),
            callback_url: "http://a.example/".into(),
            actor: Actor::Operator,
        };
        self.give(Event::Command(Command {
            request,
            key: None,
            origin: Origin::Caller(1),
        }));
    }

    fn given_up(&self) -> usize {
        let states = self.stored.values().map(|row| &row.collection.state);
        let failed = states.filter(|state| {
            matches!(
                state,
                State::Delivering {
                    kind: Kind::Failure(_),
                    ..
                }
            )
        });
        failed.count()
    }

    fn answer_all(&mut self) {
        while let Some(effect) = self.calls.pop_front() {
            let payload = FetchResult::Fetched(Bytes::from_static(b"[1]"));
            self.give(Event::Fetched(effect, payload));
        }
    }

    /// Another node spends.
    fn elsewhere(&mut self, calls: u32) {
        let ledger = self.ledgers.entry(BudgetName::new("gas"));
        let budget = Arc::clone(&self.sources.iter().next().unwrap().budget);
        let ledger = ledger.or_insert_with(|| Ledger::new(&budget));
        ledger.spend(self.now, calls);
    }

    /// Writes the next batch that spends or steps a collection.
    fn commit(&mut self) -> Arc<Batch> {
        loop {
            let (batch, tells) = self.commit_one();
            if tells || !batch.spends.is_empty() {
                return batch;
            }
        }
    }

    /// Writes the next batch; says whether it steps a collection.
    fn commit_one(&mut self) -> (Arc<Batch>, bool) {
        let batch = self.commits.pop_front().expect("a commit is wanted");
        let tells = self.write(&batch);
        let spends = &batch.spends;
        let names = spends.budgets.iter().map(|(name, _)| name.clone());
        let names: Vec<BudgetName> = names.collect();
        let ledgers = names.iter().map(|name| self.ledgers.get(name).cloned());
        let mut ledgers: Vec<Ledger> = ledgers.map(Option::unwrap_or_default).collect();
        let granted = settle(&mut ledgers, spends, self.now);
        self.ledgers.extend(names.into_iter().zip(ledgers.clone()));
        let spent = Spent {
            now: self.now,
            granted,
            ledgers,
        };
        self.give(Event::Committed(batch.number, Ok(spent)));
        (batch, tells)
    }

    fn write(&mut self, batch: &Batch) -> bool {
        let mut tells = false;
        for write in &batch.writes {
            if let Write::Connection(write) = write {
                self.connection = write.next.clone().unwrap();
            }
            let Write::Collection(write) = write else {
                continue;
            };
            tells = true;
            if let Some(next) = &write.next {
                let loaded = LoadedCollection {
                    collection: next.clone(),
                    payload: write.payload.clone(),
                    live: next.next_wakeup().is_some(),
                };
                self.stored.insert(write.id, loaded);
            }
        }
        tells
    }

    fn commit_all(&mut self) {
        while !self.commits.is_empty() {
            self.commit_one();
        }
    }

    fn lane_is_waiting(&self) -> bool {
        let lanes = self.driver.lanes();
        lanes[0].in_flight == 0 && lanes[0].queued > 0 && lanes[0].next_allowed_at.is_some()
    }
}

fn connection() -> Connection {
    let new = New {
        id: ConnectionId::from_bytes([0; 16]),
        account: AccountId::from_bytes([0; 16]),
        tenant: TENANT,
        source: "gas".parse().unwrap(),
        config: Config {
            label: None,
            schedule: Schedule::Manual,
            slow_plan: None,
            on_question_expired: wellspring_core::OnQuestionExpired::Retry,
            start_date: None,
            paused: false,
        },
        credentials: None,
        asked_in: None,
    };
    let policy = wellspring_core::connection::Policy::default();
    Connection::create(NOW, new, Actor::Operator, &policy)
        .next
        .unwrap()
}

fn driver(sources: &Arc<SourceTable>, life: u64) -> Driver<u32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(life);
    Driver::new(
        IncarnationId::mint(NOW, &mut rng),
        Arc::clone(sources),
        Arc::new(TenantTable::default()),
        Limits::default(),
        life,
    )
}
