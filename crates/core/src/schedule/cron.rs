//! Cron expressions in a time zone.

use std::fmt;
use std::sync::Arc;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::{ScheduleError, millis_below};
use crate::Timestamp;

/// A cron expression of five fields and the time zone whose clock it reads.
///
/// `MON` and `JAN`, `@daily` and its like, and `L`, `W` and `#` for days are understood.
///
/// When the clock goes forward, what would fall into the missing hour happens right after it.
/// When it goes back, a fixed time happens once, and `*` in minutes or hours goes on through both hours.
#[derive(Clone)]
pub struct CronExpr {
    text: String,
    zone: TimeZone,
    zone_given: bool,
    // Shared because it takes five kilobytes.
    cron: Arc<Cron>,
}

impl CronExpr {
    /// Reads an expression; without a time zone it means UTC.
    ///
    /// The time zones are those compiled into the program, so that all nodes agree.
    ///
    /// # Errors
    ///
    /// When the text is no expression of five fields or never happens, or there is no such time zone.
    pub fn new(text: &str, timezone: Option<&str>) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let shown = |text: &str| text.chars().take(LONGEST).collect();
        let invalid = |detail| ScheduleError::Cron(shown(text), detail);
        if text.len() > LONGEST {
            return Err(invalid(format!(": it is longer than {LONGEST} bytes")));
        }
        let zone = match timezone {
            Some(name) => TimeZoneDatabase::bundled()
                .get(name)
                .map_err(|_unknown| ScheduleError::TimeZone(shown(name)))?,
            None => TimeZone::UTC,
        };
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|error| invalid(detail(error)))?;
        let expression = Self {
            text: text.to_owned(),
            zone,
            zone_given: timezone.is_some(),
            cron: Arc::new(cron),
        };
        // Which days there are repeats itself, so that any start shows whether one fits.
        if expression.later_than(Timestamp::from_millis(0)).is_none() {
            return Err(ScheduleError::Never(text.to_owned()));
        }
        Ok(expression)
    }

    /// Returns the expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the time zone's name, if one was given.
    pub fn timezone(&self) -> Option<&str> {
        if self.zone_given {
            self.zone.iana_name()
        } else {
            None
        }
    }

    /// Returns the first moment later than `moment` that the expression names.
    ///
    /// `None` after the year 5000.
    pub fn later_than(&self, moment: Timestamp) -> Option<Timestamp> {
        let start = jiff::Timestamp::from_millisecond(moment.as_millis()).ok()?;
        let found = self
            .cron
            .find_next_occurrence(&start.to_zoned(self.zone.clone()), false)
            .ok()?;
        Some(Timestamp::from_millis(found.timestamp().as_millisecond()))
            .filter(|found| *found > moment)
    }

    /// Returns [`later_than`](Self::later_than) plus what `seed` adds: less than a tenth of the
    /// distance to the following moment, and less than 15 minutes.
    pub(super) fn due(&self, now: Timestamp, seed: u64) -> Option<Timestamp> {
        let at = self.later_than(now)?;
        let gap = self
            .later_than(at)
            .map_or(i64::MAX, |following| {
                following.as_millis().saturating_sub(at.as_millis())
            })
            .div_euclid(10);
        let offset = millis_below(seed, gap.min(MOST_SPREAD_MILLIS));
        Some(Timestamp::from_millis(
            at.as_millis().saturating_add(offset),
        ))
    }
}

impl PartialEq for CronExpr {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.timezone() == other.timezone()
    }
}

impl Eq for CronExpr {}

impl fmt::Debug for CronExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CronExpr")
            .field(&self.text)
            .field(&self.timezone())
            .finish()
    }
}

/// Says where an expression goes wrong, in the manner of our own messages.
fn detail(error: CronError) -> String {
    let message = match error {
        // It speaks of the number of fields, as the sentence around it does.
        CronError::EmptyPattern | CronError::InvalidPattern(_) => return String::new(),
        CronError::InvalidDate | CronError::InvalidTime | CronError::TimeSearchLimitExceeded => {
            error.to_string()
        }
        CronError::IllegalCharacters(message) | CronError::ComponentError(message) => message,
    };
    let message = message
        .trim_end_matches('.')
        .trim_start_matches("CronPattern contains ");
    let mut letters = message.chars();
    letters.next().map_or_else(String::new, |first| {
        format!(": {}{}", first.to_lowercase(), letters.as_str())
    })
}

const LONGEST: usize = 200;
const MOST_SPREAD_MILLIS: i64 = 15 * 60 * 1_000;
