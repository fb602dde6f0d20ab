use std::time::Duration;

use jiff::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::time::Instant;

use super::budget::Meter;
use super::{Counts, Fill, Met, Outage, RateLimit, Settings, Tells, WindowCount};
use crate::Source;

/// How one call is answered, and after what wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    pub(crate) latency: Duration,
    /// How the budget stands, where answers say so.
    pub(crate) standing: Option<(Tells, Fill)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Data,
    NotFound,
    Fail,
    Junk,
    Throttled { retry_after: u64 },
    OverBudget { tells: Tells, fill: Fill },
    Blocked { tells: Tells, fill: Fill },
    Maintenance { until: Timestamp, retry_after: u64 },
    Outage(Outage),
}

#[derive(Debug)]
pub(super) struct SourceState {
    settings: Settings,
    counts: Counts,
    window: Option<Window>,
    meter: Meter,
    rng: ChaCha8Rng,
}

#[derive(Debug)]
struct Window {
    opened: Instant,
    calls: u32,
}

/// Returns all sources as they are at the start.
pub(super) fn fresh(seed: u64) -> [SourceState; Source::ALL.len()] {
    Source::ALL.map(|source| SourceState::new(seed, source))
}

impl SourceState {
    fn new(seed: u64, source: Source) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::try_from(source.index()).unwrap_or(u64::MAX));
        Self {
            settings: Settings::of(source),
            counts: Counts::default(),
            window: None,
            meter: Meter::default(),
            rng,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn windows(&self) -> Vec<WindowCount> {
        self.meter.counts()
    }

    pub(super) fn configure(&mut self, settings: Settings) {
        if settings.rate_limit != self.settings.rate_limit {
            self.window = None;
        }
        if settings.budget != self.settings.budget {
            self.meter = Meter::new(settings.budget.as_ref());
        }
        self.settings = settings;
    }

    pub(super) fn decide(
        &mut self,
        (endpoint, known): (&str, bool),
        in_flight: u64,
        now: Instant,
        wall_clock: impl FnOnce() -> Timestamp,
    ) -> Decision {
        // What arrives is counted, whatever becomes of it.
        let budget = self.settings.budget.as_ref();
        let tells = budget.map(|budget| (budget.tells, budget.block));
        let met = tells.map_or(Met::Nothing, |(_, block)| {
            self.meter.arrived(block, endpoint, now)
        });
        let tells = tells.map(|(tells, _)| tells).unwrap_or_default();
        let (standing, verdict) = match met {
            Met::Violation(fill) => (None, Verdict::OverBudget { tells, fill }),
            Met::Blocked(fill) => (None, Verdict::Blocked { tells, fill }),
            Met::Allowed(fill) => (Some((tells, fill)), self.verdict(known, now, wall_clock)),
            Met::Nothing => (None, self.verdict(known, now, wall_clock)),
        };
        self.counts.count(&verdict, in_flight);
        Decision {
            verdict,
            latency: self.settings.latency,
            standing,
        }
    }

    fn verdict(
        &mut self,
        known: bool,
        now: Instant,
        wall_clock: impl FnOnce() -> Timestamp,
    ) -> Verdict {
        if let Some(outage) = self.settings.outage {
            return Verdict::Outage(outage);
        }
        if let Some(until) = self.settings.maintenance_until {
            let left = until.duration_since(wall_clock());
            if left.is_positive() {
                let left = Duration::try_from(left).unwrap_or_default();
                return Verdict::Maintenance {
                    until,
                    retry_after: whole_seconds(left),
                };
            }
        }
        if let Some(limit) = self.settings.rate_limit
            && let Some(wait) = self.throttled(limit, now)
        {
            return Verdict::Throttled {
                retry_after: whole_seconds(wait),
            };
        }
        // Both are drawn for every call, so that changing one rate leaves the other's draws alone.
        let fails = chance(&mut self.rng, self.settings.failure_rate);
        let is_junk = chance(&mut self.rng, self.settings.junk_rate);
        if fails {
            Verdict::Fail
        } else if is_junk {
            Verdict::Junk
        } else if known {
            Verdict::Data
        } else {
            Verdict::NotFound
        }
    }

    /// Takes a call out of the window, or returns how long the window stays full.
    fn throttled(&mut self, limit: RateLimit, now: Instant) -> Option<Duration> {
        match &mut self.window {
            Some(window) if now.duration_since(window.opened) < limit.window() => {
                if window.calls >= limit.calls() {
                    return Some(limit.window() - now.duration_since(window.opened));
                }
                window.calls += 1;
                None
            }
            Some(_) | None if limit.calls() == 0 => Some(limit.window()),
            Some(_) | None => {
                self.window = Some(Window {
                    opened: now,
                    calls: 1,
                });
                None
            }
        }
    }
}

/// Draws once, whatever the probability.
pub(crate) fn chance(rng: &mut ChaCha8Rng, probability: f64) -> bool {
    // The upper 53 bits are what a double holds exactly.
    let unit = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    unit < probability
}

/// Rounds up, and to one second at least.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    let rounded_up = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    rounded_up.max(1)
}
