//! One subscription's endpoint: its slots, and how it fares.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng;
use wellspring_core::{AnyId, RetryPolicy, Shard, Timestamp};

use super::track::{Row, Track};
use crate::Subscription;
use crate::dispatch::{Message, SendResult};

/// A subscription as the dispatcher knows it.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) subscription: Arc<Subscription>,
    pub(super) state: State,
    pub(super) health: Health,
    /// Since when its endpoint failed, where nothing has been taken since.
    pub(super) suspect: Option<Timestamp>,
    pub(super) in_flight: usize,
    /// Where it is not simply caught up.
    pub(super) tracks: BTreeMap<Shard, Track>,
    /// What waits for a slot, in the order in which it may begin.
    pub(super) ready: VecDeque<(Shard, u64)>,
    /// Open deliveries in `tracks`.
    pub(super) rows: usize,
}

/// Whether anything is sent.
#[derive(Debug)]
pub(super) enum State {
    /// Changes are sent as they come.
    Running,
    /// The endpoint fails: nothing of it is in memory but what it is probed with.
    Stopped(Stopped),
    /// Nobody wants anything sent.
    Off,
}

/// An endpoint that fails.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) since: Timestamp,
    /// Probes that failed.
    pub(super) probes: u16,
    /// The oldest delivery; where none is known here, the next change shows how the endpoint fares.
    pub(super) probe: Option<Probe>,
    /// The number of the probe in flight.
    pub(super) flight: Option<u64>,
    pub(super) reading: bool,
}

/// The delivery that an endpoint is probed with.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) shard: Shard,
    pub(super) seq: u64,
    pub(super) line: AnyId,
    pub(super) row: Row,
    pub(super) message: Option<Arc<Message>>,
}

/// The last tries of an endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Health {
    /// One bit for each of the last tries, set where it failed.
    failed: u32,
    tries: u32,
    /// Tries in a row that did not even reach it.
    unreachable: u32,
}

impl Outlet {
    pub(super) const fn new(subscription: Arc<Subscription>, state: State) -> Self {
        Self {
            subscription,
            state,
            health: Health::NEW,
            suspect: None,
            in_flight: 0,
            tracks: BTreeMap::new(),
            ready: VecDeque::new(),
            rows: 0,
        }
    }

    pub(super) const fn is_running(&self) -> bool {
        match self.state {
            State::Running => true,
            State::Stopped(_) | State::Off => false,
        }
    }

    /// Returns how many sendings to it may be in flight.
    pub(super) const fn slots(&self, full: usize) -> usize {
        if self.suspect.is_some() { 1 } else { full }
    }

    /// Returns whether its endpoint has taken something lately.
    pub(super) const fn is_well(&self) -> bool {
        self.health.tries > 0 && self.health.failed & 1 == 0
    }
}

impl Health {
    const NEW: Self = Self {
        failed: 0,
        tries: 0,
        unreachable: 0,
    };

    pub(super) fn note(&mut self, result: &SendResult) {
        let failed = result.failure.is_some();
        self.failed = ((self.failed << 1) | u32::from(failed)) & ((1 << WINDOW) - 1);
        self.tries = (self.tries + 1).min(WINDOW);
        let unreachable = result.failure.as_ref().is_some_and(|why| why.unreachable);
        self.unreachable = if unreachable { self.unreachable + 1 } else { 0 };
    }

    /// Returns whether the endpoint fails, rather than this message or that.
    pub(super) const fn is_down(&self) -> bool {
        self.unreachable >= UNREACHABLE
            || (self.tries >= WINDOW && self.failed.count_ones() * 10 >= WINDOW * 9)
    }
}

impl Stopped {
    pub(super) const fn new(since: Timestamp, probe: Option<Probe>) -> Self {
        Self {
            since,
            probes: 0,
            probe,
            flight: None,
            reading: false,
        }
    }

    /// Returns the gap before the next probe.
    pub(super) fn gap(&self, rng: &mut impl Rng) -> Duration {
        PROBES.delay(self.probes.saturating_add(1), rng)
    }
}

/// Returns the gap after which a message that has failed `failures` times is tried again; `None`
/// when its plan is spent.
pub(super) fn gap_after(failures: u16, rng: &mut impl Rng) -> Option<Duration> {
    let place = usize::from(failures).checked_sub(1)?;
    let gap = Duration::from_secs(*PLAN.get(place)?);
    // Late by up to a quarter, so that what failed together is not tried together.
    let share = f64::from(rng.next_u32()) / f64::from(u32::MAX);
    Some(gap.mul_f64(0.25f64.mul_add(share, 1.0)))
}

/// The gaps of the standard plan, in seconds: the first try comes at once.
const PLAN: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// How many tries tell how an endpoint fares.
const WINDOW: u32 = 20;
/// How many tries in a row that do not reach an endpoint say that it is down.
const UNREACHABLE: u32 = 3;
/// The gaps between probes of an endpoint that fails.
const PROBES: RetryPolicy = RetryPolicy {
    base: Duration::from_secs(1),
    factor: 2.0,
    cap: Duration::from_secs(300),
    max_retries: u16::MAX,
    jitter: true,
};
