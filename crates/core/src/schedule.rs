//! When a connection is fetched: on a grid of its own, by a cron expression, or only when asked.

mod cron;
mod slow_plan;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ConnectionId, Timestamp, format_duration, parse_duration};

pub use cron::CronExpr;
pub use slow_plan::{SlowPlan, SlowPlanError};

/// Why something is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// None of the forms is given, or more than one.
    #[error(
        r#"a schedule is one of {{"every": "24h"}}, {{"cron": "0 6 * * *", "timezone": "Europe/Berlin"}} and {{"manual": true}}"#
    )]
    Shape,
    /// `every` is not a duration.
    #[error("every: {0}")]
    Duration(String),
    /// `every` is a duration that is too short or too long.
    #[error("every: `{0}` is not between 1m and 8784h (366 days)")]
    EveryRange(String),
    /// `cron` is not a cron expression; the second text says where it goes wrong.
    #[error("cron: `{0}` is not a cron expression of five fields such as `0 6 * * *`{1}")]
    Cron(String, String),
    /// `cron` is an expression that no day ever fits.
    #[error("cron: `{0}` never happens")]
    Never(String),
    /// `timezone` is not in the time zone database.
    #[error("timezone: `{0}` is not a time zone such as `Europe/Berlin`")]
    TimeZone(String),
    /// `timezone` stands beside something else than `cron`.
    #[error("timezone: only a cron expression has one")]
    TimeZoneAlone,
}

/// When a connection is fetched without being asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Schedule {
    /// Once in every such period, at a moment of the period that is the connection's own.
    Every(Duration),
    /// By an expression, a little later on each connection than on the next.
    Cron(CronExpr),
    /// Only when a person or the tenant asks.
    Manual,
}

impl Schedule {
    /// Returns when a connection that was not fetched before is due, later than `now`.
    ///
    /// For [`Schedule::Every`] that is within one period.
    /// `None` when it never is.
    pub fn first(&self, now: Timestamp, phase_seed: u64) -> Option<Timestamp> {
        match self {
            Self::Every(period) => Some(grid_point_later_than(now, *period, phase_seed)),
            Self::Cron(expression) => expression.due(now, phase_seed),
            Self::Manual => None,
        }
    }

    /// Returns when a connection that was fetched at `now` is due again, later than `now`.
    ///
    /// `after` is the due time that this fetch served, or `now` if it was asked for.
    /// It matters only when the clock was set back in between: a time that is not later than it was
    /// served already and is passed over, but never more than one, so that a clock that was far
    /// ahead for a while stops nothing.
    ///
    /// The due times of [`Schedule::Every`] lie on a grid whose phase comes from the seed.
    /// The next is the first one later than half a period from `now`.
    /// So connections that were created together drift apart within a period, and one that
    /// was due several times while nothing ran is fetched once and is back on its grid.
    /// `None` when it is never due.
    pub fn next(&self, now: Timestamp, after: Timestamp, phase_seed: u64) -> Option<Timestamp> {
        match self {
            Self::Every(period) => {
                let half = now.after(*period / 2);
                let due = grid_point_later_than(half, *period, phase_seed);
                Some(if due > after { due } else { due.after(*period) })
            }
            Self::Cron(expression) => {
                let due = expression.due(now, phase_seed)?;
                if due > after {
                    Some(due)
                } else {
                    expression.due(due, phase_seed)
                }
            }
            Self::Manual => None,
        }
    }

    /// Makes a schedule of a period.
    ///
    /// # Errors
    ///
    /// When it is shorter than a minute or longer than 366 days.
    pub fn every(period: Duration) -> Result<Self, ScheduleError> {
        if (SHORTEST..=LONGEST).contains(&period) {
            Ok(Self::Every(period))
        } else {
            Err(ScheduleError::EveryRange(format_duration(period)))
        }
    }
}

/// Returns the seed that spreads a connection; the same one for the whole of its life.
pub fn phase_seed(connection: ConnectionId) -> u64 {
    // The upper half is mostly the time of the id's making, the lower half is random.
    let (upper, lower) = connection.uuid().as_u64_pair();
    upper ^ lower
}

/// The form in which a schedule is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manual: Option<bool>,
}

impl TryFrom<Written> for Schedule {
    type Error = ScheduleError;

    fn try_from(written: Written) -> Result<Self, ScheduleError> {
        if written.cron.is_none() && written.timezone.is_some() {
            return Err(ScheduleError::TimeZoneAlone);
        }
        match (written.every, written.cron, written.manual) {
            (Some(every), None, None) => {
                Self::every(parse_duration(&every).map_err(ScheduleError::Duration)?)
            }
            (None, Some(cron), None) => {
                CronExpr::new(&cron, written.timezone.as_deref()).map(Self::Cron)
            }
            (None, None, Some(true)) => Ok(Self::Manual),
            (_, _, _) => Err(ScheduleError::Shape),
        }
    }
}

impl From<Schedule> for Written {
    fn from(schedule: Schedule) -> Self {
        let empty = Self {
            every: None,
            cron: None,
            timezone: None,
            manual: None,
        };
        match schedule {
            Schedule::Every(period) => Self {
                every: Some(format_duration(period)),
                ..empty
            },
            Schedule::Cron(expression) => Self {
                cron: Some(expression.text().to_owned()),
                timezone: expression.timezone().map(str::to_owned),
                ..empty
            },
            Schedule::Manual => Self {
                manual: Some(true),
                ..empty
            },
        }
    }
}

/// Returns the first point later than `moment` of the grid that `seed` picks out of `period`.
fn grid_point_later_than(moment: Timestamp, period: Duration, seed: u64) -> Timestamp {
    let period = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
    let phase = millis_below(seed, period);
    let passed = moment.as_millis().saturating_sub(phase).div_euclid(period);
    Timestamp::from_millis(
        passed
            .saturating_add(1)
            .saturating_mul(period)
            .saturating_add(phase),
    )
}

/// Returns a number from 0 to `bound` (excluded) that depends on nothing but `seed`.
fn millis_below(seed: u64, bound: i64) -> i64 {
    let bound = u64::try_from(bound).unwrap_or(1).max(1);
    i64::try_from(mixed(seed) % bound).unwrap_or(0)
}

/// Spreads seeds that differ little over all numbers: the last step of `SplitMix64`.
///
/// Written out because due times must not move with the standard library's hash.
pub(crate) const fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

#[cfg(test)]
mod tests;
