mod counts;
mod patch;
mod settings;
mod state;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Source;

pub use counts::Counts;
pub(crate) use patch::{Fault, Patch, Unreadable};
pub use settings::{Outage, RateLimit, Settings};
pub(crate) use state::{Decision, Verdict, chance};
use state::{SourceState, fresh};

/// A handle to a sandbox's settings and counts.
///
/// Clones share one sandbox, and work whether or not it runs.
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    /// Returns the settings of `source`.
    pub fn settings(&self, source: Source) -> Settings {
        self.lock()[source.index()].settings().clone()
    }

    /// Replaces the settings of `source`, from the next request on.
    pub fn set(&self, source: Source, settings: Settings) {
        self.lock()[source.index()].configure(settings);
    }

    /// Changes the settings of `source` in place, from the next request on.
    pub fn update(&self, source: Source, change: impl FnOnce(&mut Settings)) {
        let mut states = self.lock();
        let state = &mut states[source.index()];
        let mut settings = state.settings().clone();
        change(&mut settings);
        state.configure(settings);
    }

    /// Returns the calls of `source` received so far.
    pub fn counts(&self, source: Source) -> Counts {
        *self.lock()[source.index()].counts()
    }

    /// Returns the calls of all sources together.
    pub fn total(&self) -> Counts {
        self.lock()
            .iter()
            .fold(Counts::default(), |sum, state| sum.plus(state.counts()))
    }

    /// Puts settings, counts and draws back to the start.
    pub fn reset(&self) {
        *self.lock() = fresh(self.shared.seed);
    }

    /// Returns the seed the draws come from.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// Waits until the counts of `source` satisfy `predicate`.
    ///
    /// A call is counted when it arrives, not when it is answered.
    pub async fn wait_until(&self, source: Source, mut predicate: impl FnMut(&Counts) -> bool) {
        notified_until(&self.shared.counted, || predicate(&self.counts(source))).await;
    }

    pub(crate) fn new(seed: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                seed,
                states: Mutex::new(fresh(seed)),
                counted: Notify::new(),
            }),
        }
    }

    /// Counts a call to `source` and decides how it is answered.
    pub(crate) fn decide(&self, source: Source) -> Decision {
        let decision = self.lock()[source.index()].decide(
            source.payload().is_some(),
            Instant::now(),
            wall_clock,
        );
        self.shared.counted.notify_waiters();
        decision
    }

    fn lock(&self) -> MutexGuard<'_, [SourceState; Source::ALL.len()]> {
        self.shared
            .states
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Shared {
    seed: u64,
    states: Mutex<[SourceState; Source::ALL.len()]>,
    counted: Notify,
}

/// Waits for `notify` until `reached`, without a gap in which a notification could be lost.
pub(crate) async fn notified_until(notify: &Notify, mut reached: impl FnMut() -> bool) {
    loop {
        let mut notified = pin!(notify.notified());
        notified.as_mut().enable();
        if reached() {
            return;
        }
        notified.await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "`maintenance_until` is a wall-clock time set from outside"
)]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}
