//! The driver and sources: what keeps a lane still, what calls show, and who is told.
#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain fails")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_core::SeedableRng;
use wellspring_core::budget::Spent;
use wellspring_core::connection::{Config, Connection};
use wellspring_core::schedule::Schedule;
use wellspring_core::source::{self, Announced, Hold, Input, Patch};
use wellspring_core::{
    AccountId, Actor, AlertKind, AlertWrite, ConnectionId, ConnectionState, Error, ErrorClass,
    IncarnationId, IncidentKind, Lane, Phase, Shard, SourceId, TenantId, Timestamp,
};
use wellspring_engine::{
    Action, Aggregate, BUDGET_SPENT, Batch, Command, ConnectionDefaults, DispatchAnswer,
    DispatchQuery, Driver, EffectId, Event, FetchResult, LaneView, Lease, Limits, Live, Loaded,
    Origin, Request, RunResult, Source, SourceTable, TenantRules, TenantTable, Write,
};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const OTHER: TenantId = TenantId::from_bytes([2; 16]);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A driver, the rows that it has committed, and the attempts that it wants made.
struct Bench {
    driver: Driver<u32>,
    now: Timestamp,
    sources: BTreeMap<SourceId, source::Source>,
    connections: BTreeMap<ConnectionId, Connection>,
    batches: Vec<Arc<Batch>>,
    commits: VecDeque<Arc<Batch>>,
    runs: VecDeque<EffectId>,
    fetches: VecDeque<EffectId>,
    posted: Vec<Request>,
    /// Whether the database answers no reads.
    unreadable: bool,
}

impl Bench {
    /// A node that has these shards, with connections that are due in its last one.
    fn new(shards: &[u8], connections: u8, file: &[&str]) -> Self {
        let windows: Vec<Announced> = file
            .iter()
            .map(|json| serde_json::from_str(json).unwrap())
            .collect();
        let source = Source {
            name: "bank".parse().unwrap(),
            policy: wellspring_core::CollectionPolicy::default(),
            concurrency: 8,
            budget: Arc::default(),
            connections: Some(ConnectionDefaults {
                schedule: Schedule::every(HOUR * 24).unwrap(),
                slow_plan: wellspring_core::schedule::SlowPlan::default(),
                credential_fields: Arc::default(),
                attempts: None,
            }),
            maintenance: windows.into(),
            limits: Arc::default(),
            backlog_alert: MINUTE * 15,
        };
        let rules = [TENANT, OTHER].map(|tenant| (tenant, TenantRules::default()));
        let tenants = TenantTable {
            by_id: rules.into(),
        };
        let incarnation = IncarnationId::mint(NOW, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1));
        let table = Arc::new(SourceTable::new([source]));
        let limits = Limits::default();
        let driver = Driver::new(incarnation, table, Arc::new(tenants), limits, 1);
        let used = source::Source {
            version: 1,
            tenants: [TENANT].into(),
            ..source::Source::fresh("bank".parse().unwrap())
        };
        let shard = *shards.last().unwrap();
        let made = (0..connections).map(|number| connection(number, shard));
        let mut bench = Self {
            driver,
            now: NOW,
            sources: [(used.id(), used)].into(),
            connections: made.map(|made| (made.id, made)).collect(),
            batches: Vec::new(),
            commits: VecDeque::new(),
            runs: VecDeque::new(),
            fetches: VecDeque::new(),
            posted: Vec::new(),
            unreadable: false,
        };
        bench.give(Event::Kept(bench.sources.values().cloned().collect()));
        let leases = shards.iter().map(|shard| Lease {
            shard: Shard(*shard),
            epoch: 1,
            next_seq: 1,
        });
        bench.give(Event::Leased(leases.collect()));
        let lane = Lane::source(&"bank".parse().unwrap());
        let rows = bench.connections.keys().map(|id| Live {
            id: Aggregate::Connection(*id),
            due: NOW,
            since: NOW,
            lane,
            tenant: TENANT,
            awaited: false,
        });
        let rows = rows.collect();
        bench.give(Event::Scanned { rows, done: true });
        bench.settle();
        bench
    }

    fn give(&mut self, event: Event<u32>) {
        self.driver.handle(self.now, event);
        let mut actions = Vec::new();
        self.driver.flush(&mut actions);
        for action in actions {
            match action {
                Action::Commit(batch) => self.commits.push_back(batch),
                Action::Run(effect, _) => self.runs.push_back(effect),
                Action::Fetch(effect, _) => self.fetches.push_back(effect),
                Action::Post(request) => self.posted.push(*request),
                Action::Load(asked) if self.unreadable => self.give(Event::LoadFailed(asked)),
                Action::Load(asked) => {
                    let rows = asked.iter().filter_map(|id| self.row(*id)).collect();
                    self.give(Event::Loaded { asked, rows });
                }
                Action::Read(number, DispatchQuery::Shard(_)) => {
                    let state = DispatchAnswer::Shard(Default::default());
                    self.give(Event::Read(number, Some(state)));
                }
                Action::Reply(..) | Action::Deliver(..) => {}
                Action::Resolve(_)
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
        match id {
            Aggregate::Source(id) => {
                let row = self.sources.get(&id).cloned();
                row.map(|row| Loaded::Source(Box::new(row)))
            }
            Aggregate::Connection(id) => {
                let row = self.connections.get(&id).cloned();
                row.map(|row| Loaded::Connection(Box::new(row)))
            }
            Aggregate::Collection(_) | Aggregate::Account(_) => None,
        }
    }

    /// Makes durable what is to be.
    fn settle(&mut self) {
        while let Some(batch) = self.commits.pop_front() {
            for write in &batch.writes {
                match write {
                    Write::Source(write) => drop(self.sources.insert(write.id, write.next.clone())),
                    Write::Connection(write) => {
                        let next = write.next.clone().unwrap();
                        self.connections.insert(write.id, next);
                    }
                    Write::Collection(_) => {}
                    Write::Account(_) => panic!("{write:?}"),
                }
            }
            self.give(Event::Committed(batch.number, Ok(Spent::default())));
            self.batches.push(batch);
        }
    }

    /// Ends the oldest attempt.
    fn end(&mut self, class: Option<ErrorClass>) {
        self.end_until(class, None);
    }

    fn end_until(&mut self, class: Option<ErrorClass>, retry_at: Option<Timestamp>) {
        let effect = self.runs.pop_front().unwrap();
        let result = class.map_or(
            RunResult::Finished {
                partial: None,
                unclassified: None,
            },
            |class| RunResult::Failed {
                error: Error {
                    class,
                    code: "test_code".to_owned(),
                    message: "it went wrong".to_owned(),
                },
                retry_at,
                action: wellspring_core::Action::Default,
                unclassified: None,
            },
        );
        self.give(Event::Ran(effect, result));
        self.settle();
    }

    /// Ends the oldest attempt by what its own session says where a budget is spent.
    fn hold_back(&mut self, until: Timestamp) {
        let effect = self.runs.pop_front().unwrap();
        let error = Error {
            class: ErrorClass::RateLimitExceeded,
            code: BUDGET_SPENT.to_owned(),
            message: "as many calls were made as the budget allows".to_owned(),
        };
        let result = RunResult::Failed {
            error,
            retry_at: Some(until),
            action: wellspring_core::Action::Default,
            unclassified: None,
        };
        self.give(Event::Ran(effect, result));
        self.settle();
    }

    /// Accepts a collection of a tenant.
    fn collect(&mut self, tenant: TenantId) {
        let request = Request::Collect {
            id: None,
            tenant,
            source: "bank".parse().unwrap(),
            callback_url: "https://example.com/callback".into(),
            actor: Actor::Operator,
        };
        self.give(Event::Command(Command {
            request,
            key: None,
            origin: Origin::Caller(1),
        }));
        self.settle();
    }

    /// Has a collection of a tenant called for once, which ends so.
    fn call(&mut self, tenant: TenantId, class: Option<ErrorClass>) {
        self.collect(tenant);
        let effect = self.fetches.pop_back().unwrap();
        let result = class.map_or_else(
            || FetchResult::Fetched(bytes::Bytes::from_static(b"[]")),
            |class| FetchResult::Failed {
                error: Error {
                    class,
                    code: "test_code".to_owned(),
                    message: "it went wrong".to_owned(),
                },
                retry_at: None,
                unclassified: None,
            },
        );
        self.give(Event::Fetched(effect, result));
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

    fn patch(&mut self, patch: Patch) {
        let request = Request::Source {
            name: "bank".parse().unwrap(),
            tenant: TENANT,
            input: Box::new(Input::Patched(patch, Actor::Operator)),
        };
        self.give(Event::Command(Command {
            request,
            key: None,
            origin: Origin::Caller(1),
        }));
        self.settle();
    }

    fn lane(&self) -> LaneView {
        self.driver.lanes().remove(0)
    }

    fn kept(&self) -> &source::Source {
        self.sources.values().next().unwrap()
    }

    /// Alerts that were opened and that were closed so far.
    fn alerts(&self, wanted: AlertKind) -> (usize, usize) {
        let writes = self.batches.iter().flat_map(|batch| &batch.writes);
        let (mut opened, mut closed) = (Vec::new(), 0);
        for write in writes {
            let Write::Source(write) = write else {
                continue;
            };
            for alert in &write.alerts {
                match alert {
                    AlertWrite::Open(alert) if alert.kind == wanted => opened.push(alert.id),
                    AlertWrite::Close(id, _) => closed += usize::from(opened.contains(id)),
                    AlertWrite::Open(_) | AlertWrite::Again(..) | AlertWrite::Acknowledge(..) => {}
                }
            }
        }
        (opened.len(), closed)
    }

    /// Paths that the log has got so far.
    fn said(&self, part: &str) -> usize {
        let entries = self.batches.iter().flat_map(|batch| &batch.entries);
        let paths = entries.map(|entry| entry.change.subject.to_string());
        paths.filter(|path| path.contains(part)).count()
    }
}

fn connection(number: u8, shard: u8) -> Connection {
    let mut id = [number; 16];
    id[15] = shard;
    let new = wellspring_core::connection::New {
        id: ConnectionId::from_bytes(id),
        account: AccountId::from_bytes([9; 16]),
        tenant: TENANT,
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
    Connection::create(NOW, new, Actor::Operator, &policy)
        .next
        .unwrap()
}

/// A window that begins so much later.
fn window(from: Duration, to: Duration) -> Announced {
    let json = serde_json::json!({
        "from": NOW.after(from).to_string(),
        "to": NOW.after(to).to_string(),
    });
    serde_json::from_value(json).unwrap()
}

#[test]
fn nothing_goes_out_in_an_announced_window_and_what_has_gathered_goes_out_by_and_by() {
    let mut bench = Bench::new(&[0], 0, &[]);
    bench.patch(Patch {
        windows: Some(vec![window(Duration::ZERO, HOUR)]),
        ..Patch::default()
    });
    assert_eq!(bench.lane().hold, Some(Hold::Until(NOW.after(HOUR))));
    for number in 0..20 {
        let made = connection(number, 0);
        bench.connections.insert(made.id, made);
    }
    let rows = bench.connections.keys().map(|id| Live {
        id: Aggregate::Connection(*id),
        due: NOW,
        since: NOW,
        lane: Lane::source(&"bank".parse().unwrap()),
        tenant: TENANT,
        awaited: false,
    });
    let rows = rows.collect();
    bench.give(Event::Scanned { rows, done: true });
    bench.forward(HOUR - SECOND);
    assert_eq!((bench.runs.len(), bench.lane().queued), (0, 20));

    bench.forward(SECOND);

    let lane = bench.lane();
    assert_eq!((lane.hold, bench.runs.len()), (None, 1), "one at first");
    let mut most = vec![];
    while !bench.runs.is_empty() {
        bench.end(None);
        most.push(bench.runs.len());
    }
    assert_eq!(most[..4], [2, 4, 8, 8], "and more with each success");
    assert_eq!(most.len(), 20);
    let spent = bench.connections.values().map(|one| one.retries);
    assert_eq!(spent.max(), Some(0));
    assert_eq!(bench.said("/incidents/"), 2, "told once at each end");
}

#[test]
fn a_window_of_the_file_is_told_at_each_end_without_any_call() {
    let file = r#"{"every": "daily 00:00-24:00", "reason": "For good"}"#;
    let mut bench = Bench::new(&[0], 3, &[file]);
    assert!(matches!(bench.lane().hold, Some(Hold::Until(_))));
    assert_eq!(bench.runs.len(), 0);
    assert_eq!(bench.said("/incidents/"), 1);
    bench.forward(HOUR * 30);
    assert_eq!(bench.runs.len(), 0, "the next day follows at once");
    assert!(bench.kept().incident.is_some());
}

#[test]
fn a_source_that_answers_nobody_is_an_outage_of_one_alert_until_it_answers() {
    let mut bench = Bench::new(&[0], 30, &[]);
    let began = bench.now;
    while bench.kept().incident.is_none() {
        if bench.runs.is_empty() {
            bench.forward(SECOND);
        } else {
            bench.now = bench.now.after(Duration::from_millis(300));
            bench.end(Some(ErrorClass::ConnectionFailure));
        }
        assert!(bench.now.since(began) < MINUTE * 10, "{:?}", bench.lane());
    }
    let incident = bench.kept().incident.clone().unwrap();
    assert_eq!(incident.kind, IncidentKind::Outage);
    assert!(matches!(bench.lane().breaker, Phase::Open { .. }));
    assert_eq!(bench.alerts(AlertKind::SourceDown), (1, 0));

    while bench.kept().incident.is_some() {
        if bench.runs.is_empty() {
            bench.forward(SECOND);
        } else {
            bench.end(None);
        }
    }
    assert_eq!(bench.alerts(AlertKind::SourceDown), (1, 1));
    assert_eq!(bench.said("/incidents/"), 2);
    assert_eq!(bench.lane().breaker, Phase::Closed);
}

#[test]
fn an_answer_of_maintenance_costs_one_probe_at_a_time_and_no_retry() {
    let mut bench = Bench::new(&[0], 20, &[]);
    assert_eq!(bench.runs.len(), 8);
    bench.end(Some(ErrorClass::BankMaintenance));
    assert!(bench.kept().incident.is_some());
    while !bench.runs.is_empty() {
        bench.end(Some(ErrorClass::BankMaintenance));
    }
    let mut probes = 0;
    for _ in 0..12 * 6 {
        bench.forward(MINUTE * 10);
        assert!(bench.runs.len() <= 1, "{}", bench.runs.len());
        while !bench.runs.is_empty() {
            probes += 1;
            bench.end(Some(ErrorClass::BankMaintenance));
        }
    }
    assert!((6..=20).contains(&probes), "{probes} in half a day");
    assert_eq!(bench.said("/incidents/"), 1);
    let connections = bench.connections.values();
    let charged =
        connections.filter(|one| one.retries > 0 || one.state() == ConnectionState::Error);
    assert_eq!(charged.count(), 0);

    bench.forward(HOUR);
    let mut ended = 0;
    while bench.lane().queued > 0 || !bench.runs.is_empty() {
        if bench.runs.is_empty() {
            bench.forward(MINUTE);
        } else {
            bench.end(None);
            ended += 1;
        }
    }
    assert!(ended >= 19, "{ended}");
    assert_eq!(bench.kept().incident, None);
    assert_eq!(bench.said("/incidents/"), 2);
}

#[test]
fn one_connection_in_maintenance_keeps_nobody_still_where_others_are_answered() {
    let mut bench = Bench::new(&[0], 8, &[]);
    bench.end(None);
    bench.end(Some(ErrorClass::BankMaintenance));
    bench.end(None);
    bench.end(Some(ErrorClass::BankMaintenance));
    bench.end(None);
    assert_eq!(bench.kept().incident, None);
    assert_eq!(bench.lane().hold, None);
}

#[test]
fn an_end_that_could_not_be_stepped_is_stepped_once_the_database_answers() {
    let end = NOW.after(HOUR).to_string();
    let file = format!(r#"{{"from": "{NOW}", "to": "{end}"}}"#);
    let mut bench = Bench::new(&[0], 3, &[&file]);
    assert!(bench.kept().incident.is_some());
    bench.unreadable = true;
    bench.forward(HOUR + MINUTE);
    assert!(bench.kept().incident.is_some(), "the step was lost");
    bench.unreadable = false;
    bench.forward(MINUTE);
    assert_eq!(bench.kept().incident, None);
}

#[test]
fn a_source_that_throttles_several_and_serves_nobody_is_left_alone_until_it_said() {
    let mut bench = Bench::new(&[0], 16, &[]);
    let throttled = Some(ErrorClass::RateLimitExceeded);
    let until = NOW.after(HOUR);
    bench.end_until(throttled, Some(until));
    bench.end_until(throttled, Some(until));
    bench.end(None);
    bench.end_until(throttled, Some(until));
    bench.end_until(throttled, Some(until));
    assert_eq!(bench.lane().paused_until, None, "it serves others");
    bench.end_until(throttled, Some(until));
    assert_eq!(bench.lane().paused_until, Some(until));
    // Those that are under way end; no other goes out.
    while !bench.runs.is_empty() {
        bench.end(None);
    }
    bench.forward(HOUR - SECOND);
    assert!(bench.runs.is_empty());
    bench.forward(SECOND);
    assert!(!bench.runs.is_empty());
}

#[test]
fn connections_that_our_own_budget_holds_back_keep_no_other_still() {
    let mut bench = Bench::new(&[0], 16, &[]);
    let until = NOW.after(HOUR);
    for _ in 0..5 {
        bench.hold_back(until);
    }
    assert_eq!(bench.lane().paused_until, None, "the source said nothing");
    assert_eq!(bench.runs.len(), 8, "others go on");
    let held_back = bench.connections.values();
    let held_back = held_back.filter(|one| one.retries == 0 && one.waits == 1);
    assert_eq!(held_back.count(), 5);
}

#[test]
fn what_our_own_budget_holds_back_ends_no_outage() {
    let mut bench = Bench::new(&[0], 30, &[]);
    while bench.kept().incident.is_none() {
        if bench.runs.is_empty() {
            bench.forward(SECOND);
        } else {
            bench.now = bench.now.after(Duration::from_millis(300));
            bench.end(Some(ErrorClass::ConnectionFailure));
        }
    }
    let outage = bench.kept().incident.clone();
    for _ in 0..5 {
        while bench.runs.is_empty() {
            bench.forward(SECOND);
        }
        let until = bench.now.after(HOUR);
        bench.hold_back(until);
    }
    assert_eq!(bench.kept().incident, outage);
    assert_ne!(bench.lane().breaker, Phase::Closed, "nobody has answered");

    while bench.kept().incident.is_some() {
        if bench.runs.is_empty() {
            bench.forward(SECOND);
        } else {
            bench.end(None);
        }
    }
    assert_eq!(bench.alerts(AlertKind::SourceDown), (1, 1));
}

#[test]
fn an_attempt_that_could_not_read_what_it_begins_with_says_nothing_of_the_source() {
    let mut bench = Bench::new(&[0], 1, &[]);
    let connection = bench.connections.clone();
    for _ in 0..3 {
        let effect = bench.runs.pop_front().unwrap();
        bench.give(Event::Ran(effect, RunResult::NotBegun));
        bench.settle();
        assert!(bench.runs.is_empty(), "not at once");
        bench.forward(SECOND);
    }
    assert_eq!(bench.connections, connection, "nothing is spent");
    bench.end(None);
    assert_ne!(bench.connections, connection);
}

#[test]
fn work_that_waits_too_long_for_its_turn_is_told_once_and_told_when_it_is_over() {
    let mut bench = Bench::new(&[0], 20, &[]);
    bench.forward(MINUTE * 14);
    assert_eq!(bench.alerts(AlertKind::Backlog), (0, 0));
    bench.forward(MINUTE * 2);
    assert_eq!(bench.alerts(AlertKind::Backlog), (1, 0));
    bench.forward(HOUR * 2);
    assert_eq!(bench.alerts(AlertKind::Backlog), (1, 0));
    while !bench.runs.is_empty() {
        bench.end(None);
    }
    bench.forward(MINUTE);
    assert_eq!(bench.alerts(AlertKind::Backlog), (1, 1));
}

#[test]
fn collections_that_are_throttled_alert_their_tenant_once_and_one_that_is_not_mends_it() {
    let mut bench = Bench::new(&[0], 0, &[]);
    let throttled = Some(ErrorClass::RateLimitExceeded);
    let kind = AlertKind::Throttled;
    bench.call(OTHER, None);
    bench.call(OTHER, throttled);
    assert_eq!(bench.alerts(kind), (1, 0));
    let steps = bench.kept().version;
    for _ in 0..5 {
        bench.call(OTHER, throttled);
    }
    assert_eq!(bench.kept().version, steps, "told at most once a minute");
    bench.forward(MINUTE);
    bench.call(OTHER, throttled);
    assert_eq!(bench.kept().version, steps + 1, "it is met still");
    bench.call(TENANT, None);
    assert_eq!(
        bench.alerts(kind),
        (1, 0),
        "another tenant's call mends nothing"
    );
    assert_eq!(bench.kept().alerts[0].0, OTHER);

    bench.call(OTHER, Some(ErrorClass::ProductNotAvailable));
    assert_eq!(bench.alerts(kind), (1, 1));
    assert_eq!(bench.said("/alerts/"), 2);
    let steps = bench.kept().version;
    bench.call(OTHER, None);
    assert_eq!(bench.kept().version, steps, "nothing is left to mend");
}

#[test]
fn a_collection_whose_connector_crashes_alerts_the_operator_until_another_tenants_call_is_well() {
    let mut bench = Bench::new(&[0], 0, &[]);
    for (class, kind) in [
        (ErrorClass::InternalError, AlertKind::ConnectorCrashed),
        (ErrorClass::InvalidRequest, AlertKind::InvalidRequest),
    ] {
        bench.call(OTHER, Some(class));
        assert_eq!(bench.alerts(kind), (1, 0));
        assert_eq!(
            bench.kept().alerts[0].0,
            TENANT,
            "who runs the installation"
        );
        bench.call(TENANT, None);
        assert_eq!(bench.alerts(kind), (1, 1));
    }
    bench.call(OTHER, Some(ErrorClass::AuthenticationError));
    assert_eq!(bench.alerts(AlertKind::Deauthorised), (1, 0));
    bench.forward(HOUR * 26);
    assert_eq!(bench.alerts(AlertKind::Deauthorised), (1, 1), "in time");
}

#[test]
fn what_collections_show_another_node_is_told_with_what_mends_it() {
    let mut bench = Bench::new(&[7], 0, &[]);
    let throttled = Some(ErrorClass::RateLimitExceeded);
    for class in [throttled, throttled, None, None] {
        bench.call(TENANT, class);
    }
    let told = bench.posted.iter().map(|request| {
        let Request::Source { input, .. } = request else {
            panic!("{request:?}");
        };
        (**input).clone()
    });
    let told: Vec<Input> = told.collect();
    let failed = (ErrorClass::RateLimitExceeded, "test_code".to_owned());
    let tenant = TENANT;
    // Its alert is not known here yet, and is mended all the same.
    let failed = Some(failed);
    assert_eq!(
        told,
        [
            Input::CallEnded { tenant, failed },
            Input::CallEnded {
                tenant,
                failed: None
            }
        ]
    );
}

#[test]
fn a_connection_that_is_throttled_says_nothing_of_its_source() {
    let mut bench = Bench::new(&[0], 3, &[]);
    bench.end(Some(ErrorClass::RateLimitExceeded));
    bench.end(Some(ErrorClass::InternalError));
    assert_eq!(bench.kept().alerts, []);
}

#[test]
fn what_another_node_steps_is_left_to_it_and_heard_of_from_it() {
    let mut bench = Bench::new(&[7], 20, &[]);
    bench.end(Some(ErrorClass::BankMaintenance));
    assert_eq!(bench.posted.len(), 1);
    let Request::Source { input, .. } = &bench.posted[0] else {
        panic!("{:?}", bench.posted);
    };
    assert!(matches!(**input, Input::MaintenanceMet { .. }));
    bench.end(Some(ErrorClass::BankMaintenance));
    assert_eq!(bench.posted.len(), 1, "not at every call");

    let disabled = source::Source {
        version: 5,
        disabled_at: Some(bench.now),
        ..bench.kept().clone()
    };
    bench.give(Event::Kept(vec![disabled.clone()]));
    assert_eq!(bench.lane().hold, Some(Hold::Disabled));
    let older = source::Source {
        version: 4,
        disabled_at: None,
        ..disabled
    };
    bench.give(Event::Kept(vec![older]));
    assert_eq!(bench.lane().hold, Some(Hold::Disabled));
}
