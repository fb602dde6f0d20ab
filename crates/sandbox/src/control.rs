mod bank;
mod budget;
mod counts;
mod patch;
mod settings;
mod state;

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Source;
use crate::bank::BankState;

pub use bank::{BankCounts, BankSettings};
pub use budget::{Budget, BudgetWindow, Tells, WindowCount};
pub(crate) use budget::{Fill, Met};
pub use counts::Counts;
pub(crate) use patch::{Fault, Patch, Unreadable};
pub use settings::{Outage, RateLimit, Settings};
pub(crate) use state::{Decision, Verdict, chance, whole_seconds};
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

    /// Returns what was counted in the windows of a source's budget since it was set.
    pub fn windows(&self, source: Source) -> Vec<WindowCount> {
        self.lock()[source.index()].windows()
    }

    /// Returns the calls of all sources together.
    pub fn total(&self) -> Counts {
        self.lock()
            .iter()
            .fold(Counts::default(), |sum, state| sum.plus(state.counts()))
    }

    /// Returns what only the bank can be told.
    pub fn bank_settings(&self) -> BankSettings {
        self.bank().settings().clone()
    }

    /// Changes what only the bank can be told, from the next request on.
    pub fn update_bank(&self, change: impl FnOnce(&mut BankSettings)) {
        change(self.bank().settings_mut());
    }

    /// Returns the bank's calls received so far, by what they asked for.
    pub fn bank_counts(&self) -> BankCounts {
        self.bank().counts()
    }

    /// Lets the bank forget everyone who is logged in or has a question open.
    pub fn expire_sessions(&self) {
        self.bank().expire_sessions();
    }

    /// Puts settings, counts and draws back to the start, and lets the bank forget its sessions.
    pub fn reset(&self) {
        *self.lock() = fresh(self.shared.seed);
        *self.bank() = BankState::new(self.shared.seed);
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

    /// Waits until the bank's counts satisfy `predicate`.
    ///
    /// A call is counted when it arrives, not when it is answered.
    pub async fn wait_until_bank(&self, mut predicate: impl FnMut(&BankCounts) -> bool) {
        notified_until(&self.shared.counted, || predicate(&self.bank_counts())).await;
    }

    pub(crate) fn new(seed: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                seed,
                states: Mutex::new(fresh(seed)),
                bank: Mutex::new(BankState::new(seed)),
                in_flight: Source::ALL.map(|_| AtomicU64::new(0)),
                counted: Notify::new(),
            }),
        }
    }

    /// Counts a call to `source` and decides how it is answered.
    ///
    /// The call is in flight until the second value is dropped.
    pub(crate) fn decide(
        &self,
        source: Source,
        endpoint: &str,
        known: bool,
    ) -> (Decision, InFlight) {
        let decision = {
            let mut states = self.lock();
            let in_flight = self.shared.in_flight[source.index()].fetch_add(1, Ordering::Relaxed);
            states[source.index()].decide(
                (endpoint, known),
                in_flight + 1,
                Instant::now(),
                wall_clock,
            )
        };
        self.shared.counted.notify_waiters();
        let in_flight = InFlight {
            shared: Arc::clone(&self.shared),
            source,
        };
        (decision, in_flight)
    }

    pub(crate) fn apply(&self, source: Source, patch: Patch) {
        let Patch { common, bank } = patch;
        self.update(source, |settings| common.apply(settings));
        let mut state = self.bank();
        if bank.expire_sessions {
            state.expire_sessions();
        }
        bank.apply(state.settings_mut());
    }

    pub(crate) fn bank(&self) -> MutexGuard<'_, BankState> {
        self.shared
            .bank
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
    bank: Mutex<BankState>,
    /// Apart from the counts, so that a reset in the middle of a call does not miscount its end.
    in_flight: [AtomicU64; Source::ALL.len()],
    counted: Notify,
}

/// A call that is being answered.
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    source: Source,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.in_flight[self.source.index()].fetch_sub(1, Ordering::Relaxed);
    }
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
    reason = "`maintenance_until` is a wall-clock time set from outside, and dates are told in it"
)]
pub(crate) fn wall_clock() -> Timestamp {
    Timestamp::now()
}
