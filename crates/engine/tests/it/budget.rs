//! The driver and budgets: what is spent is durable before the call, and shared by all nodes.

use std::sync::Arc;

use wellspring_core::budget::{BudgetName, Ledger, Limit, Remaining, Scope, Window};
use wellspring_core::{Actor, CollectionPolicy, ErrorClass, Kind, State};
use wellspring_engine::{
    Action, Answer, EffectId, Event, Heard, Leave, Limits, Request, Source, SourceTable, Wish,
};

use crate::bench::{
    Bench, MINUTE, NOW, OTHER, SECOND, SOURCE, TENANT, connection, fetched, ran, source,
};

#[test]
fn a_call_is_spent_before_it_goes_out_and_those_beyond_the_budget_wait() {
    let mut bench = bench(3);
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
    let mut bench = bench(3);
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
    let mut bench = bench(3);
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
    let mut bench = bench(3);
    bench.collect();
    bench.commit_all();
    let until = NOW.after(MINUTE * 60 * 9);
    let (effect, _) = bench.calls.pop_front().unwrap();
    let throttled = fetched(Some(ErrorClass::RateLimitExceeded), Some(until));
    bench.give(Event::Fetched(effect, throttled));
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
fn a_source_that_counts_others_as_well_is_believed_with_the_next_call_and_after_a_restart() {
    let mut bench = bench(6);
    bench.collect();
    bench.commit_all();
    let (effect, _) = bench.calls.pop_front().unwrap();
    let commits = bench.batches.len();
    bench.hear(effect, Some(50), 2);
    assert_eq!(bench.driver.lanes()[0].budget[0].left, 2);
    bench.commit_all();
    assert_eq!(bench.batches.len(), commits, "it has no commit of its own");

    (0..4).for_each(|_| bench.collect());
    bench.commit_all();
    assert_eq!(bench.calls.len(), 2, "though five are left by our count");
    let until = NOW.after(MINUTE * 20);
    assert_eq!(bench.driver.lanes()[0].next_allowed_at, Some(until));

    bench.restart(NOW.after(MINUTE * 2));
    assert!(bench.calls.is_empty());
    bench.tick(until);
    bench.commit_all();
    assert_eq!(bench.calls.len(), 5);
}

#[test]
fn a_figure_is_of_the_window_of_its_size_and_else_of_the_source_of_collections() {
    let mut bench = limited(6, Scope::Tenant, 4);
    bench.collect();
    bench.commit_all();
    let (effect, _) = bench.calls.pop_front().unwrap();
    bench.hear(effect, Some(4), 1);
    (0..3).for_each(|_| bench.collect());
    bench.collect_for(OTHER);
    bench.commit_all();
    assert_eq!(bench.calls.len(), 2, "one of each tenant");

    let effect = bench.attempt();
    bench.hear(effect, Some(50), 0);
    let of_connections = bench.driver.lanes()[0].budget[0].left;
    assert!(of_connections > 0, "it may be about the connection alone");
    let (effect, _) = bench.calls.pop_front().unwrap();
    bench.hear(effect, Some(50), 0);
    assert_eq!(bench.driver.lanes()[0].budget[0].left, 0);
    bench.answer_all();
    bench.hear(effect, None, 5);
    assert_eq!(bench.driver.lanes()[0].budget[0].left, 0, "it is answered");
}

#[test]
fn a_call_that_could_not_go_out_in_time_is_spent_once_more() {
    let mut bench = bench(3);
    bench.collect();
    bench.now = NOW.after(SECOND * 20);
    bench.commit();
    assert!(bench.calls.is_empty(), "others count it as long gone");
    bench.commit();
    assert_eq!(bench.calls.len(), 1);
    let spent = &bench.ledgers[&BudgetName::new(SOURCE)];
    assert_eq!(spent.standings(bench.now)[0].used, 2);
}

#[test]
fn a_tenant_whose_calls_are_spent_holds_up_nobody_else() {
    let mut bench = limited(8, Scope::Tenant, 2);
    (0..5).for_each(|_| bench.collect());
    bench.commit_all();
    assert_eq!(bench.calls.len(), 2);
    (0..5).for_each(|_| bench.collect_for(OTHER));
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
    let mut bench = with(8, [limit].into());
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
    let mut bench = limited(8, Scope::Connection, 2);
    let effect = bench.attempt();
    bench.ask(effect, "login");
    assert_eq!(bench.leaves(), []);
    bench.commit_all();
    assert_eq!(bench.leaves(), [Some(Leave::Granted)]);
    bench.ask(effect, "documents");
    bench.commit_all();
    bench.ask(effect, "documents");
    bench.commit_all();
    bench.ask(effect, "documents");
    let [granted, Some(Leave::NotBefore(at)), again] = bench.leaves()[..] else {
        panic!("it was not refused");
    };
    assert_eq!(granted, Some(Leave::Granted));
    assert_eq!(again, Some(Leave::NotBefore(at)), "known without a commit");
    assert!(at > NOW.after(MINUTE) && at < NOW.after(MINUTE + SECOND * 2));
    bench.now = at;
    bench.ask(effect, "documents");
    bench.commit_all();
    assert_eq!(bench.leaves(), [Some(Leave::Granted)]);
}

#[test]
fn an_attempt_that_is_over_gets_no_leave() {
    let mut bench = limited(8, Scope::Connection, 2);
    let effect = bench.attempt();
    bench.ask(effect, "login");
    bench.give(Event::Ran(effect, ran(None, None)));
    bench.commit_all();
    assert_eq!(bench.leaves(), [None]);
    bench.ask(effect, "login");
    assert_eq!(bench.leaves(), [None]);
}

#[test]
fn nothing_begins_at_a_source_that_takes_no_calls_at_all() {
    let mut bench = limited(8, Scope::Source, 1);
    let effect = bench.attempt();
    bench.ask(effect, "login");
    bench.commit_all();
    assert_eq!(bench.leaves(), [Some(Leave::Granted)]);
    bench.give(Event::Ran(effect, ran(None, None)));
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
    let mut bench = bench(2);
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
    let mut bench = bench(3);
    (0..2).for_each(|_| bench.collect());
    // The step of the second waits behind a commit that takes all its time.
    bench.now = NOW.after(CollectionPolicy::default().give_up_after);
    bench.commit_all();
    assert!(bench.calls.is_empty());
    assert_eq!(bench.given_up(), 2);
}

#[test]
fn a_repeat_that_is_granted_past_its_give_up_time_is_given_up() {
    let mut bench = bench(3);
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

/// A source that takes so many calls in each minute.
fn bench(calls: u32) -> Bench {
    with(calls, Arc::default())
}

/// With so many calls in each minute besides, in the course of what a tenant or connection does.
fn limited(calls: u32, scope: Scope, of_them: u32) -> Bench {
    let limit = Limit {
        scope,
        endpoint: None,
        windows: [Window {
            calls: of_them,
            per: MINUTE,
        }]
        .into(),
    };
    with(calls, [limit].into())
}

fn with(calls: u32, limits: Arc<[Limit]>) -> Bench {
    let source = Source {
        budget: [Window { calls, per: MINUTE }].into(),
        limits,
        ..source(SOURCE, 8)
    };
    Bench::new([source], &[0], Limits::default(), |action| {
        matches!(
            action,
            Action::Resolve(_) | Action::Post(_) | Action::Fenced
        )
    })
}

impl Bench {
    /// Has a connection fetched.
    fn fetch(&mut self) {
        let made = connection(TENANT, 0, 0);
        let id = made.id;
        self.connections.entry(id).or_insert(made);
        self.request(Request::Connection {
            id,
            tenant: TENANT,
            wish: Wish::Fetch,
            actor: Actor::Operator,
        });
    }

    fn attempt(&mut self) -> EffectId {
        self.fetch();
        self.commit_all();
        self.runs.pop_front().unwrap().0
    }

    /// The answer to a call says that so many are left for twenty minutes.
    fn hear(&mut self, effect: EffectId, quota: Option<u32>, left: u32) {
        let remaining = Remaining {
            quota,
            per: None,
            left,
            until: NOW.after(MINUTE * 20),
        };
        let heard = Heard {
            endpoint: "fetch",
            asked_at: self.now,
            remaining: vec![remaining],
        };
        self.give(Event::Heard(effect, heard));
    }

    fn ask(&mut self, effect: EffectId, endpoint: &str) {
        self.give(Event::Calling(effect, endpoint.into(), 7));
    }

    /// Returns what was said of calls since the last time.
    fn leaves(&mut self) -> Vec<Option<Leave>> {
        let replies = std::mem::take(&mut self.replies).into_iter();
        let leaves = replies.filter_map(|(_, answer)| {
            if let Answer::Leave(leave) = answer {
                return Some(Some(leave));
            }
            (answer == Answer::Ended).then_some(None)
        });
        leaves.collect()
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
        while !self.calls.is_empty() {
            self.answer(None);
        }
    }

    /// Another node spends.
    fn elsewhere(&mut self, calls: u32) {
        let ledger = self.ledgers.entry(BudgetName::new(SOURCE));
        let budget = Arc::clone(&self.sources.iter().next().unwrap().budget);
        let ledger = ledger.or_insert_with(|| Ledger::new(&budget));
        ledger.spend(self.now, calls);
    }

    fn lane_is_waiting(&self) -> bool {
        let lanes = self.driver.lanes();
        lanes[0].in_flight == 0 && lanes[0].queued > 0 && lanes[0].next_allowed_at.is_some()
    }
}
