//! Announced times of maintenance: once, or on days of the week in a time zone.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Timestamp;

/// Why something is not a time of maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WindowError {
    /// Neither form is given, or a mixture.
    #[error(
        r#"is one of {{"from": …, "to": …}} and {{"every": "Sun 02:00-05:00", "zone": "Europe/Berlin"}}, with a "reason" if wanted"#
    )]
    Shape,
    /// `from` or `to` is not a moment.
    #[error("{0}: `{1}` is not a moment such as `2026-12-01T02:00:00Z`")]
    Moment(&'static str, String),
    /// It ends no later than it begins, or after more than 31 days.
    #[error("to: is not later than `from`, or later by more than 31 days")]
    Order,
    /// `every` is not days and a span of hours.
    #[error(
        "every: `{0}` is not like `Sun 02:00-05:00`, `Mon,Thu 22:30-01:00` or `daily 03:00-03:30`"
    )]
    Every(String),
    /// `zone` is not in the time zone database.
    #[error("zone: `{0}` is not a time zone such as `Europe/Berlin`")]
    Zone(String),
    /// The reason is too long for a line.
    #[error("reason: is longer than 200 characters, or has control characters")]
    Reason,
}

/// A time of maintenance that somebody has announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Announced {
    /// When.
    pub when: When,
    /// Why, in words.
    pub reason: Option<String>,
}

/// When an announced maintenance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Once.
    Once(Span),
    /// On days of the week.
    Every(Recurring),
}

/// A stretch of time, its end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When it begins.
    pub from: Timestamp,
    /// When it is over.
    pub to: Timestamp,
}

/// Days of the week and hours, by the clock of a time zone.
#[derive(Clone)]
pub struct Recurring {
    /// One bit for each day, Monday the lowest.
    days: u8,
    /// Minutes after midnight at which it begins.
    from: u16,
    /// Minutes after midnight at which it ends; not more than `from` for a span over midnight.
    to: u16,
    zone: TimeZone,
    zone_given: bool,
}

impl Span {
    /// Returns whether the moment is in it.
    pub fn covers(&self, moment: Timestamp) -> bool {
        self.from <= moment && moment < self.to
    }
}

impl Announced {
    /// Returns the span that goes on at `now`, or else the next one; `None` when all is over.
    pub fn span(&self, now: Timestamp) -> Option<Span> {
        match &self.when {
            When::Once(span) => Some(*span).filter(|span| span.to > now),
            When::Every(recurring) => recurring.span(now),
        }
    }
}

impl Recurring {
    /// Reads `Sun 02:00-05:00` and its like; without a time zone it means UTC.
    ///
    /// # Errors
    ///
    /// When the text is not like that, or there is no such time zone.
    pub fn new(every: &str, zone: Option<&str>) -> Result<Self, WindowError> {
        let shown = |text: &str| text.chars().take(LONGEST_SHOWN).collect::<String>();
        let (days, from, to) = parse(every).ok_or_else(|| WindowError::Every(shown(every)))?;
        let found = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZoneDatabase::bundled()
                .get(name)
                .map_err(|_unknown| WindowError::Zone(shown(name)))?,
        };
        Ok(Self {
            days,
            from,
            to,
            zone: found,
            zone_given: zone.is_some(),
        })
    }

    fn span(&self, now: Timestamp) -> Option<Span> {
        let moment = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
        let mut day = moment.to_zoned(self.zone.clone()).date().yesterday().ok()?;
        for _ in 0..LOOKED_AHEAD {
            let span = self.on(day).filter(|span| span.to > now);
            if span.is_some() {
                return span;
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// Returns the span that begins on this day.
    fn on(&self, day: Date) -> Option<Span> {
        let place = day.weekday().to_monday_zero_offset();
        if self.days & (1 << u8::try_from(place).ok()?) == 0 {
            return None;
        }
        let last = if self.to > self.from {
            day
        } else {
            day.tomorrow().ok()?
        };
        let span = Span {
            from: self.moment(day, self.from)?,
            to: self.moment(last, self.to)?,
        };
        // A span within an hour that the clock leaves out is none.
        Some(span).filter(|span| span.from < span.to)
    }

    fn moment(&self, day: Date, minutes: u16) -> Option<Timestamp> {
        let (day, minutes) = if minutes == DAY {
            (day.tomorrow().ok()?, 0)
        } else {
            (day, minutes)
        };
        let (hour, minute) = (
            i8::try_from(minutes / 60).ok()?,
            i8::try_from(minutes % 60).ok()?,
        );
        let zoned = day
            .at(hour, minute, 0, 0)
            .to_zoned(self.zone.clone())
            .ok()?;
        Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
    }

    fn zone_name(&self) -> Option<&str> {
        if self.zone_given {
            self.zone.iana_name()
        } else {
            None
        }
    }
}

/// In the form that is read.
impl fmt::Display for Recurring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days == EVERY_DAY {
            f.write_str("daily")?;
        } else {
            let of = DAYS.iter().zip(0_u8..);
            let names = of.filter(|(_, place)| self.days & (1 << place) != 0);
            let names: Vec<&str> = names.map(|(name, _)| *name).collect();
            f.write_str(&names.join(","))?;
        }
        let (from, to) = (self.from, self.to);
        write!(
            f,
            " {:02}:{:02}-{:02}:{:02}",
            from / 60,
            from % 60,
            to / 60,
            to % 60
        )
    }
}

impl fmt::Debug for Recurring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {}", self.zone_name().unwrap_or("UTC"))
    }
}

impl PartialEq for Recurring {
    fn eq(&self, other: &Self) -> bool {
        let parts = |one: &Self| (one.days, one.from, one.to);
        parts(self) == parts(other) && self.zone_name() == other.zone_name()
    }
}

impl Eq for Recurring {}

fn parse(every: &str) -> Option<(u8, u16, u16)> {
    let (days, hours) = every.trim().split_once(' ')?;
    let days = if days.eq_ignore_ascii_case("daily") {
        EVERY_DAY
    } else {
        let mut bits = 0;
        for name in days.split(',') {
            let mut known = DAYS.iter().zip(0_u8..);
            let (_, place) = known.find(|(day, _)| day.eq_ignore_ascii_case(name.trim()))?;
            bits |= 1 << place;
        }
        bits
    };
    let (from, to) = hours.trim().split_once('-')?;
    let (from, to) = (minutes(from)?, minutes(to)?);
    (from < DAY && from != to).then_some((days, from, to))
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        if plain {
            text.parse::<u16>().ok()
        } else {
            None
        }
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY).then_some(minutes)
}

/// The form in which a time of maintenance is written, in files and in the API.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// When it begins, if it is once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When it is over, if it is once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// On which days and at which hours it is, if it comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// By the clock of which time zone those hours are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl TryFrom<Written> for Announced {
    type Error = WindowError;

    fn try_from(written: Written) -> Result<Self, WindowError> {
        let reason = written.reason;
        let fits = |text: &String| {
            text.chars().count() <= LONGEST_REASON && !text.chars().any(char::is_control)
        };
        if !reason.as_ref().is_none_or(fits) {
            return Err(WindowError::Reason);
        }
        let when = match (written.from, written.to, written.every) {
            (Some(from), Some(to), None) if written.zone.is_none() => {
                let moment = |name, text: String| {
                    let parsed = text.parse::<Timestamp>();
                    parsed.map_err(|_error| {
                        WindowError::Moment(name, text.chars().take(LONGEST_SHOWN).collect())
                    })
                };
                let (from, to) = (moment("from", from)?, moment("to", to)?);
                if from >= to || to.since(from) > LONGEST {
                    return Err(WindowError::Order);
                }
                When::Once(Span { from, to })
            }
            (None, None, Some(every)) => {
                When::Every(Recurring::new(&every, written.zone.as_deref())?)
            }
            (_, _, _) => return Err(WindowError::Shape),
        };
        Ok(Self { when, reason })
    }
}

impl From<Announced> for Written {
    fn from(announced: Announced) -> Self {
        let empty = Self {
            from: None,
            to: None,
            every: None,
            zone: None,
            reason: announced.reason,
        };
        match announced.when {
            When::Once(span) => Self {
                from: Some(span.from.to_string()),
                to: Some(span.to.to_string()),
                ..empty
            },
            When::Every(recurring) => Self {
                every: Some(recurring.to_string()),
                zone: recurring.zone_name().map(str::to_owned),
                ..empty
            },
        }
    }
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const EVERY_DAY: u8 = 0b111_1111;
/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Yesterday, today, and a week.
const LOOKED_AHEAD: u8 = 10;
const LONGEST: std::time::Duration = std::time::Duration::from_secs(31 * 86_400);
const LONGEST_REASON: usize = 200;
const LONGEST_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn read(json: &str) -> Result<Announced, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn spans_follow_the_clock_of_their_zone_over_midnight_and_daylight_saving() {
        let berlin = Recurring::new("Sun 02:00-05:00", Some("Europe/Berlin")).unwrap();
        let span = berlin.span(at("2026-11-21T10:00:00Z")).unwrap();
        assert_eq!(span.from, at("2026-11-22T01:00:00Z"));
        assert_eq!(span.to, at("2026-11-22T04:00:00Z"));
        // In March 2027 the clock leaves out the hour in which it begins.
        let span = berlin.span(at("2027-03-27T10:00:00Z")).unwrap();
        assert_eq!(span.to, at("2027-03-28T03:00:00Z"));

        let late = Recurring::new("mon,Thu 22:30-01:00", None).unwrap();
        let span = late.span(at("2026-11-24T00:59:59Z")).unwrap();
        assert_eq!(span.from, at("2026-11-23T22:30:00Z"), "Monday's goes on");
        let span = late.span(span.to).unwrap();
        assert_eq!(span.from, at("2026-11-26T22:30:00Z"));

        let daily = Recurring::new("daily 23:00-24:00", None).unwrap();
        let span = daily.span(at("2026-11-24T23:30:00Z")).unwrap();
        assert_eq!(span.to, at("2026-11-25T00:00:00Z"));
        assert_eq!(
            daily.span(span.to).unwrap().from,
            at("2026-11-25T23:00:00Z")
        );
    }

    #[test]
    fn what_is_written_reads_back_and_every_fault_is_named() {
        for json in [
            r#"{"from":"2026-12-01T02:00:00.000Z","to":"2026-12-01T04:00:00.000Z"}"#,
            r#"{"every":"Sun 02:00-05:00","zone":"Europe/Berlin","reason":"Backups"}"#,
            r#"{"every":"Mon,Thu 22:30-01:00"}"#,
            r#"{"every":"daily 23:00-24:00","reason":"x"}"#,
        ] {
            let announced = read(json).unwrap();
            assert_eq!(serde_json::to_string(&announced).unwrap(), json);
        }
        for (json, beginning) in [
            (r"{}", "is one of"),
            (r#"{"from":"2026-12-01T02:00:00Z"}"#, "is one of"),
            (
                r#"{"every":"Sun 02:00-05:00","from":"x","to":"y"}"#,
                "is one of",
            ),
            (r#"{"from":"today","to":"x"}"#, "from:"),
            (
                r#"{"from":"2026-12-01T02:00:00Z","to":"2026-12-01T02:00:00Z"}"#,
                "to:",
            ),
            (
                r#"{"from":"2026-12-01T02:00:00Z","to":"2027-12-01T02:00:00Z"}"#,
                "to:",
            ),
            (r#"{"every":"Sonntag 02:00-05:00"}"#, "every:"),
            (r#"{"every":"Sun 2-5"}"#, "every:"),
            (r#"{"every":"Sun 02:00-02:00"}"#, "every:"),
            (r#"{"every":"Sun 02:00-24:30"}"#, "every:"),
            (r#"{"every":"Sun 02:00-05:00","zone":"Mars"}"#, "zone:"),
            (r#"{"every":"Sun 02:00-05:00","reason":"a\nb"}"#, "reason:"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.starts_with(beginning), "{json}: {error}");
        }
        assert!(read(r#"{"every":"Sun 02:00-05:00","why":1}"#).is_err());
    }
}
