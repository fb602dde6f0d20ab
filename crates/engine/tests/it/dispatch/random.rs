//! Random faults, then none: nothing is lost, lines keep their order, and everything settles.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wellspring_core::SubscriptionId;
use wellspring_engine::{SendOrder, SubscriptionWish};

use super::bench::{Bench, Reply, ok, refused, unreachable};

#[test]
fn whatever_fails_nothing_is_lost_and_lines_keep_their_order() {
    for seed in 0..60 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut bench = Bench::new(if seed.is_multiple_of(3) { 3 } else { 1 });
    let ids: Vec<SubscriptionId> = (1..=3).map(|number| bench.subscribe(number)).collect();
    bench.late_reads = !seed.is_multiple_of(4);
    let mut accounts = vec![bench.account()];
    // How each endpoint fares: well, mixed, down, slow.
    let mut moods = [0_u32; 3];
    for _ in 0..200 {
        let mut mood = |order: &SendOrder| fare(&ids, &moods, order, &mut dice);
        if bench.driver.is_store_down() {
            bench.pass(Duration::from_secs(5), &mut mood);
        }
        match dice.next_u32() % 26 {
            0 if bench.failing_commits == 0 => accounts.push(bench.account()),
            1..=7 => {
                for _ in 0..=dice.next_u32() % 8 {
                    let place = usize::try_from(dice.next_u32()).unwrap() % accounts.len();
                    if dice.next_u32() % 2 == 0 {
                        bench.patch(accounts[place]);
                    } else {
                        bench.patch_soon(accounts[place]);
                    }
                }
            }
            8 => bench.restart(),
            9 => {
                let of = usize::try_from(dice.next_u32() % 3).unwrap();
                moods[of] = dice.next_u32() % 4;
            }
            10 => {
                let of = usize::try_from(dice.next_u32() % 3).unwrap();
                let enabled = dice.next_u32() % 2 == 0;
                bench.change(ids[of], |row| {
                    row.enabled = enabled;
                    row.disabled = None;
                });
            }
            11 => bench.failing_commits = dice.next_u32() % 3,
            12 => {
                let since = bench.now.before(Duration::from_secs(600));
                let of = usize::try_from(dice.next_u32() % 3).unwrap();
                bench.wish(ids[of], SubscriptionWish::ReplaySince(since));
            }
            13..=15 => bench.commit_late(),
            16..=22 => bench.hear(),
            _ => {
                let seconds = u64::from(dice.next_u32() % 600);
                let mut mood = |order: &SendOrder| fare(&ids, &moods, order, &mut dice);
                bench.pass(Duration::from_secs(seconds), &mut mood);
            }
        }
    }
    for id in &ids {
        bench.change(*id, |row| {
            row.enabled = true;
            row.disabled = None;
        });
    }
    bench.pass(Duration::from_secs(86_400), &mut ok);
    for id in &ids {
        bench.assert_complete(*id, &BTreeMap::new());
        assert!(bench.model.open(*id).is_empty(), "seed {seed}");
    }
    assert!(bench.model.positions.is_empty(), "seed {seed}");
    assert!(
        bench.driver.is_idle() && bench.sends.is_empty(),
        "seed {seed}"
    );
}

fn fare(ids: &[SubscriptionId], moods: &[u32; 3], order: &SendOrder, dice: &mut impl Rng) -> Reply {
    let of = ids.iter().position(|id| *id == order.subscription.id);
    match of.map_or(0, |of| moods[of]) {
        0 => ok(order),
        1 if dice.next_u32().is_multiple_of(2) => Some(refused(500)),
        1 => ok(order),
        2 => Some(unreachable()),
        _ => None,
    }
}
