//! The driver as a machine: events in, actions out; no store, no task, no clock.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_core::SeedableRng;
use wellspring_core::{
    Actor, CollectionId, CollectionPolicy, Error, ErrorClass, IncarnationId, Shard, State,
    TenantId, Timestamp,
};
use wellspring_engine::{
    Action, Answer, Batch, Busy, Command, CommitError, DeliverOrder, DeliverResult, Driver,
    EffectId, Event, FetchOrder, FetchResult, Key, Lease, Limits, Loaded, Origin, Request, Source,
    SourceTable,
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
fn throttled() -> Error {
    Error { class: ErrorClass::RateLimitExceeded, code: "http_429".to_owned(), message: "x".to_owned() }
}

#[test]
fn a_retry_after_0_loop() {
    let mut bench = Bench::new(32);
    bench.collect(1, URL, None);
    bench.commit();
    let mut calls = 0;
    let begin = bench.now;
    for _ in 0..1000 {
        let Some((effect, _)) = bench.fetches.pop_front() else { break };
        calls += 1;
        let at = bench.now;
        bench.give(Event::Fetched(effect, FetchResult::Failed { error: throttled(), retry_at: Some(at) }));
        bench.commit();
    }
    println!("retry-after 0: {calls} calls in {:?}", bench.now.since(begin));
    // 503 with Retry-After: 0
    let mut bench = Bench::new(32);
    bench.collect(1, URL, None);
    bench.commit();
    let mut calls = 0;
    while let Some((effect, _)) = bench.fetches.pop_front() {
        calls += 1;
        let at = bench.now;
        bench.give(Event::Fetched(effect, FetchResult::Failed { error: down(), retry_at: Some(at) }));
        bench.commit();
    }
    println!("503 retry-after 0: {calls} calls in {:?}, notices {}", bench.now.since(NOW), bench.deliveries.len());
}

#[test]
fn b_store_down_unbounded() {
    let mut bench = Bench::new(32);
    for n in 0..20_000 { bench.collect(n, URL, None); if n % 1 == 0 { while !bench.commits.is_empty() { bench.commit(); } } }
    println!("fetches in flight {}", bench.fetches.len());
    bench.fetch_ok();
    bench.fail_commit(CommitError::NotCommitted("disk full".to_owned()));
    let mut fetched = 1;
    while !bench.fetches.is_empty() { bench.fetch_ok(); fetched += 1; }
    println!("fetched while the store is down: {fetched}, down {}, commits {}", bench.driver.is_store_down(), bench.commits.len());
}

#[test]
fn c_starved_lanes() {
    let mut bench = Bench::two(4, 4);
    for n in 0..50 { bench.collect(n, URL, None); while !bench.commits.is_empty() { bench.commit(); } }
    for n in 0..10 { bench.collect_from("oil", n, URL); while !bench.commits.is_empty() { bench.commit(); } }
    println!("in flight {:?}", bench.fetches.iter().map(|(_, o)| o.source.as_str()).collect::<Vec<_>>());
    let mut order = Vec::new();
    for _ in 0..60 {
        let Some((effect, o)) = bench.fetches.pop_front() else { break };
        order.push(o.source.as_str().chars().next().unwrap());
        bench.give(Event::Fetched(effect, FetchResult::Fetched(Bytes::from_static(b"[1]"))));
        while !bench.commits.is_empty() { bench.commit(); }
        if bench.deliveries.len() > 0 && order.len() == 1 { println!("deliveries begin after {}", order.len()); }
    }
    println!("order of fetches: {}", order.iter().collect::<String>());
}

#[test]
fn d_wrong_lane() {
    let mut bench = Bench::new(1);
    // 30 collections fail for good; their notices go to a receiver that is down.
    let mut ids = Vec::new();
    let invalid = Error { class: ErrorClass::InvalidRequest, code: "http_400".to_owned(), message: "x".to_owned() };
    for n in 0..40 { bench.collect(n, URL, None); while !bench.commits.is_empty() { bench.commit(); }
        let (effect, o) = bench.fetches.pop_front().unwrap(); ids.push(o.id);
        bench.give(Event::Fetched(effect, FetchResult::Failed { error: invalid.clone(), retry_at: None }));
        while !bench.commits.is_empty() { bench.commit(); }
    }
    println!("notices in flight {} of 40", bench.deliveries.len());
    // 24 notices are queued at the receiver's gate (16 hang). All are resumed.
    for id in &ids[16..] {
        bench.give(Event::Command(Command { request: Request::Resume { id: *id, tenant: TENANT, actor: Actor::Operator }, key: None, origin: Origin::Caller(1) }));
        while !bench.commits.is_empty() { bench.commit(); }
    }
    println!("fetches in flight, concurrency 1: {}", bench.fetches.len());
    // The hanging notices time out.
    let hung: Vec<_> = bench.deliveries.drain(..).collect();
    for (effect, _) in hung {
        bench.give(Event::Delivered(effect, DeliverResult::Failed { error: down(), gone: false, retry_at: None, down: true }));
    }
    while !bench.commits.is_empty() { bench.commit(); }
    println!("after the receiver's slots got free: fetches in flight {} (source allows 1), by lanes {:?}", bench.fetches.len(),
        bench.fetches.iter().map(|(e, _)| e.lane.is_receiver()).collect::<Vec<_>>());
}

#[test]
fn e_given_up_by_a_stale_entry() {
    let mut bench = Bench::new(1);
    let invalid = Error { class: ErrorClass::InvalidRequest, code: "http_400".to_owned(), message: "x".to_owned() };
    // One collection holds the only slot of the source later on.
    bench.collect(1, URL, None); bench.commit();
    let (effect, o) = bench.fetches.pop_front().unwrap();
    let id = o.id;
    bench.give(Event::Fetched(effect, FetchResult::Failed { error: invalid, retry_at: None }));
    bench.commit();
    // The notice is refused with a long Retry-After: it sits in the wheel until its give-up time.
    let (effect, _) = bench.deliveries.pop_front().unwrap();
    let far = bench.now.after(Duration::from_secs(1_000 * 3_600));
    bench.give(Event::Delivered(effect, DeliverResult::Failed { error: down(), gone: false, retry_at: Some(far), down: true }));
    bench.commit();
    bench.now = bench.now.after(Duration::from_secs(71 * 3_600 + 3_500));
    // Another one takes the slot, then the first is resumed and waits for it, in memory.
    bench.collect(2, URL, None); bench.commit();
    bench.give(Event::Command(Command { request: Request::Resume { id, tenant: TENANT, actor: Actor::Operator }, key: None, origin: Origin::Caller(3) }));
    bench.commit();
    println!("replies {:?}", bench.replies.last());
    bench.now = bench.now.after(Duration::from_secs(200));
    bench.give(Event::Tick);
    while !bench.commits.is_empty() {
        let b = bench.commit();
        println!("200 s after the resume: {:?}", b.writes.iter().map(|w| (w.id == id, w.next.as_ref().map(|n| n.state.clone()))).collect::<Vec<_>>());
    }
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
    stored: BTreeMap<CollectionId, Loaded>,
    fenced: bool,
}

impl Bench {
    fn two(concurrency: u32, in_flight: u32) -> Self {
        let mut bench = Self::new(concurrency);
        let source = |name: &str| Source { name: name.parse().unwrap(), policy: CollectionPolicy::default(), concurrency };
        let incarnation = IncarnationId::mint(NOW, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1));
        bench.driver = Driver::new(incarnation, Arc::new(SourceTable::new([source("gas"), source("oil")])), Limits { in_flight, ..Limits::default() }, 1);
        bench.give(Event::Leased(vec![Lease { shard: Shard(0), epoch: 1, next_seq: 1 }]));
        bench.give(Event::Scanned { rows: Vec::new(), done: true });
        bench
    }
    fn collect_from(&mut self, source: &str, caller: u32, url: &str) {
        let request = Request::Collect { id: None, tenant: TENANT, source: source.parse().unwrap(), callback_url: url.into(), actor: Actor::Operator };
        self.give(Event::Command(Command { request, key: None, origin: Origin::Caller(caller) }));
    }
    fn new(concurrency: u32) -> Self {
        let source = Source {
            name: "gas".parse().unwrap(),
            policy: CollectionPolicy::default(),
            concurrency,
        };
        let incarnation = IncarnationId::mint(NOW, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1));
        let driver = Driver::new(
            incarnation,
            Arc::new(SourceTable::new([source])),
            Limits::default(),
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
            fenced: false,
        };
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
                Action::Release(shards) => panic!("nothing is given up: {shards:?}"),
            }
        }
    }

    /// Answers a read from what was committed last.
    fn load(&mut self, asked: Vec<CollectionId>) {
        let rows = asked
            .iter()
            .filter_map(|id| self.stored.get(id).cloned())
            .collect();
        self.give(Event::Loaded { asked, rows });
    }

    fn collect(&mut self, caller: u32, url: &str, key: Option<Key>) {
        let request = Request::Collect {
            id: None,
            tenant: TENANT,
            source: "gas".parse().unwrap(),
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
            if let Some(next) = &write.next {
                let live = next.next_wakeup().is_some();
                let loaded = Loaded {
                    collection: next.clone(),
                    payload: write.payload.clone(),
                    live,
                };
                self.stored.insert(write.id, loaded);
            }
        }
        self.give(Event::Committed(batch.number, Ok(())));
        batch
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

fn down() -> Error {
    Error {
        class: ErrorClass::ConnectionFailure,
        code: "timeout".to_owned(),
        message: "no answer".to_owned(),
    }
}
