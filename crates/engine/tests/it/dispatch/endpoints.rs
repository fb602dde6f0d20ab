//! Endpoints that fail, are slow, or want nothing more.

use std::collections::BTreeMap;
use std::time::Duration;

use wellspring_core::Shard;
use wellspring_engine::{DisabledReason, SendOrder};

use super::bench::{Bench, ok, refused, unreachable};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn an_endpoint_that_was_down_for_two_days_catches_up_in_order_and_nobody_else_notices() {
    for restarts in [false, true] {
        let mut bench = Bench::new(2);
        let (down, well) = (bench.subscribe(1), bench.subscribe(2));
        let accounts: Vec<_> = (0..10).map(|_| bench.account()).collect();
        let mut reply = |order: &SendOrder| match order.subscription.id {
            id if id == down => Some(unreachable()),
            _ => ok(order),
        };
        for round in 0..96 {
            for account in &accounts {
                bench.patch(*account);
            }
            bench.pass(HOUR / 2, &mut reply);
            if restarts && round % 30 == 7 {
                bench.restart();
            }
        }
        let tries = bench.sent.iter().filter(|(id, ..)| *id == down).count();
        assert!(tries < 900, "{tries} tries in two days");
        bench.assert_complete(well, &BTreeMap::new());
        let repeated = bench.places(well).len() - bench.model.log.len();
        assert!(repeated < 100, "{repeated} sent again after three restarts");
        assert!(bench.model.open(down).len() < 50, "rows are few");
        assert!(bench.model.open(down).iter().all(|row| row.failures <= 1));
        assert_eq!(bench.driver.dispatch_view().failing, 1);
        assert_eq!(
            bench.driver.dispatch_view().open_rows,
            0,
            "and not in memory"
        );

        bench.pass(HOUR, &mut ok);
        bench.assert_complete(down, &BTreeMap::new());
        assert!(bench.model.positions.is_empty() && bench.model.open(down).is_empty());
        let view = bench.driver.dispatch_view();
        assert_eq!((view.failing, view.catching_up, view.in_flight), (0, 0, 0));
    }
}

#[test]
fn an_endpoint_that_answers_nine_of_ten_with_failures_is_down_too() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    for _ in 0..40 {
        bench.account();
    }
    bench.settle(&mut |_| Some(refused(503)));
    assert_eq!(bench.driver.dispatch_view().failing, 1);
    bench.pass(DAY, &mut |_| Some(refused(503)));
    assert!(bench.model.open(id).iter().all(|row| row.failures <= 1));
    assert_eq!(bench.driver.counters().sends_exhausted, 0);
    bench.pass(HOUR, &mut ok);
    bench.assert_complete(id, &BTreeMap::new());
}

#[test]
fn after_five_days_it_is_disabled_and_enabled_again_it_goes_on_from_where_it_stood() {
    let mut bench = Bench::new(2);
    let id = bench.subscribe(1);
    let account = bench.account();
    for day in 0..7 {
        for _ in 0..5 {
            bench.patch(account);
            bench.account();
        }
        bench.pass(DAY, &mut |_| Some(unreachable()));
        if day == 2 {
            bench.restart();
        }
    }
    let row = &bench.model.subscriptions[&id];
    assert_eq!(row.disabled.unwrap().reason, DisabledReason::Failing);
    let tries = bench.sent.len();
    bench.tell();
    bench.pass(DAY, &mut ok);
    assert_eq!(bench.sent.len(), tries, "nothing is sent any more");
    bench.restart();
    bench.change(id, |row| row.disabled = None);
    bench.pass(HOUR, &mut ok);
    bench.assert_complete(id, &BTreeMap::new());
    assert!(bench.model.positions.is_empty());
}

#[test]
fn a_410_disables_at_once_and_the_message_is_sent_when_it_is_enabled() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    let account = bench.account();
    bench.patch(account);
    bench.settle(&mut |_| Some(refused(410)));
    bench.pass(HOUR, &mut ok);
    assert_eq!(bench.sent.len(), 1);
    let row = &bench.model.subscriptions[&id];
    assert_eq!(row.disabled.unwrap().reason, DisabledReason::Gone);
    bench.account();
    bench.change(id, |row| row.disabled = None);
    bench.pass(HOUR, &mut ok);
    bench.assert_complete(id, &BTreeMap::new());
}

#[test]
fn a_subscription_that_is_switched_off_keeps_its_place() {
    let mut bench = Bench::new(3);
    let id = bench.subscribe(1);
    for round in 0..20 {
        for _ in 0..7 {
            bench.account();
        }
        bench.settle(&mut |order| (order.message.seq % 5 != 0).then(|| ok(order)).flatten());
        bench.change(id, |row| row.enabled = round % 2 == 1);
        if round % 4 == 0 {
            bench.restart();
        }
    }
    bench.pass(HOUR, &mut ok);
    bench.assert_complete(id, &BTreeMap::new());
    assert!(bench.model.positions.is_empty());
}

#[test]
fn a_slow_endpoint_slows_nobody_and_costs_nobody_repetitions() {
    let mut bench = Bench::new(1);
    let (slow, well) = (bench.subscribe(1), bench.subscribe(2));
    let mut reply = |order: &SendOrder| match order.subscription.id {
        id if id == slow => None,
        _ => ok(order),
    };
    for _ in 0..1_000 {
        bench.account();
        bench.pass(Duration::from_millis(10), &mut reply);
    }
    assert_eq!(bench.places(well).len(), 1_000);
    assert_eq!(bench.sends.len(), 16, "it has slots of its own");
    bench.pass(Duration::from_secs(3), &mut reply);
    assert_eq!(bench.model.cursors[&Shard(0)], 1_000, "the others are done");
    assert_eq!(bench.model.positions[&(slow, Shard(0))].seen, 0);
    bench.restart();
    bench.pass(HOUR, &mut ok);
    assert_eq!(
        bench.places(well).len(),
        1_000,
        "nobody else is sent anything again"
    );
    bench.assert_complete(slow, &BTreeMap::new());
    assert!(bench.driver.counters().log_reads >= 5, "page by page");
    assert!(bench.model.positions.is_empty());
}

#[test]
fn a_line_that_is_held_up_for_long_fills_no_table() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    let (bad, good) = (bench.account(), bench.account());
    let mut reply = |order: &SendOrder| match order.message.seq {
        1 => Some(refused(500)),
        _ => ok(order),
    };
    for round in 0..1_500 {
        bench.patch(bad);
        if round % 4 == 0 {
            bench.patch(good);
        }
        bench.settle(&mut reply);
    }
    bench.pass(Duration::from_secs(1), &mut reply);
    let open = bench.model.open(id).len();
    assert!((900..=1_001).contains(&open), "{open} rows");
    assert!(!bench.model.positions.is_empty(), "its cursor stops");
    bench.pass(HOUR, &mut ok);
    bench.assert_complete(id, &BTreeMap::new());
    assert!(bench.model.positions.is_empty() && bench.model.open(id).is_empty());
}
