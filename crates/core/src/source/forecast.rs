//! Which hours a source is likely to be in maintenance, learnt from its incidents.
//!
//! A forecast is told and never acted upon: nothing is skipped because of one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Incident, IncidentKind};
use crate::{IncidentId, Timestamp};

/// A stretch of hours in which maintenance has come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// The day of the week in UTC, Monday being 0; nothing where it is every day.
    pub weekday: Option<u8>,
    /// The first hour, 0 to 23, in UTC.
    pub from_hour: u8,
    /// The hour before which it ends, 1 to 24.
    pub to_hour: u8,
    /// When it is expected next.
    pub next: Timestamp,
    /// In how many weeks, or days where it is daily, it was seen.
    pub seen: u32,
    /// Of how many since it was seen first.
    pub of: u32,
    /// The incidents that say so, newest first.
    pub evidence: Vec<IncidentId>,
}

/// Looks for hours of the week, and of the day, in which maintenance comes back.
///
/// An hour counts when maintenance was there in at least three weeks (five days for one of every
/// day) and in at least half of those since it was there first; older incidents than twelve weeks
/// do not count.
pub fn forecast(incidents: &[Incident], now: Timestamp) -> Vec<Forecast> {
    let since = now.before(LOOKED_BACK);
    let maintenance = incidents.iter().filter(|incident| {
        incident.kind == IncidentKind::Maintenance
            && incident.ended_at.unwrap_or(now) > since
            && incident.started_at <= now
    });
    let mut of_day: BTreeMap<i64, Seen> = BTreeMap::new();
    let mut of_week: BTreeMap<i64, Seen> = BTreeMap::new();
    for incident in maintenance {
        for hour in hours(incident, since, now) {
            let (day, week) = (hour.div_euclid(24), hour.div_euclid(WEEK));
            of_day
                .entry(hour.rem_euclid(24))
                .or_default()
                .note(day, incident.id);
            of_week
                .entry(hour.rem_euclid(WEEK))
                .or_default()
                .note(week, incident.id);
        }
    }
    let present = hour_of(now);
    let days = recurring(of_day, present.div_euclid(24), LEAST_DAYS);
    // What comes every day is no matter of a day of the week.
    of_week.retain(|hour, _| !days.contains_key(&hour.rem_euclid(24)));
    let weeks = recurring(of_week, present.div_euclid(WEEK), LEAST_WEEKS);
    let daily = runs(&days).into_iter().map(|run| run.told(24, present));
    let weekly = runs(&weeks).into_iter().map(|run| run.told(WEEK, present));
    let mut told: Vec<Forecast> = daily.chain(weekly).flatten().collect();
    told.sort_by_key(|forecast| forecast.next);
    told
}

/// In which periods an hour of it had maintenance, and by which incidents.
#[derive(Default)]
struct Seen {
    periods: BTreeSet<i64>,
    evidence: BTreeSet<IncidentId>,
}

impl Seen {
    fn note(&mut self, period: i64, incident: IncidentId) {
        self.periods.insert(period);
        self.evidence.insert(incident);
    }
}

/// An hour that counts: in how many periods of how many it was seen.
struct Hour {
    seen: u32,
    of: u32,
    evidence: BTreeSet<IncidentId>,
}

fn recurring(seen: BTreeMap<i64, Seen>, present: i64, least: u32) -> BTreeMap<i64, Hour> {
    let counted = seen.into_iter().filter_map(|(hour, seen)| {
        let first = *seen.periods.first()?;
        let last = present.max(*seen.periods.last()?);
        let of = u32::try_from(last.saturating_sub(first).saturating_add(1)).ok()?;
        let times = u32::try_from(seen.periods.len()).ok()?;
        let counts = times >= least && times.saturating_mul(2) >= of;
        counts.then_some((
            hour,
            Hour {
                seen: times,
                of,
                evidence: seen.evidence,
            },
        ))
    });
    counted.collect()
}

/// Hours in a row, as one stretch.
struct Run {
    from: i64,
    to: i64,
    seen: u32,
    of: u32,
    evidence: BTreeSet<IncidentId>,
}

fn runs(hours: &BTreeMap<i64, Hour>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (hour, counted) in hours {
        match runs.last_mut() {
            // A stretch is told by its day, so that it ends at midnight.
            Some(run) if run.to == *hour && hour.rem_euclid(24) != 0 => {
                run.to = hour.saturating_add(1);
                if counted.seen < run.seen {
                    (run.seen, run.of) = (counted.seen, counted.of);
                }
                run.evidence.extend(&counted.evidence);
            }
            Some(_) | None => runs.push(Run {
                from: *hour,
                to: hour.saturating_add(1),
                seen: counted.seen,
                of: counted.of,
                evidence: counted.evidence.clone(),
            }),
        }
    }
    runs
}

impl Run {
    fn told(self, period: i64, present: i64) -> Option<Forecast> {
        let begun = present.div_euclid(period).saturating_mul(period);
        let this = begun.saturating_add(self.from);
        let next = if this > present {
            this
        } else {
            this.saturating_add(period)
        };
        let weekday = (period == WEEK).then(|| self.from.div_euclid(24));
        let day = weekday.unwrap_or(0).saturating_mul(24);
        Some(Forecast {
            weekday: weekday.and_then(|day| u8::try_from(day).ok()),
            from_hour: u8::try_from(self.from.saturating_sub(day)).ok()?,
            to_hour: u8::try_from(self.to.saturating_sub(day)).ok()?,
            next: Timestamp::from_millis(next.saturating_sub(MONDAY).saturating_mul(HOUR_MILLIS)),
            seen: self.seen,
            of: self.of,
            evidence: self.evidence.into_iter().rev().collect(),
        })
    }
}

/// The hours that an incident touched for a quarter of an hour at least.
fn hours(incident: &Incident, since: Timestamp, now: Timestamp) -> impl Iterator<Item = i64> {
    let from = incident.started_at.max(since);
    let to = incident.ended_at.unwrap_or(now).min(now);
    let long_enough = to.since(from) >= LEAST;
    let first = hour_of(from.after(LEAST_SPILL));
    let last = hour_of(to.before(LEAST));
    // An incident within one hour is of that hour.
    let (first, last) = if first > last {
        (hour_of(from), hour_of(from))
    } else {
        (first, last)
    };
    let count = if long_enough { MOST_HOURS } else { 0 };
    (first..=last).take(count)
}

/// Returns the hours since a Monday's midnight.
fn hour_of(moment: Timestamp) -> i64 {
    moment
        .as_millis()
        .div_euclid(HOUR_MILLIS)
        .saturating_add(MONDAY)
}

const HOUR_MILLIS: i64 = 3_600_000;
/// 1970-01-01 was a Thursday: hours from the Monday before.
const MONDAY: i64 = 3 * 24;
const WEEK: i64 = 7 * 24;
const LEAST_WEEKS: u32 = 3;
const LEAST_DAYS: u32 = 5;
const LOOKED_BACK: Duration = Duration::from_secs(12 * 7 * 86_400);
/// What is shorter tells nothing of an hour.
const LEAST: Duration = Duration::from_secs(900);
const LEAST_SPILL: Duration = Duration::from_secs(900);
/// A week: what lasts longer tells nothing of hours.
const MOST_HOURS: usize = 168;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Detected;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn incident(number: u8, from: Timestamp, minutes: u64) -> Incident {
        Incident {
            id: IncidentId::from_bytes([number; 16]),
            source: "bank".parse().unwrap(),
            kind: IncidentKind::Maintenance,
            detected_by: Detected::Answers,
            started_at: from,
            expected_end: None,
            ended_at: Some(from.after(Duration::from_secs(minutes * 60))),
            reason: None,
        }
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn three_sundays_make_a_forecast_with_its_evidence() {
        let first = at("2026-11-01T02:05:00Z");
        let sundays: Vec<Incident> = (0..3_u8)
            .map(|week| incident(week + 1, first.after(DAY * 7 * u32::from(week)), 150))
            .collect();
        let now = at("2026-11-18T12:00:00Z");

        assert_eq!(forecast(&sundays[..2], now), [], "twice is chance");
        let told = forecast(&sundays, now);

        let evidence = [3, 2, 1].map(|number| IncidentId::from_bytes([number; 16]));
        let wanted = Forecast {
            weekday: Some(6),
            from_hour: 2,
            to_hour: 5,
            next: at("2026-11-22T02:00:00Z"),
            seen: 3,
            of: 4,
            evidence: evidence.to_vec(),
        };
        assert_eq!(told, [wanted]);
    }

    #[test]
    fn what_comes_daily_is_told_once_and_what_has_ended_is_forgotten() {
        let first = at("2026-11-01T23:00:00Z");
        let daily: Vec<Incident> = (0..20_u8)
            .map(|day| incident(day + 1, first.after(DAY * u32::from(day)), 60))
            .collect();
        let told = forecast(&daily, at("2026-11-21T12:00:00Z"));
        assert_eq!(told.len(), 1, "{told:?}");
        let one = &told[0];
        assert_eq!((one.weekday, one.from_hour, one.to_hour), (None, 23, 24));
        assert_eq!(one.next, at("2026-11-21T23:00:00Z"));
        assert_eq!((one.seen, one.of), (20, 21));

        assert_eq!(forecast(&daily, at("2026-12-31T12:00:00Z")), []);
        assert_eq!(forecast(&daily, at("2027-06-01T12:00:00Z")), []);
    }

    #[test]
    fn outages_and_moments_are_no_evidence() {
        let first = at("2026-11-01T02:00:00Z");
        let weekly = |minutes, kind| -> Vec<Incident> {
            let of_week = |week: u8| Incident {
                kind,
                ..incident(week, first.after(DAY * 7 * u32::from(week)), minutes)
            };
            (0..6).map(of_week).collect()
        };
        let now = at("2026-12-10T12:00:00Z");
        assert_eq!(forecast(&weekly(60, IncidentKind::Outage), now), []);
        assert_eq!(forecast(&weekly(5, IncidentKind::Maintenance), now), []);
        assert_eq!(
            forecast(&weekly(60, IncidentKind::Maintenance), now).len(),
            1
        );
    }
}
