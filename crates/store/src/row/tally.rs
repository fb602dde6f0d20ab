//! Fetches that ended, added up.

use std::time::Duration;

use wellspring_core::Stored;
use wellspring_core::connection::FetchStatus;
use wellspring_core::reliability::{Bucket, Day, FetchTally};
use wellspring_engine::StoreError;

/// How long statistics are kept.
pub(crate) const KEEP_STATISTICS: Duration = Duration::from_secs(731 * 86_400);

/// Day, status and class of duration, as they are stored.
pub(crate) type TallyPlace = (i32, u8, u16);

/// Fetches, attempts, records, documents and milliseconds, as they are stored.
pub(crate) type TallySums = [i64; 5];

/// Returns the columns of a tally.
pub(crate) fn tally_columns(tally: &FetchTally) -> (TallyPlace, TallySums) {
    let place = (tally.day.0, tally.status.code(), tally.bucket.code());
    let sums = [
        tally.fetches,
        tally.attempts,
        tally.records,
        tally.documents,
        tally.duration_ms,
    ];
    (
        place,
        sums.map(|sum| i64::try_from(sum).unwrap_or(i64::MAX)),
    )
}

/// Rebuilds a tally from its columns.
pub(crate) fn tally(
    (day, status, bucket): TallyPlace,
    sums: TallySums,
) -> Result<FetchTally, StoreError> {
    let inconsistent = |column| StoreError::Inconsistent {
        table: "fetch_statistics",
        column,
        row: day.to_string(),
    };
    let [fetches, attempts, records, documents, duration_ms] =
        sums.map(|sum| u64::try_from(sum).unwrap_or(0));
    Ok(FetchTally {
        day: Day(day),
        status: FetchStatus::from_code(status).ok_or_else(|| inconsistent("status"))?,
        bucket: Bucket::from_code(bucket).ok_or_else(|| inconsistent("bucket"))?,
        fetches,
        attempts,
        records,
        documents,
        duration_ms,
    })
}
