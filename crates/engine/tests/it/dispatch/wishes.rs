//! Replays, tests, gaps, and shards that go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wellspring_core::Shard;
use wellspring_engine::{Answer, DeliveryStatus, Event, Redelivery, SubscriptionWish};

use super::bench::{Bench, ok, refused};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_replay_sends_the_same_message_again_and_holds_nothing_up() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    let account = bench.account();
    bench.patch(account);
    bench.pass(HOUR, &mut ok);
    let key = (id, Shard(0), 1);
    let again = Redelivery::from(&bench.model.rows[&key]);
    let caller = bench.wish(id, SubscriptionWish::Replay(vec![again]));
    assert!(!bench.replies.iter().any(|(of, _)| *of == caller));
    bench.settle(&mut |_| Some(refused(500)));
    assert!(bench.replies.contains(&(caller, Answer::Dispatched)));
    bench.patch(account);
    bench.pass(Duration::from_secs(1), &mut ok);
    assert_eq!(bench.places(id), [1, 2, 3], "the line goes on meanwhile");
    bench.restart();
    bench.pass(HOUR, &mut ok);
    assert_eq!(bench.places(id), [1, 2, 3, 1]);
    bench.assert_complete(id, &BTreeMap::new());
    let row = &bench.model.rows[&key];
    assert_eq!((row.status, row.attempts), (DeliveryStatus::Delivered, 3));
}

#[test]
fn a_replay_since_a_moment_sends_all_from_there_in_order() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    let account = bench.account();
    let mut since = bench.now;
    for round in 0..300 {
        bench.pass(Duration::from_secs(60), &mut ok);
        if round == 49 {
            since = bench.now;
        }
        bench.patch(account);
    }
    bench.pass(HOUR, &mut ok);
    assert_eq!(bench.places(id).len(), 301);
    let caller = bench.wish(id, SubscriptionWish::ReplaySince(since));
    bench.pass(HOUR, &mut ok);
    assert!(bench.replies.contains(&(caller, Answer::Dispatched)));
    assert_eq!(bench.places(id)[301..], Vec::from_iter(51..=301));
    bench.change(id, |row| row.enabled = false);
    bench.wish(id, SubscriptionWish::ReplaySince(since));
    bench.pass(HOUR, &mut ok);
    assert_eq!(bench.places(id).len(), 552, "not while it is switched off");
    bench.change(id, |row| row.enabled = true);
    bench.pass(HOUR, &mut ok);
    assert_eq!(bench.places(id).len(), 803);
    assert!(bench.model.positions.is_empty());
}

#[test]
fn a_test_is_sent_at_once_and_its_answer_says_what_came_of_it() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    bench.change(id, |row| row.enabled = false);
    let caller = bench.wish(id, SubscriptionWish::Test);
    let body = bench.sends[0].1.message.body.clone();
    assert!(body.starts_with(br#"{"type":"wellspring.test""#));
    bench.settle(&mut |_| Some(refused(404)));
    let (_, answer) = bench.replies.iter().find(|(of, _)| *of == caller).unwrap();
    assert_eq!(*answer, Answer::Tried(Box::new(refused(404))));
    let nobody = wellspring_core::SubscriptionId::from_bytes([9; 16]);
    let caller = bench.wish(nobody, SubscriptionWish::Test);
    assert!(bench.replies.contains(&(caller, Answer::NotFound)));
}

#[test]
fn what_retention_has_removed_is_announced_before_what_is_left() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    bench.change(id, |row| row.enabled = false);
    for _ in 0..30 {
        bench.account();
    }
    bench.pass(HOUR, &mut ok);
    bench.model.removed.insert(Shard(0), 20);
    bench.change(id, |row| row.enabled = true);
    assert_eq!(bench.sends.len(), 1, "nothing before the gap");
    let first = Arc::clone(&bench.sends[0].1.message);
    assert!(first.body.starts_with(br#"{"type":"subscription.gap""#));
    bench.settle(&mut |_| Some(refused(500)));
    assert!(bench.sent.len() > 5, "but its failure holds up nothing");
    bench.restart();
    bench.pass(HOUR, &mut ok);
    let taken: Vec<&str> = bench.taken.iter().map(|(.., id)| id.as_str()).collect();
    assert_eq!(taken.iter().filter(|id| **id == first.id).count(), 1);
    let since = BTreeMap::from([(Shard(0), 20)]);
    bench.taken.retain(|(.., id)| *id != first.id);
    bench.assert_complete(id, &since);
}

#[test]
fn a_shard_is_given_up_only_when_nothing_of_it_is_in_flight_or_unsaved() {
    let mut bench = Bench::new(2);
    let id = bench.subscribe(1);
    for _ in 0..6 {
        bench.account();
    }
    bench.give(Event::Drain(vec![Shard(1)]));
    bench.commit_all();
    assert!(bench.released.is_empty());
    bench.settle(&mut ok);
    bench.pass(Duration::from_secs(1), &mut ok);
    assert_eq!(bench.released, [Shard(1)]);
    let sent = bench.sent.len();
    bench.restart();
    bench.pass(HOUR, &mut ok);
    assert_eq!(bench.sent.len(), sent, "the next owner sends nothing again");
    bench.assert_complete(id, &BTreeMap::new());
}
