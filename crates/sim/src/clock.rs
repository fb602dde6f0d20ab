//! Virtual time.

use std::sync::atomic::{AtomicI64, Ordering};

use wellspring_core::Timestamp;
use wellspring_engine::Clock;

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub(crate) struct VirtualClock(AtomicI64);

impl VirtualClock {
    /// Sets the present moment, in milliseconds.
    pub(crate) fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// When every seed begins.
pub(crate) const BEGIN: i64 = 1_795_000_000_000;
pub(crate) const SECOND: i64 = 1_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
