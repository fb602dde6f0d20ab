//! Fixed seeds, replayed on each push.

use wellspring_sim::{Options, Report, run};

/// Seeds that once found something, and a few more; each half runs on a thread of its own.
const SEEDS: [[u64; 6]; 2] = [[1, 2, 3, 5, 8, 10], [12, 15, 16, 20, 24, 1451]];

#[test]
fn every_invariant_holds_and_every_fault_strikes() {
    let mut sum = Report::default();
    std::thread::scope(|scope| {
        let halves = SEEDS.map(|seeds| scope.spawn(move || half(&seeds)));
        for half in halves {
            sum.add(&half.join().expect("a failing seed is printed above"));
        }
    });

    assert_eq!(sum.missing(), [], "{sum}");
    assert!(!sum.leaves.contains(&0), "{sum}");
    assert!(sum.inputs >= sum.seeds * 2_000, "{sum}");
}

#[test]
fn one_seed_gives_the_same_log_twice() {
    let options = Options {
        days: 8,
        log: true,
        ..Options::of(6)
    };

    let first = run(options);
    let second = run(options);

    assert!(first.log.len() > 1_000);
    assert!(
        first.log == second.log,
        "{:?}",
        first
            .log
            .iter()
            .zip(&second.log)
            .find(|(one, other)| one != other)
    );
    assert_eq!(first.report, second.report);
}

fn half(seeds: &[u64]) -> Report {
    let mut sum = Report::default();
    for seed in seeds {
        let done = run(Options::of(*seed));
        if let Some(violation) = done.violation {
            panic!("wellspring-sim --seed {seed}\n{violation}");
        }
        sum.add(&done.report);
    }
    sum
}
