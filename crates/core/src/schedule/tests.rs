use proptest::prelude::*;
use rand_core::SeedableRng;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

#[test]
fn a_schedule_reads_back_as_it_was_written() {
    for text in [
        r#"{"every":"24h"}"#,
        r#"{"every":"1m"}"#,
        r#"{"cron":"0 6 * * *"}"#,
        r#"{"cron":"0 6 * * MON-FRI","timezone":"Europe/Berlin"}"#,
        r#"{"cron":"@daily","timezone":"UTC"}"#,
        r#"{"manual":true}"#,
    ] {
        let schedule: Schedule = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&schedule).unwrap(), text);
    }
    let lower =
        serde_json::from_str::<Schedule>(r#"{"cron":" 0 6 * * * ","timezone":"europe/berlin"}"#);
    let canonical = CronExpr::new("0 6 * * *", Some("Europe/Berlin")).unwrap();
    assert_eq!(lower.unwrap(), Schedule::Cron(canonical));
}

#[test]
fn what_is_wrong_with_a_schedule_is_said() {
    for (text, message) in [
        (r"{}", "a schedule is one of"),
        (r#"{"manual":false}"#, "a schedule is one of"),
        (r#"{"every":"24h","manual":true}"#, "a schedule is one of"),
        (r#"{"each":"24h"}"#, "unknown field `each`"),
        (r#"{"every":"daily"}"#, "every: `daily` is not a duration"),
        (r#"{"every":"59s"}"#, "every: `59s` is not between 1m and"),
        (r#"{"every":"8785h"}"#, "every: `8785h` is not between"),
        (
            r#"{"every":"24h","timezone":"UTC"}"#,
            "timezone: only a cron",
        ),
        (r#"{"cron":"0 6 * *"}"#, "five fields such as `0 6 * * *`"),
        (
            r#"{"cron":"*/10 0 6 * * *"}"#,
            "is not a cron expression of five fields",
        ),
        (r#"{"cron":"60 * * * *"}"#, ": number out of bounds"),
        (r#"{"cron":"x 6 * * *"}"#, ": illegal character 'X'"),
        (
            r#"{"cron":"0 0 31 2 *"}"#,
            "cron: `0 0 31 2 *` never happens",
        ),
        (
            r#"{"cron":"0 6 * * *","timezone":"Berlin"}"#,
            "timezone: `Berlin` is not",
        ),
    ] {
        let error = serde_json::from_str::<Schedule>(text)
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    let long = CronExpr::new(&"ä".repeat(300), None)
        .unwrap_err()
        .to_string();
    assert!(long.contains("longer than 200 bytes"), "{long}");
}

#[test]
fn connections_created_together_are_spread_evenly_a_day_later() {
    let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    let every = Schedule::Every(DAY);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let minted: Vec<u64> = (0..10_000)
        .map(|n| {
            let created = now.after(Duration::from_millis(n / 10));
            phase_seed(ConnectionId::mint(created, &mut rng))
        })
        .collect();
    let counted: Vec<u64> = (0..10_000).collect();

    for seeds in [minted, counted] {
        for dues in [
            seeds
                .iter()
                .map(|seed| every.first(now, *seed))
                .collect::<Vec<_>>(),
            seeds
                .iter()
                .map(|seed| every.next(now, now, *seed))
                .collect(),
        ] {
            let mut buckets = [0u32; 24];
            for due in dues {
                let hour = due.unwrap().since(now).as_secs() / 3_600 % 24;
                buckets[usize::try_from(hour).unwrap()] += 1;
            }
            let expected = 10_000.0 / 24.0;
            let chi_square: f64 = buckets
                .iter()
                .map(|count| (f64::from(*count) - expected).powi(2) / expected)
                .sum();
            // With 23 degrees of freedom chance passes 58 once in ten thousand times.
            assert!(chi_square < 58.0, "{chi_square}: {buckets:?}");
        }
    }
}

#[test]
fn after_an_outage_a_connection_is_fetched_once_and_is_back_on_its_grid() {
    let start: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    let every = Schedule::Every(DAY);
    let due = every.first(start, 42).unwrap();
    // The numbers that are written down must never move.
    assert_eq!(due.to_string(), "2026-11-22T06:14:35.413Z");

    let in_time = every.next(due.after(HOUR), due, 42).unwrap();
    assert_eq!(in_time, due.after(DAY));
    let three_days_late = every.next(due.after(3 * DAY + HOUR), due, 42).unwrap();
    assert_eq!(three_days_late, due.after(4 * DAY));

    let asked_for_soon_after = every.next(due.after(2 * HOUR), due.after(2 * HOUR), 42);
    assert_eq!(asked_for_soon_after, Some(in_time));
    let clock_was_set_back = every.next(due.before(13 * HOUR), due, 42).unwrap();
    assert_eq!(clock_was_set_back, in_time);
    assert_eq!(Schedule::Manual.first(start, 42), None);
    assert_eq!(Schedule::Manual.next(start, start, 42), None);
}

#[test]
fn cron_follows_the_clock_of_its_zone() {
    let berlin = |text| CronExpr::new(text, Some("Europe/Berlin")).unwrap();
    let times = |expression: &CronExpr, from: &str| -> Vec<String> {
        let mut at: Timestamp = from.parse().unwrap();
        (0..3)
            .map(|_| {
                at = expression.later_than(at).unwrap();
                at.to_string()[5..16].to_owned()
            })
            .collect()
    };

    let half_past_two = berlin("30 2 * * *");
    let forward = times(&half_past_two, "2026-03-28T00:00:00Z");
    assert_eq!(forward, ["03-28T01:30", "03-29T01:00", "03-30T00:30"]);
    let back = times(&half_past_two, "2026-10-24T12:00:00Z");
    assert_eq!(back, ["10-25T00:30", "10-26T01:30", "10-27T01:30"]);
    let half_hours = times(&berlin("*/30 * * * *"), "2026-10-25T00:00:00.500Z");
    assert_eq!(half_hours, ["10-25T00:30", "10-25T01:00", "10-25T01:30"]);
    let leap = times(&berlin("0 12 29 2 *"), "2026-01-01T00:00:00Z");
    assert_eq!(leap, ["02-29T11:00"; 3]);
}

#[test]
fn cron_is_spread_over_a_tenth_of_the_gap_and_no_more_than_a_quarter_of_an_hour() {
    let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    for (text, most) in [("0 6 * * *", 900), ("0 * * * *", 360), ("* * * * *", 6)] {
        let expression = CronExpr::new(text, None).unwrap();
        let named = expression.later_than(now).unwrap();
        let schedule = Schedule::Cron(expression);
        let offsets: Vec<Duration> = (0..1_000)
            .map(|seed| schedule.first(now, seed).unwrap().since(named))
            .collect();
        let bound = Duration::from_secs(most);
        assert!(offsets.iter().all(|offset| *offset < bound), "{text}");
        assert!(
            offsets.iter().any(|offset| *offset > bound * 9 / 10),
            "{text}"
        );
        assert!(offsets.iter().any(|offset| *offset < bound / 10), "{text}");

        let due = schedule.first(now, 3).unwrap();
        let following = schedule.next(due, due, 3).unwrap();
        assert!(following > due);
        let clock_was_set_back = schedule.next(now, due, 3).unwrap();
        assert_eq!(clock_was_set_back, following, "{text}");
    }
}

#[test]
fn the_slow_plan_of_the_first_seed() {
    let plan = SlowPlan::default();
    let gaps: Vec<Option<Duration>> = (1..=6).map(|retries| plan.gap(retries)).collect();
    let hours = |hours| Some(hours * HOUR);
    assert_eq!(
        gaps,
        [hours(2), hours(24), hours(24), hours(24), None, None]
    );
    assert_eq!(plan.gap(0), hours(2));

    let text = r#"["2h","24h","24h","24h"]"#;
    assert_eq!(serde_json::to_string(&plan).unwrap(), text);
    assert_eq!(serde_json::from_str::<SlowPlan>(text).unwrap(), plan);
    let long = serde_json::to_string(&["1h"; 21]).unwrap();
    for (text, message) in [
        ("[]", "this one has 0"),
        (long.as_str(), "this one has 21"),
        (r#"["1h","soon"]"#, "gap 2: `soon` is not a duration"),
        (r#"["0s"]"#, "gap 1: `0s` is not between"),
        (r#"["1h","9000h"]"#, "gap 2: `9000h` is not between"),
    ] {
        let error = serde_json::from_str::<SlowPlan>(text)
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn the_next_time_is_half_to_one_and_a_half_periods_away(
        seconds in 60u64..=366 * 24 * 3_600, now in 0i64..4_000_000_000_000, ago in 0i64..1_000_000_000_000, seed: u64,
    ) {
        let period = Duration::from_secs(seconds);
        let schedule = Schedule::every(period).unwrap();
        let now = Timestamp::from_millis(now);
        let after = Timestamp::from_millis(now.as_millis() - ago);
        let due = schedule.next(now, after, seed).unwrap();
        prop_assert!(due > now);
        prop_assert!(due.since(now) >= period / 2 && due.since(now) <= period * 3 / 2);
        prop_assert_eq!(schedule.next(now, after, seed), Some(due));

        let first = schedule.first(now, seed).unwrap();
        prop_assert!(first > now && first.since(now) <= period);
        let apart = due.as_millis() - first.as_millis();
        prop_assert_eq!(apart % i64::try_from(period.as_millis()).unwrap(), 0);
        // From one due time to the next it is exactly one period, if the fetch is quick.
        prop_assert_eq!(schedule.next(due.after(period / 3), due, seed), Some(due.after(period)));
    }

    #[test]
    fn cron_is_always_later_than_now_and_after(
        minute in 0u8..60, hour in 0u8..24, step in 1u8..24, now in 0i64..4_000_000_000_000, ahead in 0i64..3_600_000, seed: u64,
    ) {
        let now = Timestamp::from_millis(now);
        for text in [format!("{minute} {hour} * * *"), format!("{minute} */{step} * * *")] {
            for zone in ["America/New_York", "Asia/Kathmandu", "UTC"] {
                let schedule = Schedule::Cron(CronExpr::new(&text, Some(zone)).unwrap());
                let first = schedule.first(now, seed).unwrap();
                prop_assert!(first > now);
                let second = schedule.next(first, first, seed).unwrap();
                prop_assert!(second > first);
                let set_back = schedule.next(first.before(Duration::from_millis(ahead.unsigned_abs() % 600_000)), first, seed).unwrap();
                prop_assert!(set_back > first);
            }
        }
    }

    #[test]
    fn any_text_is_an_expression_or_is_refused(text in "[-0-9*,/#LW?+ A-Za-z@]{0,30}", other in "\\PC{0,20}") {
        for text in [text, other] {
            if let Ok(expression) = CronExpr::new(&text, None) {
                prop_assert_eq!(CronExpr::new(expression.text(), None).unwrap(), expression);
            }
        }
    }
}
