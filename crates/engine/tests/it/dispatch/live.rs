//! Endpoints that are well, and messages that are not.

use std::collections::BTreeMap;
use std::time::Duration;

use wellspring_core::TenantId;
use wellspring_engine::{DeliveryStatus, Event};

use super::bench::{Bench, ok, refused, unreachable};
use crate::bench::{NOW, TENANT};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_change_is_sent_once_in_the_order_of_its_line_and_nothing_is_read_back() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    let (first, second) = (bench.account(), bench.account());
    bench.patch(first);
    assert_eq!(bench.sends.len(), 2, "one of each line");
    let body = bench.sends[0].1.message.body.clone();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["type"], "account.created");
    assert_eq!(json["data"]["path"], format!("/accounts/{first}"));
    assert_eq!(json["data"]["id"], bench.sends[0].1.message.id);

    let (number, order) = bench.sends.pop_back().unwrap();
    bench.end(number, &order, ok(&order).unwrap());
    bench.patch(second);
    assert_eq!(bench.sends.len(), 2, "another line goes on");
    bench.pass(HOUR, &mut ok);
    bench.assert_complete(id, &BTreeMap::new());
    assert_eq!(bench.sent.len(), 4);
    assert_eq!(bench.driver.counters().log_reads, 0);
    assert!(
        bench.model.positions.is_empty(),
        "whoever is caught up has no row"
    );
    assert_eq!(bench.model.cursors.values().copied().max(), Some(4));
    let kept = bench.model.rows.values();
    assert!(
        kept.clone()
            .all(|row| row.status == DeliveryStatus::Delivered)
    );
    assert_eq!((kept.count(), bench.model.attempts.len()), (4, 4));
    assert_eq!(bench.model.attempts[0].status, Some(200));
    assert!(bench.driver.is_idle() && bench.driver.next_wakeup().is_none());
}

#[test]
fn a_message_that_fails_follows_the_plan_and_only_its_line_waits() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    let (bad, good) = (bench.account(), bench.account());
    bench.patch(bad);
    let mut reply = |order: &_| match order {
        wellspring_engine::SendOrder { message, .. } if message.seq == 1 => Some(refused(500)),
        order => ok(order),
    };
    for _ in 0..200 {
        bench.patch(good);
        bench.pass(HOUR / 2, &mut reply);
    }
    let tries: Vec<_> = bench.model.attempts.iter().filter(|a| a.seq == 1).collect();
    assert_eq!(tries.len(), 10);
    let plan = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
    for (pair, gap) in tries.windows(2).zip(plan) {
        let gap = Duration::from_secs(gap);
        let waited = pair[1].at.since(pair[0].at);
        assert!(
            waited >= gap && waited <= gap.mul_f64(1.25),
            "{waited:?} for {gap:?}"
        );
    }
    let numbers: Vec<u16> = tries.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, Vec::from_iter(1..=10));
    let row = &bench.model.rows[&(id, wellspring_core::Shard(0), 1)];
    assert_eq!((row.status, row.attempts), (DeliveryStatus::Exhausted, 10));
    let places = bench.places(id);
    assert_eq!(places.len(), 202);
    let waited = places.iter().position(|seq| *seq == 3).unwrap();
    assert!(waited > 150, "the line waits, and then goes on");
    assert_eq!(bench.driver.counters().sends_exhausted, 1);
    assert!(bench.model.open(id).is_empty() && bench.model.positions.is_empty());
}

#[test]
fn a_line_goes_on_only_when_it_is_durable_that_its_first_message_is_given_up() {
    let mut bench = Bench::new(1);
    bench.subscribe(1);
    let (bad, good) = (bench.account(), bench.account());
    bench.patch(bad);
    let mut tries = 0;
    let mut reply = |order: &wellspring_engine::SendOrder| {
        if order.message.seq != 1 {
            return ok(order);
        }
        tries += 1;
        (tries < 10).then(|| refused(500))
    };
    bench.pass(Duration::from_secs(1), &mut reply);
    bench.patch(bad);
    while bench.sends.is_empty() {
        // Whoever takes others is not down.
        bench.patch(good);
        bench.pass(HOUR / 2, &mut reply);
    }

    let (id, order) = bench.sends.pop_front().unwrap();
    assert_eq!(order.message.seq, 1);
    bench.end(id, &order, refused(500));
    bench.now = bench.now.after(Duration::from_secs(1));
    bench.give(Event::Tick);
    assert_eq!(bench.driver.counters().sends_exhausted, 1);
    assert_eq!(bench.commits.len(), 1);
    assert!(bench.sends.is_empty(), "a crash would send the first again");
    bench.commit_all();
    let lines: Vec<_> = bench
        .sends
        .iter()
        .map(|(_, one)| one.message.line)
        .collect();
    assert_eq!(lines, [order.message.line], "the next of its line");
}

#[test]
fn an_endpoint_is_not_probed_with_what_was_just_given_up() {
    let mut bench = Bench::new(1);
    bench.subscribe(1);
    let bad = bench.account();
    let others: Vec<_> = (0..3).map(|_| bench.account()).collect();
    bench.patch(bad);
    let mut tries = 0;
    let mut reply = |order: &wellspring_engine::SendOrder| {
        if order.message.seq != 1 {
            return ok(order);
        }
        tries += 1;
        (tries < 10).then(|| refused(500))
    };
    bench.pass(Duration::from_secs(1), &mut reply);
    while bench.sends.is_empty() {
        bench.patch(others[0]);
        bench.pass(HOUR / 2, &mut reply);
    }
    others.iter().for_each(|other| bench.patch(*other));
    assert_eq!(bench.sends.len(), 4);

    let (id, order) = bench.sends.pop_front().unwrap();
    bench.end(id, &order, refused(500));
    assert_eq!(bench.driver.counters().sends_exhausted, 1);
    // Before that is durable the endpoint is found to be down.
    while let Some((id, order)) = bench.sends.pop_front() {
        bench.end(id, &order, unreachable());
    }
    let mut probed = Vec::new();
    bench.pass(HOUR, &mut |order| {
        probed.push(order.message.seq);
        Some(unreachable())
    });
    assert!(!probed.is_empty() && !probed.contains(&1), "{probed:?}");
}

#[test]
fn the_endpoints_own_word_puts_a_message_off_and_rows_outlive_the_process() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    let account = bench.account();
    bench.patch(account);
    let later = NOW.after(HOUR);
    bench.settle(&mut |_| {
        let mut result = refused(429);
        result.failure.as_mut().unwrap().retry_at = Some(later);
        Some(result)
    });
    bench.pass(Duration::from_secs(1), &mut ok);
    let open = bench.model.open(id);
    let statuses: Vec<_> = open.iter().map(|row| row.status).collect();
    assert_eq!(
        statuses,
        [DeliveryStatus::Retrying, DeliveryStatus::Waiting]
    );
    bench.restart();
    bench.pass(HOUR - Duration::from_secs(2), &mut ok);
    assert_eq!(bench.sent.len(), 1);
    bench.pass(Duration::from_secs(5), &mut ok);
    bench.assert_complete(id, &BTreeMap::new());
    assert_eq!(bench.sent.len(), 3);
}

#[test]
fn a_crash_after_sending_repeats_under_the_same_id_and_misses_nothing() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    for _ in 0..30 {
        bench.account();
    }
    while let Some((number, order)) = bench.sends.pop_front() {
        bench.end(number, &order, ok(&order).unwrap());
    }
    bench.restart();
    bench.pass(HOUR, &mut ok);
    bench.assert_complete(id, &BTreeMap::new());
    assert!(bench.places(id).len() > 30, "at least once");
    let before = bench.sent.len();
    bench.restart();
    bench.pass(HOUR, &mut ok);
    assert_eq!(bench.sent.len(), before, "what is saved is not repeated");
}

#[test]
fn what_the_database_did_not_take_is_written_again() {
    let mut bench = Bench::new(1);
    let id = bench.subscribe(1);
    bench.account();
    let (number, order) = bench.sends.pop_front().unwrap();
    bench.end(number, &order, ok(&order).unwrap());
    bench.now = bench.now.after(Duration::from_millis(100));
    bench.give(Event::Tick);
    bench.fail_commit();
    assert!(bench.model.rows.is_empty());
    bench.pass(HOUR, &mut ok);
    bench.assert_complete(id, &BTreeMap::new());
    assert_eq!((bench.model.rows.len(), bench.model.attempts.len()), (1, 1));
    bench.restart();
    bench.pass(HOUR, &mut ok);
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_new_subscription_misses_nothing_that_is_committed_after_its_row() {
    let mut bench = Bench::new(3);
    let early = bench.subscribe(1);
    for _ in 0..7 {
        bench.account();
    }
    let id = bench.subscribe_to(2, TENANT, "* /accounts/**");
    let shards = bench.model.each_shard();
    let since: BTreeMap<_, _> = shards
        .map(|shard| (shard, bench.model.end(shard)))
        .collect();
    for _ in 0..7 {
        bench.account();
    }
    bench.tell();
    for _ in 0..7 {
        bench.account();
    }
    bench.pass(HOUR, &mut ok);
    bench.assert_complete(id, &since);
    bench.assert_complete(early, &BTreeMap::new());
    assert!(bench.model.positions.is_empty());
}

#[test]
fn a_change_costs_one_look_up_whatever_others_subscribe_to() {
    let mut sent = Vec::new();
    for others in [0, 240] {
        let mut bench = Bench::new(1);
        let tenant = |number: u8| TenantId::from_bytes([number.max(2); 16]);
        for number in 0..others {
            bench.subscribe_to(number + 12, tenant(number), "* /**");
        }
        for number in 1..=10 {
            bench.subscribe_to(number, TENANT, "* /accounts/**");
        }
        bench.tell();
        let before = bench.driver.counters();
        for _ in 0..20 {
            bench.account();
            bench.settle(&mut ok);
        }
        let after = bench.driver.counters();
        assert_eq!(after.lookups - before.lookups, 20);
        assert_eq!(after.log_reads, before.log_reads);
        sent.push(after.sends);
    }
    assert_eq!(sent, [200, 200]);
}
