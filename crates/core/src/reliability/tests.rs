use super::*;

fn tally(day: i32, status: FetchStatus, fetches: u64, each_ms: u64) -> FetchTally {
    FetchTally {
        day: Day(day),
        status,
        bucket: Bucket::of(each_ms),
        fetches,
        attempts: fetches * 2,
        records: fetches * 10,
        documents: fetches,
        duration_ms: fetches * each_ms,
    }
}

#[test]
fn the_score_is_that_of_the_formula_and_nothing_where_nothing_counts() {
    let cases = [
        // Healthy and all connections, successful and counted fetches.
        ((0, 0), (0, 0), None),
        ((0, 0), (5, 5), None),
        ((1, 1), (0, 0), None),
        ((1, 1), (1, 1), Some(10_000)),
        ((0, 1), (0, 1), Some(0)),
        ((1, 1), (0, 1), Some(6_000)),
        ((0, 1), (1, 1), Some(4_000)),
        ((2, 3), (48, 50), Some(7_840)),
        // 100 × (0.6 × 1/3 + 0.4 × 1/3) is a third of a hundred.
        ((1, 3), (1, 3), Some(3_333)),
        ((2, 3), (2, 3), Some(6_667)),
        ((1_000_000, 1_000_000), (u64::MAX, u64::MAX), Some(10_000)),
    ];
    for (connections, fetches, expected) in cases {
        let score = score(connections, fetches);
        assert_eq!(
            score,
            expected.map(Hundredths),
            "{connections:?} {fetches:?}"
        );
    }
    assert_eq!(score((2, 3), (48, 50)).map(Hundredths::as_f64), Some(78.4));
    assert_eq!(percentage(48, 50), Some(Hundredths(9_600)));
    assert_eq!(percentage(1, 3), Some(Hundredths(3_333)));
    assert_eq!(percentage(0, 0), None);
}

#[test]
fn what_was_throttled_or_met_maintenance_or_was_ended_counts_for_nothing() {
    let idle = [
        tally(1, FetchStatus::RateLimited, 3, 10),
        tally(1, FetchStatus::Maintenance, 9, 10),
        tally(2, FetchStatus::Cancelled, 1, 10),
    ];
    let statistics = FetchStatistics::of(idle);
    assert_eq!((statistics.all.total(), statistics.all.counted()), (13, 0));
    assert_eq!(statistics.all.success_rate(), None);
    assert_eq!(statistics.all.average_ms(), None);
    assert_eq!(statistics.percentile_ms(50), None);
    let score_of = |sums: Sums| score((1, 1), (sums.success, sums.counted()));
    assert_eq!(score_of(statistics.all), None, "a month of maintenance");

    let partial = tally(2, FetchStatus::Partial, 1, 10);
    let statistics = FetchStatistics::of(idle.into_iter().chain([partial]));
    assert_eq!(statistics.all.success_rate(), Some(Hundredths(0)));
    assert_eq!(
        score_of(statistics.all),
        Some(Hundredths(6_000)),
        "partial is no success"
    );
    let success = tally(3, FetchStatus::Success, 3, 10);
    let statistics = FetchStatistics::of(idle.into_iter().chain([partial, success]));
    assert_eq!(statistics.all.success_rate(), Some(Hundredths(7_500)));
    assert_eq!(score_of(statistics.all), Some(Hundredths(9_000)));
    let statuses = FetchStatus::ALL
        .into_iter()
        .filter(|status| status.counts());
    let counted: Vec<&str> = statuses.map(FetchStatus::as_str).collect();
    assert_eq!(counted, ["success", "partial", "failed"]);
}

#[test]
fn tallies_add_up_by_day_and_keep_percentiles() {
    let statistics = FetchStatistics::of([
        tally(7, FetchStatus::Success, 90, 100),
        tally(8, FetchStatus::Success, 5, 1_000),
        tally(8, FetchStatus::Failed, 5, 60_000),
        tally(9, FetchStatus::RateLimited, 1, 5),
    ]);
    let days: Vec<(i32, u64)> = statistics
        .days
        .iter()
        .map(|(day, sums)| (day.0, sums.total()))
        .collect();
    assert_eq!(days, [(7, 90), (8, 10), (9, 1)]);
    assert_eq!(statistics.all.records, 1_010);
    assert_eq!(
        (statistics.all.documents, statistics.all.attempts),
        (101, 202)
    );
    assert_eq!(statistics.all.average_ms(), Some(3_140));
    let bounds = [
        (50, 100),
        (90, 100),
        (95, 1_000),
        (99, 60_000),
        (100, 60_000),
    ];
    for (percent, exact) in bounds {
        let found = statistics.percentile_ms(percent).unwrap();
        assert!(
            (exact..=exact + exact / 8).contains(&found),
            "{percent}: {found}"
        );
    }
}

#[test]
fn classes_of_durations_are_narrow_and_in_order() {
    let mut last = Bucket::of(0);
    for duration in (0..70_000).chain([u64::MAX / 2, u64::MAX]) {
        let bucket = Bucket::of(duration);
        assert!(bucket >= last, "{duration}");
        let longest = bucket.longest_ms();
        assert!(longest >= duration, "{duration}");
        assert!(longest - duration <= duration / 8, "{duration}: {longest}");
        assert_eq!(Bucket::from_code(bucket.code()), Some(bucket));
        last = bucket;
    }
    assert_eq!(Bucket::from_code(last.code() + 1), None);
    let at = Timestamp::from_millis(-1);
    assert_eq!((Day::of(at), Day::of(Day(3).start())), (Day(-1), Day(3)));
}
