//! The invariants find the bugs that are known to be there.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use wellspring_sim::{Options, Plant, Violation, first_violation, run};

/// How many seeds are run without a bug at the most, for a test has to end some day.
const MOST_CLEAN: u64 = 300;
/// Within how many seeds a planted bug has to be found.
const SEEDS: u64 = 200;

/// Bugs that break nothing but one invariant.
const ALONE: [(Plant, &str); 10] = [
    (Plant::ForgetAlert, "alerts about sources follow from calls"),
    (
        Plant::RepeatTooOften,
        "attempts stay within the policy of their class",
    ),
    (Plant::MissIncidents, "a connection fares as its row says"),
    (
        Plant::DisturbAtNight,
        "nothing disturbs people in their quiet hours",
    ),
    (
        Plant::LeaveWhenSpent,
        "no window holds more calls than its budget",
    ),
    (
        Plant::SpendOnStranger,
        "no window holds more calls than its budget",
    ),
    (
        Plant::LeaveToEnded,
        "an attempt that ended makes no further call",
    ),
    (
        Plant::BudgetIsItsWord,
        "a source is kept still by its own word alone",
    ),
    (Plant::SpendOnBudget, "connections move by the table"),
    (
        Plant::DeafToFigures,
        "a source that has nothing left is not asked",
    ),
];

#[test]
fn every_planted_bug_is_found_and_the_same_seeds_pass_without_it() {
    let next = AtomicUsize::new(0);
    let furthest = in_two(|| furthest(&next)).into_iter().max();

    let seed = AtomicU64::new(1);
    let clean = in_two(|| first_broken(&seed, furthest.unwrap_or(0).min(MOST_CLEAN)));

    assert_eq!(clean, [None, None]);
}

/// Does the same on two threads, which share what there is to do.
fn in_two<T: Send>(work: impl Fn() -> T + Sync) -> [T; 2] {
    std::thread::scope(|scope| {
        let halves = [(), ()].map(|()| scope.spawn(&work));
        halves.map(|half| half.join().expect("what went wrong is printed above"))
    })
}

/// Returns the last seed that was needed.
fn furthest(next: &AtomicUsize) -> u64 {
    let mut furthest = 0;
    while let Some(plant) = Plant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
        let planted = Options {
            plant: Some(*plant),
            ..short()
        };
        let (seed, run) =
            first_violation(planted, SEEDS).unwrap_or_else(|| panic!("{plant} was not found"));
        let found = run.violation.map(|violation| violation.invariant);
        let alone = ALONE.into_iter().find(|(other, _)| other == plant);
        if let Some((_, invariant)) = alone {
            assert_eq!(found, Some(invariant), "{plant}, seed {seed}");
        }
        furthest = furthest.max(seed);
    }
    furthest
}

fn first_broken(next: &AtomicU64, last: u64) -> Option<(u64, Violation)> {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed > last {
            return None;
        }
        if let Some(violation) = run(Options { seed, ..short() }).violation {
            return Some((seed, violation));
        }
    }
}

/// Shorter runs than a seed's own, for there are many.
fn short() -> Options {
    Options {
        days: 6,
        inputs: 1_000,
        ..Options::of(1)
    }
}
