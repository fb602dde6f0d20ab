//! Commits, calls and answers: what waits for what.

use std::time::Duration;

use wellspring_core::{Actor, ErrorClass, State};
use wellspring_engine::{
    Action, Answer, Busy, CommitError, DeliverResult, Event, Key, Limits, Origin, Request, Write,
};

use crate::bench::{Bench, NOW, SOURCE, TENANT, URL, collection, source};

const KEY: Key = Key {
    hash: [1; 32],
    fingerprint: [2; 32],
};

#[test]
fn nothing_is_answered_or_called_before_the_commit_and_what_comes_meanwhile_shares_the_next() {
    let mut bench = bench(32);
    for caller in 1..=3 {
        bench.collect_by(caller, URL, None);
    }
    assert!(bench.replies.is_empty() && bench.calls.is_empty());
    assert_eq!(bench.commits.len(), 1, "one commit at a time");

    let first = bench.commit();
    assert_eq!((first.writes.len(), first.entries[0].seq), (1, 1));
    assert_eq!((bench.replies.len(), bench.calls.len()), (1, 1));
    let seqs: Vec<u64> = bench
        .commit()
        .entries
        .iter()
        .map(|entry| entry.seq)
        .collect();
    assert_eq!(seqs, [2, 3], "group commit");
    assert_eq!((bench.replies.len(), bench.calls.len()), (3, 3));
}

#[test]
fn the_happy_path_reads_nothing_back() {
    let mut bench = bench(32);
    bench.collect_by(1, URL, None);
    bench.commit();
    bench.answer(None);
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
    let mut bench = bench(32);
    bench.collect_by(1, URL, None);
    bench.commit();
    bench.answer(None);
    bench.collect_by(2, URL, None);
    bench.fail_commit(CommitError::NotCommitted("disk full".to_owned()));
    bench.collect_by(3, URL, None);
    let refused = |caller| (caller, Answer::Busy(Busy::Database));
    assert_eq!(bench.replies[1..], [refused(2), refused(3)]);
    assert!(bench.driver.is_store_down() && bench.commits.is_empty());

    bench.wake();
    let again = bench.commit();
    let Write::Collection(write) = &again.writes[0] else {
        panic!("it is a collection's");
    };
    assert!(matches!(
        write.next.as_ref().unwrap().state,
        State::Delivering { .. }
    ));
    assert_eq!(bench.deliveries.len(), 1, "what was fetched is not lost");
    bench.collect_by(4, URL, None);
    bench.commit();
    assert!(matches!(bench.replies[3], (4, Answer::Done(_))));
}

#[test]
fn an_unknown_outcome_is_asked_for_and_never_guessed() {
    for durable in [true, false] {
        let mut bench = bench(32);
        bench.collect_by(1, URL, None);
        let number = bench.commits.front().unwrap().number;
        bench.fail_commit(CommitError::Unknown("connection lost".to_owned()));
        assert!(
            bench.replies.is_empty(),
            "nothing is said while nothing is known"
        );
        bench.wake();
        bench.give(Event::Resolved(number, None));
        bench.wake();
        assert_eq!(bench.resolves, [number, number]);
        bench.give(Event::Resolved(number, Some(durable)));
        if durable {
            assert!(matches!(bench.replies[..], [(1, Answer::Done(_))]));
        } else {
            assert_eq!(bench.replies, [(1, Answer::Busy(Busy::Database))]);
        }
        assert_eq!(bench.calls.len(), usize::from(durable));
    }
}

#[test]
fn a_late_result_of_an_erased_collection_is_dropped_and_its_slot_is_free() {
    let mut bench = bench(1);
    bench.collect_by(1, URL, None);
    bench.commit();
    let (_, order) = bench.calls.front().unwrap();
    let request = Request::Erase {
        id: order.id,
        tenant: TENANT,
        actor: Actor::Operator,
    };
    bench.command(request, None, Origin::Caller(2));
    bench.commit();
    bench.answer(None);
    assert!(bench.commits.is_empty() && bench.deliveries.is_empty());
    assert_eq!(bench.driver.counters().stale_results, 1);
    bench.collect_by(3, URL, None);
    bench.commit();
    assert_eq!(bench.calls.len(), 1, "the one slot was given back");
}

#[test]
fn a_receiver_that_hangs_holds_up_nobody_else() {
    let mut bench = bench(1_000);
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
        bench.collect_by(1, url, None);
        bench.commit();
        bench.answer(None);
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
    let mut bench = bench(8);
    let total = 200;
    for n in 0..total {
        bench.collect_by(n, URL, None);
        bench.commit();
    }
    let mut calls = 0_u32;
    let end = NOW.after(Duration::from_secs(6 * 3_600));
    while bench.now < end {
        while !bench.calls.is_empty() {
            calls += 1;
            bench.now = bench.now.after(Duration::from_millis(100));
            bench.answer(Some(ErrorClass::ConnectionFailure));
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
        in_flight.push(bench.calls.len());
        for _ in 0..bench.calls.len() {
            bench.answer(None);
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
    let mut bench = bench(1);
    for caller in 0..5 {
        bench.collect_by(caller, URL, None);
        bench.commit();
    }
    bench.answer(None);
    bench.calls.clear();
    bench.fail_commit(CommitError::NotCommitted("disk full".to_owned()));
    bench.wake();
    bench.fail_commit(CommitError::NotCommitted("disk full".to_owned()));
    assert!(
        bench.calls.is_empty(),
        "what would come of it could not be kept"
    );
    bench.wake();
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
    let mut bench = with(100, limits);
    for caller in 0..12 {
        let source = if caller < 8 { "gas" } else { "oil" };
        bench.collect_from(caller, source, URL, None);
        bench.commit();
    }
    let mut order = Vec::new();
    while order.len() < 12 {
        if let Some((_, fetch)) = bench.calls.front() {
            order.push(fetch.source.to_string());
            bench.answer(None);
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
    let mut bench = bench(32);
    bench.collect_by(1, URL, Some(KEY));
    bench.collect_by(2, URL, Some(KEY));
    bench.fail_commit(CommitError::KeysTaken(vec![0]));
    assert_eq!(bench.replies, [(2, Answer::KeyBusy), (1, Answer::KeyTaken)]);
    assert_eq!(bench.driver.backlog(), 0);
    bench.collect_by(3, URL, Some(KEY));
    assert_eq!(
        bench.commit().keys.len(),
        1,
        "a key that was refused is not held for ever"
    );
}

#[test]
fn a_node_that_lost_its_lease_does_nothing_more() {
    let mut bench = bench(32);
    bench.collect_by(1, URL, None);
    bench.collect_by(2, URL, None);
    bench.fail_commit(CommitError::Fenced);
    bench.collect_by(3, URL, None);
    let refused = |caller| (caller, Answer::Busy(Busy::NotReady));
    assert_eq!(bench.replies, [refused(1), refused(2), refused(3)]);
    assert!(bench.fenced && bench.commits.is_empty() && bench.calls.is_empty());
}

#[test]
fn what_waits_for_an_erasure_that_comes_to_nothing_is_done_after_all() {
    let mut bench = bench(32);
    bench.collect_by(1, URL, None);
    bench.commit();
    let id = *bench.stored.keys().next().unwrap();
    let erase = || Request::Erase {
        id,
        tenant: TENANT,
        actor: Actor::Operator,
    };
    for (key, origin) in [(Some(KEY), Origin::Caller(2)), (None, Origin::Inbox(7))] {
        bench.command(erase(), key, origin);
    }
    bench.fail_commit(CommitError::KeysTaken(vec![0]));
    assert_eq!(bench.replies.last(), Some(&(2, Answer::KeyTaken)));

    let batch = bench.commit();
    assert_eq!(batch.consumed, [7]);
    assert_eq!(batch.writes[0].next_version(), None, "it was promised");
}

fn bench(concurrency: u32) -> Bench {
    with(concurrency, Limits::default())
}

fn with(concurrency: u32, limits: Limits) -> Bench {
    let sources = [SOURCE, "oil"].map(|name| source(name, concurrency));
    Bench::new(sources, &[0], limits, |action| {
        matches!(action, Action::Run(..) | Action::Post(_))
    })
}

impl Bench {
    fn collect_by(&mut self, caller: u32, url: &str, key: Option<Key>) {
        self.collect_from(caller, SOURCE, url, key);
    }

    fn collect_from(&mut self, caller: u32, source: &str, url: &str, key: Option<Key>) {
        let request = collection(TENANT, source, url);
        self.command(request, key, Origin::Caller(caller));
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
        if self.calls.is_empty() {
            self.wake();
        }
    }

    /// Lets time pass until something is due.
    fn wake(&mut self) {
        let due = self.driver.next_wakeup().expect("something is due");
        self.tick(self.now.max(due));
    }
}
