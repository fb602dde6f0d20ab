//! Who is next at a source: tenants in turn, what somebody waits for before what is scheduled, and
//! age where age decides.
#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain fails")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_core::SeedableRng;
use wellspring_core::budget::Spent;
use wellspring_core::connection::{Config, Connection, Next, State};
use wellspring_core::schedule::Schedule;
use wellspring_core::source::Announced;
use wellspring_core::{
    AccountId, Actor, CollectionId, ConnectionId, Error, ErrorClass, IncarnationId, Lane, Phase,
    Reason, Shard, TenantId, Timestamp,
};
use wellspring_engine::{
    Action, Aggregate, Batch, Command, ConnectionDefaults, DispatchAnswer, DispatchQuery, Driver,
    EffectId, Event, Lease, Limits, Live, Loaded, Origin, Request, RunOrder, RunResult, Source,
    SourceTable, TenantTable, Wish, Write,
};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn tenants_take_turns_whoever_has_most_waiting() {
    let mut bench = Bench::new(1, &[]);
    // The first tenant's have waited longest, all of them.
    let mut rows = vec![];
    for number in 0..30 {
        rows.push(bench.resting(1, number, HOUR * 9 - SECOND * number.into()));
    }
    for number in 0..3 {
        rows.push(bench.resting(2, number, HOUR));
        rows.push(bench.resting(3, number, SECOND));
    }
    bench.scan(rows);

    let order = bench.run_all();

    assert_eq!(order.len(), 36);
    let tenants: Vec<u8> = order.iter().map(|(tenant, _)| *tenant).collect();
    // The first had its slot before anybody else was known to wait.
    assert_eq!(tenants[1..10], [2, 3, 1, 2, 3, 1, 2, 3, 1]);
    assert!(tenants[10..].iter().all(|tenant| *tenant == 1));
    let firsts = order.iter().filter(|(tenant, _)| *tenant == 1);
    let firsts: Vec<u8> = firsts.map(|(_, number)| *number).collect();
    assert_eq!(firsts, (0..30).collect::<Vec<_>>(), "each its oldest first");
}

#[test]
fn what_a_person_asks_for_goes_before_what_is_scheduled() {
    let mut bench = Bench::new(1, &[]);
    let rows = (0..20).map(|number| bench.resting(1, number, HOUR));
    let rows: Vec<Live> = rows.collect();
    bench.scan(rows);
    let later = bench.resting(2, 99, Duration::ZERO);
    let Aggregate::Connection(id) = later.id else {
        unreachable!("a connection");
    };
    let at = NOW.after(HOUR * 24);
    bench.connections.get_mut(&id).unwrap().state = waiting(at);
    bench.scan(vec![Live {
        due: at,
        since: at,
        ..later
    }]);

    bench.give(Event::Command(Command {
        request: Request::Connection {
            id,
            tenant: tenant(2),
            wish: Wish::Fetch,
            actor: Actor::Operator,
        },
        key: None,
        origin: Origin::Caller(1),
    }));
    bench.settle();

    let order = bench.run_all();
    assert_eq!(order.len(), 21);
    assert_eq!(order[1], (2, 99), "after the one that was under way");
}

#[test]
fn the_scan_says_who_is_awaited_and_schedules_do_not_starve() {
    let mut bench = Bench::new(1, &[]);
    let mut rows = vec![];
    for number in 0..4 {
        rows.push(bench.resting(1, number, HOUR));
    }
    for number in 0..40 {
        rows.push(bench.made(2, number));
    }
    bench.scan(rows);

    let order = bench.run_all();

    let turns = |wanted: u8| {
        let turns = order.iter().enumerate();
        let turns = turns.filter(move |(_, (tenant, _))| *tenant == wanted);
        turns.map(|(turn, _)| turn).collect::<Vec<_>>()
    };
    assert_eq!(order.len(), 44);
    let (scheduled, awaited) = (turns(1), turns(2));
    // The first one waited for nobody.
    let gaps = scheduled.windows(2).map(|pair| pair[1] - pair[0]);
    assert_eq!(gaps.collect::<Vec<_>>(), [8; 3], "{scheduled:?}");
    assert!(awaited[..7].iter().all(|turn| *turn < 9), "{awaited:?}");
}

#[test]
fn a_probe_is_who_has_waited_longest_whoever_has_the_turn() {
    let mut bench = Bench::new(8, &[]);
    let mut rows = vec![];
    for number in 0..60 {
        let waits = HOUR - SECOND * number.into();
        rows.push(bench.resting(1 + number % 2, number, waits));
    }
    // The oldest of all is the third tenant's, who is never first in turn.
    bench.scan(rows);
    while bench.lane_phase() == Phase::Closed {
        bench.now = bench.now.after(SECOND);
        bench.fail();
    }
    while !bench.runs.is_empty() {
        bench.fail();
    }
    let oldest = bench.resting(3, 99, HOUR * 2);
    bench.scan(vec![oldest]);
    assert!(bench.runs.is_empty());

    bench.forward(HOUR);

    let (_, probe) = bench.runs.pop_front().unwrap();
    assert_eq!(Aggregate::Connection(probe.connection), oldest.id);
    assert!(bench.runs.is_empty(), "one probe at a time");
}

#[test]
fn what_waits_too_long_is_given_up_by_age_whosever_it_is() {
    let window = serde_json::json!({
        "from": NOW.to_string(), "to": NOW.after(HOUR * 200).to_string(),
    });
    let mut bench = Bench::new(8, &[&window.to_string()]);
    let policy = wellspring_core::CollectionPolicy::default();
    let mut rows = vec![];
    for number in 0..30 {
        let mut id = [number; 16];
        id[15] = 1;
        let since = NOW.after(SECOND * number.into());
        rows.push(Live {
            id: Aggregate::Collection(CollectionId::from_bytes(id)),
            due: NOW,
            since,
            lane: lane(),
            tenant: tenant(number % 7),
            awaited: false,
        });
    }
    let ids: Vec<Aggregate> = rows.iter().map(|row| row.id).collect();
    bench.scan(rows);

    bench.forward(policy.give_up_after + SECOND * 9);

    assert_eq!(bench.asked, ids[..10]);
    bench.forward(SECOND * 20);
    assert_eq!(bench.asked, ids);
    assert!(bench.runs.is_empty());
}

/// A driver, the rows that it has committed, and the attempts that it wants made.
struct Bench {
    driver: Driver<u32>,
    now: Timestamp,
    connections: BTreeMap<ConnectionId, Connection>,
    commits: VecDeque<Arc<Batch>>,
    runs: VecDeque<(EffectId, RunOrder)>,
    /// Collections that it wanted to read.
    asked: Vec<Aggregate>,
}

impl Bench {
    fn new(concurrency: u32, maintenance: &[&str]) -> Self {
        let windows = maintenance.iter();
        let windows: Vec<Announced> = windows
            .map(|json| serde_json::from_str(json).unwrap())
            .collect();
        let source = Source {
            name: "bank".parse().unwrap(),
            policy: wellspring_core::CollectionPolicy::default(),
            concurrency,
            budget: Arc::default(),
            connections: Some(ConnectionDefaults {
                schedule: Schedule::every(HOUR * 24).unwrap(),
                slow_plan: wellspring_core::schedule::SlowPlan::default(),
                credential_fields: Arc::default(),
                attempts: None,
            }),
            maintenance: windows.into(),
            limits: Arc::default(),
            backlog_alert: HOUR * 1_000,
        };
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let incarnation = IncarnationId::mint(NOW, &mut rng);
        let table = Arc::new(SourceTable::new([source]));
        let tenants = Arc::new(TenantTable::default());
        let mut bench = Self {
            driver: Driver::new(incarnation, table, tenants, Limits::default(), 1),
            now: NOW,
            connections: BTreeMap::new(),
            commits: VecDeque::new(),
            runs: VecDeque::new(),
            asked: Vec::new(),
        };
        // Not the first shard: sources are stepped there, which is another matter.
        bench.give(Event::Leased(vec![Lease {
            shard: Shard(1),
            epoch: 1,
            next_seq: 1,
        }]));
        bench.scan(vec![]);
        bench
    }

    /// A connection whose schedule was due so long ago.
    fn resting(&mut self, tenant: u8, number: u8, waits: Duration) -> Live {
        let due = NOW.before(waits);
        let mut made = connection(tenant, number);
        made.state = waiting(due);
        self.live(made, due)
    }

    /// A connection that was made just now.
    fn made(&mut self, tenant: u8, number: u8) -> Live {
        self.live(connection(tenant, number), NOW)
    }

    /// What the scan tells of it.
    fn live(&mut self, made: Connection, due: Timestamp) -> Live {
        let live = Live {
            id: Aggregate::Connection(made.id),
            due,
            since: due,
            lane: lane(),
            tenant: made.tenant,
            awaited: made.is_awaited(),
        };
        self.connections.insert(made.id, made);
        live
    }

    fn scan(&mut self, rows: Vec<Live>) {
        self.give(Event::Scanned { rows, done: true });
        self.settle();
    }

    fn give(&mut self, event: Event<u32>) {
        self.driver.handle(self.now, event);
        let mut actions = Vec::new();
        self.driver.flush(&mut actions);
        for action in actions {
            match action {
                Action::Commit(batch) => self.commits.push_back(batch),
                Action::Run(effect, order) => self.runs.push_back((effect, order)),
                Action::Load(asked) => {
                    let rows = asked.iter().filter_map(|id| self.row(*id)).collect();
                    let collections = asked.iter();
                    let collections =
                        collections.filter(|id| matches!(id, Aggregate::Collection(_)));
                    self.asked.extend(collections);
                    self.give(Event::Loaded { asked, rows });
                }
                Action::Read(number, DispatchQuery::Shard(_)) => {
                    let state = DispatchAnswer::Shard(Default::default());
                    self.give(Event::Read(number, Some(state)));
                }
                Action::Reply(..) | Action::Post(_) => {}
                Action::Resolve(_)
                | Action::Fetch(..)
                | Action::Deliver(..)
                | Action::Abort(_)
                | Action::Children(_)
                | Action::Send(..)
                | Action::Read(..)
                | Action::Release(_)
                | Action::Fenced => panic!("nobody wants this: {action:?}"),
            }
        }
    }

    fn row(&self, id: Aggregate) -> Option<Loaded> {
        let Aggregate::Connection(id) = id else {
            return None;
        };
        let row = self.connections.get(&id).cloned();
        row.map(|row| Loaded::Connection(Box::new(row)))
    }

    /// Makes durable what is to be.
    fn settle(&mut self) {
        while let Some(batch) = self.commits.pop_front() {
            for write in &batch.writes {
                if let Write::Connection(write) = write {
                    let next = write.next.clone().unwrap();
                    self.connections.insert(write.id, next);
                }
            }
            self.give(Event::Committed(batch.number, Ok(Spent::default())));
        }
    }

    /// Ends one attempt after another; returns whose they were, and which.
    fn run_all(&mut self) -> Vec<(u8, u8)> {
        let mut order = vec![];
        while let Some((effect, run)) = self.runs.pop_front() {
            order.push((run.tenant.as_bytes()[0], run.connection.as_bytes()[1]));
            let result = RunResult::Finished {
                partial: None,
                unclassified: None,
            };
            self.give(Event::Ran(effect, result));
            self.settle();
        }
        order
    }

    /// Ends the oldest attempt as one that did not reach the source.
    fn fail(&mut self) {
        let (effect, _) = self.runs.pop_front().unwrap();
        let result = RunResult::Failed {
            error: Error {
                class: ErrorClass::ConnectionFailure,
                code: "refused".to_owned(),
                message: "it cannot be reached".to_owned(),
            },
            retry_at: None,
            action: wellspring_core::Action::Default,
            unclassified: None,
        };
        self.give(Event::Ran(effect, result));
        self.settle();
    }

    fn forward(&mut self, duration: Duration) {
        let until = self.now.after(duration);
        while let Some(at) = self.driver.next_wakeup().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.give(Event::Tick);
            self.settle();
        }
        self.now = until;
        self.give(Event::Tick);
        self.settle();
    }

    fn lane_phase(&self) -> Phase {
        self.driver.lanes().remove(0).breaker
    }
}

fn connection(tenant_number: u8, number: u8) -> Connection {
    let mut id = [number; 16];
    (id[0], id[15]) = (tenant_number, 1);
    let new = wellspring_core::connection::New {
        id: ConnectionId::from_bytes(id),
        account: AccountId::from_bytes([9; 16]),
        tenant: tenant(tenant_number),
        source: "bank".parse().unwrap(),
        config: Config {
            label: None,
            schedule: Schedule::every(HOUR * 24).unwrap(),
            slow_plan: None,
            on_question_expired: wellspring_core::OnQuestionExpired::Retry,
            start_date: None,
            paused: false,
        },
        credentials: None,
        asked_in: None,
    };
    let policy = wellspring_core::connection::Policy::default();
    let made = Connection::create(NOW, new, Actor::Operator, &policy);
    made.next.unwrap()
}

fn waiting(at: Timestamp) -> State {
    let reason = Reason::Schedule;
    State::Waiting {
        next: Some(Next { at, reason }),
    }
}

const fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

fn lane() -> Lane {
    Lane::source(&"bank".parse().unwrap())
}
