use std::fmt;
use std::str::FromStr;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// When a source takes calls again by what its rule knows, where the answer itself names no moment.
///
/// Written as `next_day`, which is by the clock of UTC, or with a time zone behind a slash:
/// `next_day/Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Until {
    /// The next midnight that is more than an hour away.
    NextDay(TimeZone),
}

impl Until {
    /// Returns the moment, as of `now`.
    pub fn moment(&self, now: Timestamp) -> Option<Timestamp> {
        let Self::NextDay(zone) = self;
        let moment = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
        let mut day = moment.to_zoned(zone.clone()).date();
        loop {
            day = day.tomorrow().ok()?;
            // A day may begin at another hour than zero where clocks are set forward at midnight.
            let begin = day.to_zoned(zone.clone()).ok()?.timestamp();
            let begin = Timestamp::from_millis(begin.as_millisecond());
            // What is that near is as likely the midnight that the source has just had.
            if begin.as_millis().saturating_sub(now.as_millis()) > HOUR {
                return Some(begin);
            }
        }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NextDay(zone) = self;
        f.write_str(NEXT_DAY)?;
        match zone.iana_name() {
            Some(name) if *zone != TimeZone::UTC => write!(f, "/{name}"),
            Some(_) | None => Ok(()),
        }
    }
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, zone) = match text.split_once('/') {
            Some((word, zone)) => (word, Some(zone)),
            None => (text, None),
        };
        if word != NEXT_DAY {
            return Err(format!(
                "`{text}` is no such time, there are {NEXT_DAY} and {NEXT_DAY}/Europe/Berlin"
            ));
        }
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZoneDatabase::bundled().get(name).map_err(|_unknown| {
                format!("`{name}` is not a time zone such as `Europe/Berlin`")
            })?,
        };
        Ok(Self::NextDay(zone))
    }
}

impl TryFrom<String> for Until {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Until> for String {
    fn from(until: Until) -> Self {
        until.to_string()
    }
}

const NEXT_DAY: &str = "next_day";
const HOUR: i64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_the_next_midnight_that_is_more_than_an_hour_away() {
        for (until, now, moment) in [
            (
                "next_day",
                "2026-11-21T10:00:00Z",
                "2026-11-22T00:00:00.000Z",
            ),
            (
                "next_day",
                "2026-11-21T23:30:00Z",
                "2026-11-23T00:00:00.000Z",
            ),
            (
                "next_day",
                "2026-11-21T00:00:00Z",
                "2026-11-22T00:00:00.000Z",
            ),
            (
                "next_day/Europe/Berlin",
                "2026-11-21T22:30:00Z",
                "2026-11-22T23:00:00.000Z",
            ),
            (
                "next_day/America/New_York",
                "2026-03-08T03:00:00Z",
                "2026-03-08T05:00:00.000Z",
            ),
            // Beirut set its clocks forward at midnight.
            (
                "next_day/Asia/Beirut",
                "2022-03-26T12:00:00Z",
                "2022-03-26T22:00:00.000Z",
            ),
        ] {
            let read: Until = until.parse().unwrap();
            let then = read.moment(now.parse().unwrap()).unwrap();

            assert_eq!(then.to_string(), moment, "{until} {now}");
            assert_eq!(read.to_string(), until);
        }
        assert_eq!(Until::NextDay(TimeZone::UTC).moment(Timestamp::MAX), None);
        for bad in [
            "",
            "tomorrow",
            "next_day/",
            "next_day/Mars",
            "next_day/UTC/x",
        ] {
            assert!(bad.parse::<Until>().is_err(), "{bad}");
        }
    }
}
