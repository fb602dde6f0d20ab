//! The invariants find the bugs that are known to be there.

use wellspring_sim::{Options, Plant, first_violation};

/// Within how many seeds a planted bug has to be found.
const SEEDS: u64 = 200;

#[test]
fn every_planted_bug_is_found_and_the_same_seeds_pass_without_it() {
    let (one, other) = Plant::ALL.split_at(Plant::ALL.len() / 2);
    let furthest = std::thread::scope(|scope| {
        let halves = [one, other].map(|plants| scope.spawn(move || furthest(plants)));
        halves
            .into_iter()
            .map(|half| {
                half.join()
                    .expect("a bug that was not found is printed above")
            })
            .max()
            .unwrap_or(0)
    });

    let clean = first_violation(short(), furthest);

    assert!(
        clean.is_none(),
        "{:?}",
        clean.map(|(seed, run)| (seed, run.violation))
    );
}

/// Returns the last seed that was needed.
fn furthest(plants: &[Plant]) -> u64 {
    let found = plants.iter().map(|plant| {
        let planted = Options {
            plant: Some(*plant),
            ..short()
        };
        first_violation(planted, SEEDS)
            .unwrap_or_else(|| panic!("{plant} was not found"))
            .0
    });
    found.max().unwrap_or(0)
}

/// Shorter runs than a seed's own, for there are many.
fn short() -> Options {
    Options {
        days: 6,
        inputs: 1_000,
        ..Options::of(1)
    }
}
