//! Budgets: no window anywhere holds more than it allows, and little of it is left unused.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wellspring_core::Timestamp;
use wellspring_core::budget::{
    Ask, BudgetName, Correction, Decision, Ledger, Remaining, Spends, Window, hour, settle,
};

fn window(calls: u32, seconds: u64) -> Window {
    Window {
        calls,
        per: Duration::from_secs(seconds),
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + millis)
}

/// Calls as often as the ledger allows, `until` milliseconds have passed.
fn spend_all(ledger: &mut Ledger, until: i64, step: i64) -> Vec<i64> {
    let (mut now, mut spent) = (0, Vec::new());
    while now < until {
        match ledger.decide(at(now), 1) {
            Decision::Allowed => {
                ledger.spend(at(now), 1);
                spent.push(now);
                now += step;
            }
            Decision::NotBefore(next) => {
                assert!(next > at(now));
                now += i64::try_from(next.since(at(now)).as_millis()).unwrap();
            }
        }
    }
    spent
}

fn most_in_any(spent: &[i64], per: Duration) -> usize {
    let per = i64::try_from(per.as_millis()).unwrap();
    let in_window = |from: &i64| {
        let in_it = spent.iter().filter(|at| (*from..*from + per).contains(at));
        in_it.count()
    };
    spent.iter().map(in_window).max().unwrap_or(0)
}

#[test]
fn several_windows_hold_at_once_and_are_used_up() {
    let windows = [window(100, 60), window(800, 3_600)];
    let spent = spend_all(&mut Ledger::new(&windows), 7_300_000, 0);

    assert!(most_in_any(&spent, windows[0].per) <= 100);
    assert!(most_in_any(&spent, windows[1].per) <= 800);
    assert!(spent.len() >= 1_520, "{} of 1600 in two hours", spent.len());
}

#[test]
fn large_windows_are_counted_in_blocks_and_still_used_up() {
    let day = window(50_000, 86_400);
    let mut ledger = Ledger::new(&[day]);
    let spent = spend_all(&mut ledger, 2 * 86_400_000, 700);

    let first_day = spent.iter().filter(|at| **at < 86_400_000).count();
    assert!(first_day <= 50_000);
    assert!(
        spent.len() >= 95_000,
        "{} of 100000 in two days",
        spent.len()
    );
    let in_window = |from: i64| {
        let in_it = spent
            .iter()
            .filter(|at| (from..from + 86_400_000).contains(at));
        in_it.count()
    };
    for hour in 0..24 {
        assert!(in_window(hour * 3_600_000) <= 50_000);
    }
}

#[test]
fn a_clock_that_goes_back_frees_nothing_and_keeps_nobody_waiting_for_its_jump() {
    let mut ledger = Ledger::new(&[window(2, 60)]);
    ledger.spend(at(3_600_000), 1);
    ledger.spend(at(3_600_000), 1);

    let Decision::NotBefore(next) = ledger.decide(at(0), 1) else {
        panic!("two of two calls are spent");
    };
    assert_eq!(next, at(61_000));
    assert_eq!(ledger.decide(next, 2), Decision::Allowed);
    assert!(ledger.is_quiet(next));
}

#[test]
fn other_windows_take_over_what_was_spent() {
    let mut ledger = Ledger::new(&[window(5, 60)]);
    (0..5).for_each(|_| ledger.spend(at(0), 1));
    ledger.adopt(&[window(8, 60), window(20, 600)]);

    assert_eq!(ledger.decide(at(1), 3), Decision::Allowed);
    assert_eq!(ledger.decide(at(1), 4), Decision::NotBefore(at(61_000)));
    assert_eq!(ledger.standings(at(1))[1].used, 5);
}

#[test]
fn what_is_wanted_is_granted_in_order_from_all_budgets_at_once() {
    let minute: Arc<[Window]> = [window(5, 60)].into();
    let hour: Arc<[Window]> = [window(3, 3_600)].into();
    let ask = |of: &[usize], calls| Ask {
        of: of.to_vec(),
        calls,
        good_for: Duration::from_millis(500),
        by: None,
    };
    let spends = Spends {
        at: at(7_000),
        budgets: vec![
            (BudgetName::new("bank"), minute),
            (BudgetName::new("bank/login"), hour),
        ],
        asks: vec![ask(&[0, 1], 2), ask(&[0, 1], 2), ask(&[0], 4), ask(&[1], 1)],
        blocks: Vec::new(),
        corrections: Vec::new(),
    };
    let mut ledgers = [Ledger::default(), Ledger::default()];
    assert_eq!(settle(&mut ledgers, &spends, at(0)), [2, 1, 2, 0]);

    // They count from when they go out at the latest.
    assert_eq!(ledgers[0].decide(at(1), 1), Decision::NotBefore(at(61_500)));
    let told = Spends {
        asks: vec![ask(&[0], 1)],
        blocks: vec![(0, at(7_000 + 3_600_000))],
        ..spends
    };
    assert_eq!(settle(&mut ledgers, &told, at(70_000)), [0]);
    let until = at(70_000 + 3_600_000);
    assert_eq!(ledgers[0].blocked_until(), Some(until));
    assert_eq!(ledgers[0].decide(at(70_000), 1), Decision::NotBefore(until));
    assert_eq!(ledgers[0].decide(until, 5), Decision::Allowed);
}

/// So many calls left for a minute, said to a call that was made `asked` milliseconds after.
fn said(left: u32, asked: i64) -> Correction {
    Correction {
        of: None,
        left,
        until: at(60_000),
        counted_until: at(asked),
        on_way: 0,
    }
}

#[test]
fn a_source_that_others_spend_from_as_well_is_believed() {
    let mut ledger = Ledger::new(&[window(10, 60)]);
    (0..4).for_each(|n| ledger.spend(at(n * 100), 1));

    // The last call, which is on its way still, explains what it has left.
    assert!(!ledger.hear(said(7, 250), at(400)));
    assert!(!ledger.hear(said(6, 250), at(400)));
    assert_eq!(ledger.room(at(400)), 6);
    // This it does not: somebody else has spent two.
    assert!(ledger.hear(said(5, 250), at(400)));
    assert_eq!(ledger.room(at(400)), 4);
    assert_eq!(ledger.standings(at(400))[0].left, 4);
    // Answers overtake each other, and what they say is in whole seconds.
    let late = Correction {
        until: at(61_000),
        ..said(8, 350)
    };
    assert!(!ledger.hear(late, at(500)));
    let sure = Correction {
        on_way: 1,
        ..said(4, 350)
    };
    assert!(ledger.hear(sure, at(500)));

    ledger.spend(at(600), 3);
    assert_eq!(ledger.decide(at(600), 1), Decision::NotBefore(at(60_000)));
    assert_eq!(ledger.quiet_from(), Some(at(61_600)));
    assert_eq!(ledger.room(at(60_000)), 3);
    assert!(!ledger.hear(said(0, 600), at(60_000)), "it is over");

    // When there will be more is the source's to say.
    let mut ledger = Ledger::new(&[window(1, 60)]);
    ledger.spend(at(0), 1);
    let until = at(90_000);
    assert!(ledger.hear(
        Correction {
            until,
            ..said(0, 0)
        },
        at(1)
    ));
    assert_eq!(ledger.decide(at(1), 1), Decision::NotBefore(until));
    // A clock that goes back by an hour does not make it an hour longer.
    ledger.decide(at(-3_600_000), 1);
    assert_eq!(ledger.room(at(-3_600_000 + 90_000)), 1);
}

#[test]
fn what_a_source_says_of_a_later_time_is_news() {
    let mut ledger = Ledger::new(&[window(10, 60)]);
    assert!(ledger.hear(said(0, 0), at(1)));
    assert_eq!(ledger.decide(at(1), 1), Decision::NotBefore(at(60_000)));
    let later = Correction {
        of: None,
        left: 8,
        until: at(63_000),
        counted_until: at(2_000),
        on_way: 0,
    };
    assert!(ledger.hear(later, at(3_000)));
    assert_eq!(ledger.room(at(3_000)), 8);
    // Of an earlier one only what is less is believed.
    ledger.hear(said(9, 0), at(3_000));
    assert_eq!(ledger.room(at(3_000)), 8);
    assert!(ledger.hear(said(5, 0), at(3_000)));
    ledger.translate(at(0), at(1_000));
    assert_eq!(ledger.room(at(63_999)), 5);
    assert_eq!(ledger.room(at(64_000)), 10);
}

#[test]
fn a_figure_is_taken_over_before_calls_are_granted() {
    let ask = Ask {
        of: vec![0],
        calls: 1,
        good_for: Duration::ZERO,
        by: None,
    };
    let spends = Spends {
        at: at(0),
        budgets: vec![(BudgetName::new("bank"), [window(5, 60)].into())],
        asks: vec![ask.clone(), ask],
        blocks: Vec::new(),
        corrections: vec![(0, said(1, 0))],
    };
    let mut ledgers = [Ledger::default()];
    // The database's clock is an hour ahead.
    assert_eq!(settle(&mut ledgers, &spends, at(3_600_000)), [1, 0]);
    let until = at(3_660_000);
    assert_eq!(
        ledgers[0].decide(at(3_600_001), 1),
        Decision::NotBefore(until)
    );
}

#[test]
fn a_figure_is_about_the_window_of_its_size() {
    let remaining = |quota, per: Option<u64>| Remaining {
        quota,
        per: per.map(Duration::from_secs),
        left: 1,
        until: at(0),
    };
    let windows = [window(5, 60), window(100, 3_600)];
    let about = |quota, per| remaining(quota, per).about(&windows);
    assert_eq!(about(Some(100), None), Some(windows[1]));
    assert_eq!(about(Some(5), Some(60)), Some(windows[0]));
    assert_eq!(about(Some(5), Some(3_600)), None);
    assert_eq!(about(None, Some(60)), None);

    let mut ledger = Ledger::new(&windows);
    let figure = |of, left, seconds: i64| Correction {
        of,
        left,
        until: at(seconds * 1_000),
        counted_until: at(0),
        on_way: 0,
    };
    // Each window has a figure of its own, and what is of no size is of the one that is as long.
    assert!(ledger.hear(figure(Some(windows[0]), 2, 7_200), at(0)));
    let next = ledger.standings(at(0))[0].next_release;
    assert_eq!(next, Some(at(62_000)), "by a clock that is two hours ahead");
    assert!(ledger.hear(figure(Some(windows[1]), 7, 900), at(0)));
    let left = |ledger: &Ledger| ledger.standings(at(0)).iter().map(|one| one.left).collect();
    let both: Vec<u32> = left(&ledger);
    assert_eq!(both, [2, 7]);
    assert!(ledger.hear(figure(None, 6, 900), at(0)));
    assert!(ledger.hear(figure(None, 1, 30), at(0)));
    let both: Vec<u32> = left(&ledger);
    assert_eq!(both, [1, 6]);
    assert!(
        ledger.hear(figure(None, 0, 9_000), at(0)),
        "longer than any"
    );
    assert_eq!(
        ledger.decide(at(900_000), 1),
        Decision::NotBefore(at(9_000_000))
    );
}

#[test]
fn hours_begin_at_full_ones_before_1970_as_well() {
    for (at, began) in [
        (0, 0),
        (3_599_999, 0),
        (7_200_000, 7_200_000),
        (-1, -3_600_000),
    ] {
        let (at, began) = (Timestamp::from_millis(at), Timestamp::from_millis(began));
        assert_eq!(hour(at), began);
    }
}

#[test]
fn a_ledger_goes_from_one_clock_to_another() {
    let mut ledger = Ledger::new(&[window(2, 60)]);
    ledger.spend(at(500), 2);
    ledger.block(at(10_000));
    ledger.translate(at(0), at(3_600_000));

    assert_eq!(ledger.blocked_until(), Some(at(3_610_000)));
    let free = at(3_600_000 + 61_500);
    assert_eq!(ledger.decide(at(3_600_000), 1), Decision::NotBefore(free));
    assert_eq!(ledger.quiet_from(), Some(free));
    assert_eq!(ledger.room(free), 2);
}

proptest! {
    #[test]
    fn a_ledger_reads_back(
        spends in prop::collection::vec((0..400_000_i64, 1..4_u32), 0..200), block in 0..9_000_i64,
        left in 0..3_u32, cut in 0..200_usize,
    ) {
        let mut ledger = Ledger::new(&[window(7, 10), window(4_000, 3_600)]);
        let mut now = 0;
        for (gap, calls) in spends {
            now += gap;
            ledger.spend(at(now), calls);
        }
        if block > 1_000 {
            ledger.block(at(block));
            ledger.hear(said(left, 0), at(0));
        }
        let bytes = ledger.to_bytes();
        prop_assert_eq!(Ledger::from_bytes(&bytes), Some(ledger));
        // What is damaged is found out, or at least does no harm.
        drop(Ledger::from_bytes(&bytes[..cut.min(bytes.len())]));
    }

    #[test]
    fn no_window_is_ever_overrun(
        small in 1..30_u32, more in 1..60_u32, gaps in prop::collection::vec(0..9_000_i64, 1..400),
    ) {
        let windows = [window(small, 10), window(small + more, 60)];
        let mut ledger = Ledger::new(&windows);
        let (mut now, mut spent) = (0, Vec::new());
        for gap in gaps {
            now += gap;
            if ledger.decide(at(now), 1) == Decision::Allowed {
                ledger.spend(at(now), 1);
                spent.push(now);
            }
        }
        for window in windows {
            prop_assert!(most_in_any(&spent, window.per) <= usize::try_from(window.calls).unwrap());
        }
    }
}

/// Prints what a decision costs; run it with `--release -- --nocapture` for a figure that counts.
#[test]
fn a_decision_is_cheap() {
    let mut ledger = Ledger::new(&[
        window(120, 60),
        window(1_000, 3_600),
        window(50_000, 86_400),
    ]);
    let rounds = 200_000_u32;
    let mut allowed = 0_u32;
    #[expect(clippy::disallowed_methods, reason = "measures, decides nothing")]
    let began = Instant::now();
    for round in 0..rounds {
        let now = at(i64::from(round) * 40);
        if ledger.decide(now, 1) == Decision::Allowed {
            ledger.spend(now, 1);
            allowed += 1;
        }
    }
    let each = began.elapsed() / rounds;
    println!(
        "a budget decision over three windows took {each:?}; {allowed} of {rounds} were allowed"
    );
    assert!(allowed > 0);
}
