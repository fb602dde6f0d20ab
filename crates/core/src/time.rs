//! Wall-clock time that can be stored, in milliseconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment in UTC with millisecond resolution; prints as RFC 3339.
///
/// Deadlines outlive the process, so the core never sees a monotonic instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that sorts before every other.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest moment that still prints as RFC 3339.
    pub const MAX: Self = Self(253_402_207_200_000);

    /// Takes milliseconds since 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the moment `duration` later, or the last one there is.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// Returns the moment `duration` earlier, or the first one there is.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// Returns how long ago `earlier` was, zero if it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clamped = self.0.clamp(-62_135_596_800_000, Self::MAX.0);
        match jiff::Timestamp::from_millisecond(clamped) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{clamped}"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>()
            .map(|moment| Self(moment.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A moment in rows that have to stay short: its milliseconds, and read in either form.
pub(crate) mod short {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Timestamp;

    pub(crate) fn serialize<S: Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.as_millis().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Millis(i64),
            Text(Timestamp),
        }

        Ok(match Either::deserialize(deserializer)? {
            Either::Millis(millis) => Timestamp::from_millis(millis),
            Either::Text(at) => at,
        })
    }
}

/// Reads a `Retry-After` value: whole seconds or an HTTP date (RFC 9110, section 10.2.3).
///
/// A moment in the past is `now`. Returns `None` for what is neither.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Timestamp> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = value.parse::<u64>().unwrap_or(u64::MAX);
        return Some(now.after(Duration::from_secs(seconds)));
    }
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_zoned(value)
        .ok()?;
    Some(Timestamp(zoned.timestamp().as_millisecond()).max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339_with_milliseconds_and_reads_it_back() {
        let moment = Timestamp::from_millis(1_795_000_000_120);
        assert_eq!(moment.to_string(), "2026-11-18T11:06:40.120Z");
        assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
    }

    #[test]
    fn retry_after_reads_seconds_and_http_dates() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        assert_eq!(
            retry_after("120", now),
            Some(now.after(Duration::from_secs(120)))
        );
        assert_eq!(
            retry_after("Sat, 21 Nov 2026 10:05:00 GMT", now),
            Some(now.after(Duration::from_secs(300)))
        );
        assert_eq!(retry_after("Sat, 21 Nov 2026 09:00:00 GMT", now), Some(now));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("", now), None);
        assert!(retry_after("99999999999999999999999", now).is_some());
    }
}
