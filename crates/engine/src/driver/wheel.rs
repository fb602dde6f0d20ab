//! Timers in memory, in one total order; rebuilt by a scan at start.

use std::cmp::Ordering;

use wellspring_core::{Lane, Timestamp};

use super::{Entry, Line, Place};
use crate::Aggregate;

/// A wake-up of one aggregate: which lane it joins, and where in its queue.
///
/// A timer is never removed before it is due; one that has become untrue is found
/// out when its aggregate is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) due: Timestamp,
    pub(super) id: Aggregate,
    pub(super) since: Timestamp,
    pub(super) lane: Lane,
    pub(super) line: Line,
}

impl Timer {
    pub(super) const fn new(due: Timestamp, id: Aggregate, place: Place) -> Self {
        let Place { lane, line, since } = place;
        Self {
            due,
            id,
            since,
            lane,
            line,
        }
    }

    /// Returns how it waits in its lane once it is due.
    pub(super) const fn entry(&self) -> Entry {
        Entry {
            line: self.line,
            since: self.since,
            id: self.id,
        }
    }
}

impl Ord for Timer {
    /// The earliest is the greatest, as a binary heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.id).cmp(&(self.due, self.id))
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
