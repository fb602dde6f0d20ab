//! What the driver knows of the configured sources.

use std::collections::BTreeMap;
use std::time::Duration;

use wellspring_core::{CollectionPolicy, Lane, SourceName};

/// What the driver needs of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: SourceName,
    /// How long and how often it, and the callbacks of its collections, are tried.
    pub policy: CollectionPolicy,
    /// How many calls to it may be in flight.
    pub concurrency: u32,
}

impl Source {
    /// Calls in flight to a source that sets no number.
    pub const DEFAULT_CONCURRENCY: u32 = 32;
}

/// All configured sources.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceTable {
    by_lane: BTreeMap<Lane, Source>,
    longest: Option<Duration>,
}

impl SourceTable {
    /// Makes the table; a later source of the same name replaces an earlier one.
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Self {
        let by_lane: BTreeMap<Lane, Source> = sources
            .into_iter()
            .map(|source| (Lane::source(&source.name), source))
            .collect();
        let longest = by_lane
            .values()
            .map(|source| source.policy.give_up_after)
            .max();
        Self { by_lane, longest }
    }

    /// Returns the source of a lane.
    pub fn by_lane(&self, lane: Lane) -> Option<&Source> {
        self.by_lane.get(&lane)
    }

    /// Returns the policy of a source; the default one if it is no longer configured.
    pub fn policy(&self, name: &SourceName) -> CollectionPolicy {
        self.by_lane(Lane::source(name))
            .map_or_else(CollectionPolicy::default, |source| source.policy)
    }

    /// Returns a time after which any stage is given up, whatever its source.
    pub fn longest_give_up(&self) -> Duration {
        let default = CollectionPolicy::default().give_up_after;
        self.longest.map_or(default, |longest| longest.max(default))
    }

    /// Iterates over the sources.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.by_lane.values()
    }
}
