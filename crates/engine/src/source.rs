//! What the driver knows of the configured sources.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wellspring_core::budget::{Limit, Window};
use wellspring_core::connection;
use wellspring_core::interaction::CredentialField;
use wellspring_core::schedule::{Schedule, SlowPlan};
use wellspring_core::source::Announced;
use wellspring_core::{Ask, CollectionPolicy, Lane, RetryPolicy, SourceName, TenantId};

/// What the driver needs of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: SourceName,
    /// How long and how often it, and the callbacks of its collections, are tried.
    pub policy: CollectionPolicy,
    /// How many calls to it may be in flight.
    pub concurrency: u32,
    /// How many fetches and attempts may begin in which time, all of it at once; empty for no limit.
    pub budget: Arc<[Window]>,
    /// What holds for a part of its calls: each is spent by a collection's call that names no
    /// endpoint, and by each call that a connector makes in an attempt.
    pub limits: Arc<[Limit]>,
    /// What its connections need; none where it only serves collections.
    pub connections: Option<ConnectionDefaults>,
    /// Times of maintenance that its file announces.
    pub maintenance: Arc<[Announced]>,
    /// How long a connection may be due and wait for its turn before the operator is told.
    pub backlog_alert: Duration,
}

/// What a source says about all connections to it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionDefaults {
    /// When a connection is fetched that sets nothing else.
    pub schedule: Schedule,
    /// The gaps after failed fetches.
    pub slow_plan: SlowPlan,
    /// What the source wants to log in.
    pub credential_fields: Arc<[CredentialField]>,
    /// How failed attempts inside one fetch are repeated, where that is not left to the class.
    pub attempts: Option<RetryPolicy>,
}

/// What tenants have set that a step needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantTable {
    /// By tenant; one that is missing has set nothing.
    pub by_id: BTreeMap<TenantId, TenantRules>,
}

/// What a tenant has set that a step needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantRules {
    /// When sources may ask its people something.
    pub ask: Ask,
    /// Whether `retrying` is shown as `waiting`.
    pub legacy_waiting: bool,
}

impl Source {
    /// Calls in flight to a source that sets no number.
    pub const DEFAULT_CONCURRENCY: u32 = 32;
    /// How long work may wait where a source sets no time.
    pub const DEFAULT_BACKLOG_ALERT: Duration = Duration::from_secs(900);
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

    /// Returns what a connection to this source steps by.
    pub fn connection_policy(&self, name: &SourceName, rules: TenantRules) -> connection::Policy {
        let defaults = self
            .by_lane(Lane::source(name))
            .and_then(|source| source.connections.as_ref());
        let mut policy = connection::Policy {
            ask: rules.ask,
            legacy_waiting: rules.legacy_waiting,
            ..connection::Policy::default()
        };
        if let Some(defaults) = defaults {
            policy.slow_plan = defaults.slow_plan.clone();
            policy.credential_fields = Arc::clone(&defaults.credential_fields);
            policy.attempts = defaults.attempts;
        }
        policy
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
