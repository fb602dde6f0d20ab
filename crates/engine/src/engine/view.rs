//! What an engine looks like from outside.

use wellspring_core::{IncarnationId, Shard};

use crate::driver::{Counters, DispatchView, LaneView};

/// What an engine looks like from outside; refreshed several times a second.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Whether commands are taken.
    pub ready: bool,
    /// Whether the last commit failed.
    pub store_down: bool,
    /// Unfinished collections.
    pub backlog: u64,
    /// Calls in flight.
    pub in_flight: u32,
    /// Timers in the wheel.
    pub timers: usize,
    /// Shards owned.
    pub shards: usize,
    /// What happened so far.
    pub counters: Counters,
    /// The sources' lanes.
    pub lanes: Vec<LaneView>,
    /// Subscriptions and what is on its way to them.
    pub dispatch: DispatchView,
}

/// Which shards are an engine's, and under which epochs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Its present life.
    pub incarnation: IncarnationId,
    /// The shards.
    pub shards: Vec<(Shard, u64)>,
}
