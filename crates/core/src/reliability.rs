//! What many fetches say together: tallies by day, statistics over days, and the score.

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::connection::{FetchRecord, FetchStatus};

mod bucket;

pub use bucket::Bucket;

/// A day of UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i32);

impl Day {
    /// Returns the day that holds `at`.
    pub fn of(at: Timestamp) -> Self {
        let days = at.as_millis().div_euclid(MILLIS);
        Self(i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }))
    }

    /// Returns its first moment.
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis(i64::from(self.0).saturating_mul(MILLIS))
    }
}

/// Fetches of one day that ended alike and took about as long, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchTally {
    /// The day on which they ended.
    pub day: Day,
    /// How they ended.
    pub status: FetchStatus,
    /// How long they took, roughly.
    pub bucket: Bucket,
    /// How many they are.
    pub fetches: u64,
    /// Their attempts.
    pub attempts: u64,
    /// Records that came in.
    pub records: u64,
    /// Documents that came in.
    pub documents: u64,
    /// How long they took together, in milliseconds.
    pub duration_ms: u64,
}

impl FetchTally {
    /// Returns the tally of one fetch; nothing while it goes on.
    pub fn of(fetch: &FetchRecord) -> Option<Self> {
        let ended_at = fetch.ended_at?;
        let took = ended_at.since(fetch.started_at).as_millis();
        let duration_ms = u64::try_from(took).unwrap_or(u64::MAX);
        Some(Self {
            day: Day::of(ended_at),
            status: fetch.status,
            bucket: Bucket::of(duration_ms),
            fetches: 1,
            attempts: fetch.attempts.into(),
            records: fetch.records.into(),
            documents: fetch.documents.into(),
            duration_ms,
        })
    }
}

/// What fetches of some days say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchStatistics {
    /// All of them.
    pub all: Sums,
    /// Each day on which any ended, in order.
    pub days: BTreeMap<Day, Sums>,
    /// How many took how long, of those that speak for or against the source.
    durations: BTreeMap<Bucket, u64>,
}

/// Sums over fetches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Fetches that brought all.
    pub success: u64,
    /// Fetches that brought a part.
    pub partial: u64,
    /// Fetches that failed.
    pub failed: u64,
    /// Fetches that the source throttled.
    pub rate_limited: u64,
    /// Fetches that met maintenance.
    pub maintenance: u64,
    /// Fetches that ended for want of an answer, or because somebody ended them.
    pub cancelled: u64,
    /// Attempts of all of them.
    pub attempts: u64,
    /// Records that came in.
    pub records: u64,
    /// Documents that came in.
    pub documents: u64,
    /// How long those that count took together, in milliseconds.
    pub duration_ms: u64,
}

impl FetchStatistics {
    /// Adds tallies up.
    pub fn of(tallies: impl IntoIterator<Item = FetchTally>) -> Self {
        let mut statistics = Self::default();
        for tally in tallies {
            statistics.all.add(&tally);
            statistics.days.entry(tally.day).or_default().add(&tally);
            if tally.status.counts() {
                let bucket = statistics.durations.entry(tally.bucket).or_default();
                *bucket = bucket.saturating_add(tally.fetches);
            }
        }
        statistics
    }

    /// Returns within how many milliseconds so many percent of the fetches that count ended, an
    /// eighth too many at most; nothing where none counts.
    pub fn percentile_ms(&self, percent: u8) -> Option<u64> {
        let total: u64 = self.durations.values().sum();
        let wanted = total.checked_mul(percent.into())?.div_ceil(100).max(1);
        let mut seen = 0_u64;
        let found = self.durations.iter().find(|(_, fetches)| {
            seen = seen.saturating_add(**fetches);
            seen >= wanted
        });
        found.map(|(bucket, _)| bucket.longest_ms())
    }
}

impl Sums {
    fn add(&mut self, tally: &FetchTally) {
        let field = match tally.status {
            FetchStatus::Success => &mut self.success,
            FetchStatus::Partial => &mut self.partial,
            FetchStatus::Failed => &mut self.failed,
            FetchStatus::RateLimited => &mut self.rate_limited,
            FetchStatus::Maintenance => &mut self.maintenance,
            FetchStatus::Cancelled => &mut self.cancelled,
            // What goes on is in no tally.
            FetchStatus::Running | FetchStatus::Retrying => return,
        };
        *field = field.saturating_add(tally.fetches);
        self.attempts = self.attempts.saturating_add(tally.attempts);
        self.records = self.records.saturating_add(tally.records);
        self.documents = self.documents.saturating_add(tally.documents);
        if tally.status.counts() {
            self.duration_ms = self.duration_ms.saturating_add(tally.duration_ms);
        }
    }

    /// Returns how many fetches ended, whichever way.
    pub const fn total(&self) -> u64 {
        self.counted()
            .saturating_add(self.rate_limited)
            .saturating_add(self.maintenance)
            .saturating_add(self.cancelled)
    }

    /// Returns how many speak for or against the source; see [`FetchStatus::counts`].
    pub const fn counted(&self) -> u64 {
        self.success
            .saturating_add(self.partial)
            .saturating_add(self.failed)
    }

    /// Returns how many of a hundred that count brought all; nothing where none counts.
    pub fn success_rate(&self) -> Option<Hundredths> {
        percentage(self.success, self.counted())
    }

    /// Returns how long a fetch that counts took on average; nothing where none counts.
    pub const fn average_ms(&self) -> Option<u64> {
        self.duration_ms.checked_div(self.counted())
    }
}

/// A number with two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hundredths(pub u32);

impl Hundredths {
    /// Returns the number itself.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// Returns how many of a hundred; nothing of nothing.
pub fn percentage(part: u64, whole: u64) -> Option<Hundredths> {
    rounded(u128::from(part).saturating_mul(10_000), whole.into())
}

/// Returns the reliability score, 0 to 100:
/// `100 × (0.6 × healthy / connections + 0.4 × successful / counted)`.
///
/// Nothing where there are no connections, or no fetch counts: who has just begun is neither
/// reliable nor unreliable.
pub fn score(
    (healthy, connections): (u64, u64),
    (successful, counted): (u64, u64),
) -> Option<Hundredths> {
    let product = |weight: u128, part: u64, other: u64| {
        weight
            .saturating_mul(part.into())
            .saturating_mul(other.into())
    };
    let sum =
        product(6_000, healthy, counted).saturating_add(product(4_000, successful, connections));
    rounded(sum, product(1, connections, counted))
}

/// Divides and rounds half up; nothing by nothing.
fn rounded(part: u128, whole: u128) -> Option<Hundredths> {
    let halves = part.saturating_mul(2).saturating_add(whole);
    let whole = halves.checked_div(whole.saturating_mul(2))?;
    Some(Hundredths(u32::try_from(whole).unwrap_or(u32::MAX)))
}

const MILLIS: i64 = 86_400_000;

#[cfg(test)]
mod tests;
