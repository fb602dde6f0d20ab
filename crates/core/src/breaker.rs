//! The circuit breaker of one lane: an outage costs probes, not waiting work.

use std::time::Duration;

use rand_core::Rng;

use crate::{RetryPolicy, Timestamp};

/// What one call says about the far side's being up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// It answered; what it said about this one piece of work does not matter here.
    Up,
    /// It did not answer, or with a plain 5xx.
    Down,
}

/// Whether calls go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// As many as the lane's concurrency allows.
    Closed,
    /// One probe at a time, the next one not before `probe_at`.
    Open {
        /// When the next probe may go out.
        probe_at: Timestamp,
        /// How many probes have failed since the breaker opened.
        failed_probes: u16,
        /// Whether a probe is out now.
        probing: bool,
    },
    /// Up again: `limit` calls at once, doubled by each success.
    Ramping {
        /// How many calls may be in flight.
        limit: u32,
    },
}

/// Counts the last calls of a lane and says how many may be in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    phase: Phase,
    /// One bit per call, the latest lowest, 1 for a failure.
    window: u32,
    calls: u32,
    failing_since: Option<Timestamp>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            phase: Phase::Closed,
            window: 0,
            calls: 0,
            failing_since: None,
        }
    }
}

impl Breaker {
    /// Returns the present phase.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns whether it remembers nothing that a new one would not know.
    pub const fn is_quiet(&self) -> bool {
        matches!(self.phase, Phase::Closed) && self.failing_since.is_none()
    }

    /// Returns how many calls may be in flight at `now`, `full` being the lane's concurrency.
    pub fn limit(&self, now: Timestamp, full: u32) -> u32 {
        match self.phase {
            Phase::Closed => full,
            Phase::Ramping { limit } => limit.min(full),
            Phase::Open {
                probe_at, probing, ..
            } => u32::from(full > 0 && !probing && now >= probe_at),
        }
    }

    /// Notes that a call goes out; returns whether it is a probe.
    ///
    /// A failed probe is not the fault of the work that was sent as one.
    pub const fn started(&mut self) -> bool {
        if let Phase::Open { probing, .. } = &mut self.phase {
            *probing = true;
            return true;
        }
        false
    }

    /// Notes that a call that was sent as a probe ended without telling anything.
    pub const fn probe_lost(&mut self) {
        if let Phase::Open { probing, .. } = &mut self.phase {
            *probing = false;
        }
    }

    /// Shuts it whatever calls have shown: one probe at a time goes out, the first at `probe_at`.
    pub const fn trip(&mut self, probe_at: Timestamp) {
        let (failed_probes, probing) = match self.phase {
            Phase::Open {
                failed_probes,
                probing,
                ..
            } => (failed_probes, probing),
            Phase::Closed | Phase::Ramping { .. } => (0, false),
        };
        self.phase = Phase::Open {
            probe_at,
            failed_probes,
            probing,
        };
    }

    /// Opens the lane to one call at first, and to more with each success.
    ///
    /// What calls have shown still counts where it was closed.
    pub const fn ramp(&mut self) {
        match self.phase {
            Phase::Closed => {}
            Phase::Open { .. } => {
                self.window = 0;
                self.calls = 0;
                self.failing_since = None;
            }
            Phase::Ramping { .. } => return,
        }
        self.phase = Phase::Ramping { limit: 1 };
    }

    /// Notes how a call ended; changes what [`Self::limit`] and [`Self::next_probe`] say.
    pub fn ended(
        &mut self,
        now: Timestamp,
        result: CallResult,
        probe: bool,
        full: u32,
        rng: &mut impl Rng,
    ) {
        match result {
            CallResult::Up => self.up(full),
            CallResult::Down => self.down(now, probe, rng),
        }
    }

    /// Returns when the next probe may go out, while the breaker is open and none is out.
    pub const fn next_probe(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Open {
                probe_at,
                probing: false,
                ..
            } => Some(probe_at),
            Phase::Open { probing: true, .. } | Phase::Closed | Phase::Ramping { .. } => None,
        }
    }

    fn up(&mut self, full: u32) {
        self.failing_since = None;
        self.record(false);
        self.phase = match self.phase {
            Phase::Closed => Phase::Closed,
            Phase::Open { .. } => {
                self.window = 0;
                self.calls = 0;
                Phase::Ramping { limit: 1 }
            }
            Phase::Ramping { limit } if limit.saturating_mul(2) >= full => Phase::Closed,
            Phase::Ramping { limit } => Phase::Ramping {
                limit: limit.saturating_mul(2),
            },
        };
    }

    fn down(&mut self, now: Timestamp, probe: bool, rng: &mut impl Rng) {
        // A clock that went back must not keep the breaker shut until it has caught up.
        let since = self.failing_since.map_or(now, |since| since.min(now));
        self.failing_since = Some(since);
        self.record(true);
        match self.phase {
            Phase::Open { failed_probes, .. } if probe => {
                self.open(now, failed_probes.saturating_add(1), rng)
            }
            // A call that was in flight when the breaker opened tells nothing new.
            Phase::Open { .. } => {}
            Phase::Closed | Phase::Ramping { .. } => {
                let failures = self.window.count_ones();
                let mostly_failing = self.calls >= WINDOW && failures * 10 >= WINDOW * 9;
                if mostly_failing && now.since(since) >= QUIET {
                    self.open(now, 0, rng);
                }
            }
        }
    }

    fn open(&mut self, now: Timestamp, failed_probes: u16, rng: &mut impl Rng) {
        let gap = PROBE_GAPS.delay(failed_probes.saturating_add(1), rng);
        self.phase = Phase::Open {
            probe_at: now.after(gap),
            failed_probes,
            probing: false,
        };
    }

    const fn record(&mut self, failed: bool) {
        self.window = ((self.window << 1) | if failed { 1 } else { 0 }) & ((1 << WINDOW) - 1);
        if self.calls < WINDOW {
            self.calls += 1;
        }
    }
}

/// How many of the last calls are looked at.
const WINDOW: u32 = 20;
/// For how long none may have succeeded before the breaker opens.
const QUIET: Duration = Duration::from_secs(5);
/// The gaps between probes; their number is bounded by the work's own give-up time.
const PROBE_GAPS: RetryPolicy = RetryPolicy {
    base: Duration::from_secs(1),
    factor: 2.0,
    cap: Duration::from_secs(60),
    max_retries: u16::MAX,
    jitter: true,
};

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn opens_after_twenty_failures_over_five_seconds_and_ramps_up_after_a_probe() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
        let mut breaker = Breaker::default();
        for n in 0..19 {
            breaker.ended(at(n), CallResult::Down, false, 8, &mut rng);
        }
        assert_eq!(breaker.limit(at(19), 8), 8);
        breaker.ended(at(19), CallResult::Down, false, 8, &mut rng);
        let probe_at = breaker.next_probe().unwrap();
        assert_eq!(breaker.limit(at(19), 8), 0);
        assert_eq!(breaker.limit(probe_at, 8), 1);

        assert!(breaker.started());
        assert_eq!(
            (breaker.limit(probe_at, 8), breaker.next_probe()),
            (0, None)
        );
        breaker.ended(probe_at, CallResult::Down, true, 8, &mut rng);
        let later = breaker.next_probe().unwrap();
        assert!(later.since(probe_at) >= Duration::from_secs(2));

        assert!(breaker.started());
        let mut limits = Vec::new();
        for _ in 0..4 {
            breaker.ended(later, CallResult::Up, true, 8, &mut rng);
            limits.push(breaker.limit(later, 8));
        }
        assert_eq!(limits, [1, 2, 4, 8]);
        assert_eq!(breaker.phase(), Phase::Closed);
    }

    #[test]
    fn one_that_is_tripped_lets_one_probe_out_and_ramps_up_when_it_is_let_go() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
        let mut breaker = Breaker::default();
        breaker.trip(at(100));
        assert_eq!(
            (breaker.limit(at(99), 8), breaker.limit(at(100), 8)),
            (0, 1)
        );
        assert!(breaker.started());
        breaker.trip(at(200));
        assert_eq!(breaker.next_probe(), None, "one is out");
        breaker.ended(at(101), CallResult::Down, true, 8, &mut rng);
        assert!(breaker.next_probe().is_some());

        breaker.ramp();
        assert_eq!(breaker.limit(at(102), 8), 1);
        breaker.ended(at(102), CallResult::Up, false, 8, &mut rng);
        breaker.ramp();
        assert_eq!(breaker.limit(at(102), 8), 2, "it is on its way");
    }

    #[test]
    fn a_source_that_fails_half_the_time_never_opens_it() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut breaker = Breaker::default();
        for n in 0..100_000 {
            let result = if rng.next_u32() % 2 == 0 {
                CallResult::Up
            } else {
                CallResult::Down
            };
            breaker.ended(Timestamp::from_millis(n * 50), result, false, 8, &mut rng);
            assert_eq!(breaker.phase(), Phase::Closed);
        }
    }

    #[test]
    fn twenty_failures_in_a_burst_do_not_open_it() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.ended(at(1), CallResult::Down, false, 8, &mut rng);
        }
        assert_eq!(breaker.phase(), Phase::Closed);
    }
}
