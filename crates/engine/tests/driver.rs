//! The driver as a machine: events in, actions out; no store, no task, no clock.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_core::SeedableRng;
use wellspring_core::budget::Spent;
use wellspring_core::{
    Actor, CollectionId, CollectionPolicy, Error, ErrorClass, IncarnationId, Shard, SourceId,
    State, TenantId, Timestamp, source,
};
use wellspring_engine::{
    Action, Aggregate, Answer, Batch, Busy, Command, CommitError, DeliverOrder, DeliverResult,
    DispatchAnswer, DispatchQuery, DispatchState, Driver, EffectId, Event, FetchOrder, FetchResult,
    Key, Lease, Limits, Loaded, LoadedCollection, Origin, Request, Source, SourceTable,
    TenantTable, Write,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const KEY: Key = Key {
    hash: [1; 32],
    fingerprint: [2; 32],
};
const URL: &str = "http://a.example/";

#[test]
fn nothing_is_answered_or_called_before_the_commit_and_what_comes_meanwhile_shares_the_next() {
    let mut bench = Bench::new(32);
    for caller in 1..=3 {
        bench.collect(caller, URL, None);
    }
    assert!(bench.replies.is_empty() && bench.fetches.is_empty());
    assert_eq!(bench.commits.len(), 1, "one commit at a time");

    let first = bench.commit();
    assert_eq!((first.writes.len(), first.entries[0].seq), (1, 1));
    assert_eq!((bench.replies.len(), bench.fetches.len()), (1, 1));
    let seqs: Vec<u64> = bench
        .commit()
        .entries
        .iter()
        .map(|entry| entry.seq)
        .collect();
    assert_eq!(seqs, [2, 3], "group commit");
    assert_eq!((bench.replies.len(), bench.fetches.len()), (3, 3));
}

#[test]
fn the_happy_path_reads_nothing_back() {
    let mut bench = Bench::new(32);
    bench.collect(1, URL, None);
    bench.commit();
    bench.fetch_ok();
    assert!(
        bench.deliveries.is_empty(),
        "not before the data is durable"
    );
    bench.commit();
    let (effect, order) = bench.deliveries.pop_front().unwrap();
    assert_eq!((&order.payload[..], order.message), (&b"[1]"[..], 1));
    bench.give(Event::Delivered(effect, DeliverResult::Delivered));
    bench.commit();
    assert_eq!(
        (bench.driver.counters().delivered, bench.driver.backlog()),
        (1, 0)
    );
    assert!(bench.driver.is_idle());
}

#[test]
fn a_database_that_is_away_refuses_new_work_and_keeps_the_old() {
    let mut bench = Bench::new(32);
    bench.collect(1, URL, None);
    bench.commit();
    bench.fetch_ok();
    bench.collect(2, URL, None);
    bench.fail_commit(CommitError::NotCommitted("disk full".to_owned()));
    bench.collect(3, URL, None);
    let refused = |caller| (caller, Answer::Busy(Busy::Database));
    assert_eq!(bench.replies[1..], [refused(2), refused(3)]);
    assert!(bench.driver.is_store_down() && bench.commits.is_empty());

    bench.tick();
    let again = bench.commit();
    let Write::Collection(write) = &again.writes[0] else {
        panic!("it is a collection's");
    };
    assert!(matches!(
        write.next.as_ref().unwrap().state,
        State::Delivering { .. }
    ));
    assert_eq!(bench.deliveries.len(), 1, "what was fetched is not lost");
    bench.collect(4, URL, None);
    bench.commit();
    assert!(matches!(bench.replies[3], (4, Answer::Done(_))));
}

#[test]
fn an_unknown_outcome_is_asked_for_and_never_guessed() {
    for durable in [true, false] {
        let mut bench = Bench::new(32);
        bench.collect(1, URL, None);
        let number = bench.commits.front().unwrap().number;
        bench.fail_commit(CommitError::Unknown("connection lost".to_owned()));
        assert!(
            bench.replies.is_empty(),
            "nothing is said while nothing is known"
        );
        bench.tick();
        bench.give(Event::Resolved(number, None));
        bench.tick();
        assert_eq!(bench.resolves, [number, number]);
        bench.give(Event::Resolved(number, Some(durable)));
        if durable {
            assert!(matches!(bench.replies[..], [(1, Answer::Done(_))]));
        } else {
            assert_eq!(bench.replies, [(1, Answer::Busy(Busy::Database))]);
        }
        assert_eq!(bench.fetches.len(), usize::from(durable));
    }
}

#[test]
fn a_late_result_of_an_erased_collection_is_dropped_and_its_slot_is_free() {
    let mut bench = Bench::new(1);
    bench.collect(1, URL, None);
    bench.commit();
    let (_, order) = bench.fetches.front().unwrap();
    let request = Request::Erase {
        id: order.id,
        tenant: TENANT,
        actor: Actor::Operator,
    };
    bench.give(Event::Command(Command {
        request,
        key: None,
        origin: Origin::Caller(2),
    }));
    bench.commit();
    bench.fetch_ok();
    assert!(bench.commits.is_empty() && bench.deliveries.is_empty());
    assert_eq!(bench.driver.counters().stale_results, 1);
    bench.collect(3, URL, None);
    bench.commit();
    assert_eq!(bench.fetches.len(), 1, "the one slot was given back");
}

#[test]
fn a_receiver_that_hangs_holds_up_nobody_else() {
    let mut bench = Bench::new(1_000);
    for n in 0..41 {
        let url = if n < 40 {
            "http://hanging.example/hook"
        } else {
            "http://other.example/hook"
        };
        assert_eq!(
            bench.deliveries.len(),
            n.min(16),
            "at most 16 are in flight to one host"
        );
        bench.collect(1, url, None);
        bench.commit();
        bench.fetch_ok();
        bench.commit();
    }
    assert_eq!(bench.deliveries.len(), 17);
    assert!(
        bench
            .deliveries
            .back()
            .unwrap()
            .1
            .callback_url
            .contains("other")
    );
    let (effect, _) = bench.deliveries.pop_front().unwrap();
    bench.give(Event::Delivered(effect, DeliverResult::Delivered));
    assert_eq!(
        bench.deliveries.len(),
        17,
        "a slot that is free is taken at once"
    );
}

#[test]
fn an_outage_costs_probes_and_the_backlog_drains_in_steps() {
    let mut bench = Bench::new(8);
    let total = 200;
    for n in 0..total {
        bench.collect(n, URL, None);
        bench.commit();
    }
    let mut calls = 0_u32;
    let end = NOW.after(Duration::from_secs(6 * 3_600));
    while bench.now < end {
        while let Some((effect, _)) = bench.fetches.pop_front() {
            calls += 1;
            bench.now = bench.now.after(Duration::from_millis(100));
            bench.give(Event::Fetched(
                effect,
                FetchResult::Failed {
                    error: down(),
                    retry_at: None,
                    unclassified: None,
                },
            ));
        }
        bench.settle();
    }
    // Some hundred calls until the breaker opens, then one a minute.
    assert!(
        calls < 700,
        "{calls} calls for {total} collections in six hours"
    );
    assert!(bench.driver.counters().probes > 300);

    let (mut in_flight, mut fetched) = (Vec::new(), 0);
    while fetched < 100 {
        in_flight.push(bench.fetches.len());
        for _ in 0..bench.fetches.len() {
            bench.fetch_ok();
            fetched += 1;
        }
        bench.settle();
    }
    assert!(in_flight.iter().all(|calls| *calls <= 8), "{in_flight:?}");
    assert!(
        in_flight[..2].iter().all(|calls| *calls <= 2),
        "no herd: {in_flight:?}"
    );
}

#[test]
fn while_the_database_takes_nothing_no_further_call_begins() {
    let mut bench = Bench::new(1);
    for caller in 0..5 {
        bench.collect(caller, URL, None);
        bench.commit();
    }
    bench.fetch_ok();
    bench.fetches.clear();
    bench.fail_commit(CommitError::NotCommitted("disk full".to_owned()));
    bench.tick();
    bench.fail_commit(CommitError::NotCommitted("disk full".to_owned()));
    assert!(
        bench.fetches.is_empty(),
        "what would come of it could not be kept"
    );
    bench.tick();
    bench.commit();
    assert_eq!(bench.deliveries.len(), 1);
    assert!(bench.driver.in_flight() > 1, "and then the lane goes on");
}

#[test]
fn at_the_nodes_limit_lanes_take_turns() {
    let limits = Limits {
        in_flight: 2,
        ..Limits::default()
    };
    let mut bench = Bench::with(100, limits);
    for caller in 0..12 {
        let source = if caller < 8 { "gas" } else { "oil" };
        bench.collect_from(caller, source, URL, None);
        bench.commit();
    }
    let mut order = Vec::new();
    while order.len() < 12 {
        if let Some((_, fetch)) = bench.fetches.front() {
            order.push(fetch.source.to_string());
            bench.fetch_ok();
        }
        bench.commit_all();
        if let Some((effect, _)) = bench.deliveries.pop_front() {
            bench.give(Event::Delivered(effect, DeliverResult::Delivered));
        }
        bench.commit_all();
    }
    let oil = order.iter().position(|source| source == "oil");
    assert!(
        oil.is_some_and(|place| place <= 4),
        "the later source gets its turn: {order:?}"
    );
}

#[test]
fn one_idempotency_key_is_one_request_also_while_the_first_is_under_way() {
    let mut bench = Bench::new(32);
    bench.collect(1, URL, Some(KEY));
    bench.collect(2, URL, Some(KEY));
    bench.fail_commit(CommitError::KeysTaken(vec![0]));
    assert_eq!(bench.replies, [(2, Answer::KeyBusy), (1, Answer::KeyTaken)]);
    assert_eq!(bench.driver.backlog(), 0);
    bench.collect(3, URL, Some(KEY));
    assert_eq!(
        bench.commit().keys.len(),
        1,
        "a key that was refused is not held for ever"
    );
}

#[test]
fn a_node_that_lost_its_lease_does_nothing_more() {
    let mut bench = Bench::new(32);
    bench.collect(1, URL, None);
    bench.collect(2, URL, None);
    bench.fail_commit(CommitError::Fenced);
    bench.collect(3, URL, None);
    let refused = |caller| (caller, Answer::Busy(Busy::NotReady));
    assert_eq!(bench.replies, [refused(1), refused(2), refused(3)]);
    assert!(bench.fenced && bench.commits.is_empty() && bench.fetches.is_empty());
}

#[test]
fn what_waits_for_an_erasure_that_comes_to_nothing_is_done_after_all() {
    let mut bench = Bench::new(32);
    bench.collect(1, URL, None);
    bench.commit();
    let id = *bench.stored.keys().next().unwrap();
    let erase = || Request::Erase {
        id,
        tenant: TENANT,
        actor: Actor::Operator,
    };
    for (key, origin) in [(Some(KEY), Origin::Caller(2)), (None, Origin::Inbox(7))] {
        let request = erase();
        bench.give(Event::Command(Command {
            request,
            key,
            origin,
        }));
    }
    bench.fail_commit(CommitError::KeysTaken(vec![0]));
    assert_eq!(bench.replies.last(), Some(&(2, Answer::KeyTaken)));

    let batch = bench.commit();
    assert_eq!(batch.consumed, [7]);
    assert_eq!(batch.writes[0].next_version(), None, "it was promised");
}

/// A driver that owns one shard, and what it wants done.
struct Bench {
    driver: Driver<u32>,
    now: Timestamp,
    commits: VecDeque<Arc<Batch>>,
    fetches: VecDeque<(EffectId, FetchOrder)>,
    deliveries: VecDeque<(EffectId, DeliverOrder)>,
    replies: Vec<(u32, Answer)>,
    resolves: Vec<u64>,
    stored: BTreeMap<CollectionId, LoadedCollection>,
    sources: BTreeMap<SourceId, source::Source>,
    fenced: bool,
}

impl Bench {
    fn new(concurrency: u32) -> Self {
        Self::with(concurrency, Limits::default())
    }

    fn with(concurrency: u32, limits: Limits) -> Self {
        let sources = ["gas", "oil"].map(|name| Source {
            name: name.parse().unwrap(),
            policy: CollectionPolicy::default(),
            concurrency,
            budget: Arc::default(),
            connections: None,
            maintenance: Arc::default(),
            limits: Arc::default(),
            backlog_alert: Source::DEFAULT_BACKLOG_ALERT,
        });
        let incarnation = IncarnationId::mint(NOW, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1));
        let driver = Driver::new(
            incarnation,
            Arc::new(SourceTable::new(sources)),
            Arc::new(TenantTable::default()),
            limits,
            1,
        );
        let mut bench = Self {
            driver,
            now: NOW,
            commits: VecDeque::new(),
            fetches: VecDeque::new(),
            deliveries: VecDeque::new(),
            replies: Vec::new(),
            resolves: Vec::new(),
            stored: BTreeMap::new(),
            sources: used(),
            fenced: false,
        };
        let kept = bench.sources.values().cloned().collect();
        bench.give(Event::Kept(kept));
        bench.give(Event::Leased(vec![Lease {
            shard: Shard(0),
            epoch: 1,
            next_seq: 1,
        }]));
        bench.give(Event::Scanned {
            rows: Vec::new(),
            done: true,
        });
        bench
    }

    fn give(&mut self, event: Event<u32>) {
        self.driver.handle(self.now, event);
        let mut actions = Vec::new();
        self.driver.flush(&mut actions);
        for action in actions {
            match action {
                Action::Commit(batch) => self.commits.push_back(batch),
                Action::Fetch(effect, order) => self.fetches.push_back((effect, order)),
                Action::Deliver(effect, order) => self.deliveries.push_back((effect, order)),
                Action::Reply(caller, answer) => self.replies.push((caller, answer)),
                Action::Resolve(number) => self.resolves.push(number),
                Action::Fenced => self.fenced = true,
                Action::Load(ids) => self.load(ids),
                Action::Read(number, DispatchQuery::Shard(_)) => {
                    let state = DispatchAnswer::Shard(DispatchState::default());
                    self.give(Event::Read(number, Some(state)));
                }
                Action::Release(_)
                | Action::Run(..)
                | Action::Abort(_)
                | Action::Children(_)
                | Action::Post(_)
                | Action::Send(..)
                | Action::Read(..) => panic!("nobody wants this: {action:?}"),
            }
        }
    }

    /// Answers a read from what was committed last.
    fn load(&mut self, asked: Vec<Aggregate>) {
        let row = |id: &Aggregate| match id {
            Aggregate::Collection(id) => {
                let row = self.stored.get(id).cloned();
                row.map(|row| Loaded::Collection(Box::new(row)))
            }
            Aggregate::Source(id) => {
                let row = self.sources.get(id).cloned();
                row.map(|row| Loaded::Source(Box::new(row)))
            }
            Aggregate::Account(_) | Aggregate::Connection(_) => None,
        };
        let rows = asked.iter().filter_map(row).collect();
        self.give(Event::Loaded { asked, rows });
    }

    fn collect(&mut self, caller: u32, url: &str, key: Option<Key>) {
        self.collect_from(caller, "gas", url, key);
    }

    fn collect_from(&mut self, caller: u32, source: &str, url: &str, key: Option<Key>) {
        let request = Request::Collect {
            id: None,
            tenant: TENANT,
            source: source.parse().unwrap(),
            callback_url: url.into(),
            actor: Actor::Operator,
        };
        self.give(Event::Command(Command {
            request,
            key,
            origin: Origin::Caller(caller),
        }));
    }

    fn fetch_ok(&mut self) {
        let (effect, _) = self.fetches.pop_front().expect("a call is wanted");
        self.give(Event::Fetched(
            effect,
            FetchResult::Fetched(Bytes::from_static(b"[1]")),
        ));
    }

    fn commit(&mut self) -> Arc<Batch> {
        let batch = self.commits.pop_front().expect("a commit is wanted");
        for write in &batch.writes {
            if let Write::Source(write) = write {
                self.sources.insert(write.id, write.next.clone());
            }
            let Write::Collection(write) = write else {
                continue;
            };
            if let Some(next) = &write.next {
                let live = next.next_wakeup().is_some();
                let loaded = LoadedCollection {
                    collection: next.clone(),
                    payload: write.payload.clone(),
                    live,
                };
                self.stored.insert(write.id, loaded);
            }
        }
        self.give(Event::Committed(batch.number, Ok(Spent::default())));
        batch
    }

    fn commit_all(&mut self) {
        while !self.commits.is_empty() {
            self.commit();
        }
    }

    fn fail_commit(&mut self, error: CommitError) {
        let batch = self.commits.pop_front().expect("a commit is wanted");
        self.give(Event::Committed(batch.number, Err(error)));
    }

    /// Commits and delivers what there is, and lets time pass where there is no call to answer.
    fn settle(&mut self) {
        loop {
            if !self.commits.is_empty() {
                self.commit();
            } else if let Some((effect, _)) = self.deliveries.pop_front() {
                self.give(Event::Delivered(effect, DeliverResult::Delivered));
            } else {
                break;
            }
        }
        if self.fetches.is_empty() {
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.now = self
            .now
            .max(self.driver.next_wakeup().expect("something is due"));
        self.give(Event::Tick);
    }
}

/// The sources, as those that the tenant uses already.
fn used() -> BTreeMap<SourceId, source::Source> {
    let sources = ["gas", "oil"].map(|name| source::Source {
        version: 1,
        tenants: [TENANT].into(),
        ..source::Source::fresh(name.parse().unwrap())
    });
    sources.map(|source| (source.id(), source)).into()
}

fn down() -> Error {
    Error {
        class: ErrorClass::ConnectionFailure,
        code: "timeout".to_owned(),
        message: "no answer".to_owned(),
    }
}
