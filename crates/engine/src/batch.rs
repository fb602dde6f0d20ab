//! What one commit writes.

use bytes::Bytes;
use wellspring_core::{
    Attempt, Change, Collection, CollectionId, CollectionStatus, Error, IncarnationId, Kind, Shard,
    Stage, State, TenantId, Timestamp,
};

/// Steps that become durable together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Whose commit it is.
    pub incarnation: IncarnationId,
    /// Counts the incarnation's batches, so that an unknown outcome can be asked for.
    pub number: u64,
    /// The shards it touches and the epochs it assumes.
    pub epochs: Vec<(Shard, u64)>,
    /// The aggregates.
    pub writes: Vec<Write>,
    /// The entries of the log.
    pub entries: Vec<Entry>,
    /// Idempotency keys that are now in use.
    pub keys: Vec<KeyRow>,
    /// Inbox rows that are now dealt with.
    pub consumed: Vec<i64>,
}

/// One step of one aggregate.
#[derive(Debug, Clone)]
pub struct Write {
    /// Which aggregate.
    pub id: CollectionId,
    /// What it was.
    pub before: Before,
    /// What it is; `None` when it is erased.
    pub next: Option<Collection>,
    /// The attempt that ended.
    pub attempt: Option<Attempt>,
    /// What was fetched.
    pub payload: Option<Bytes>,
}

/// What an aggregate was before a step; the store asserts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It did not exist.
    New,
    /// It was in the hot table at this version.
    Live(u32),
    /// It had left the hot table at this version.
    Finished(u32),
}

/// What becomes of the outcome that is kept beside a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeChange<'a> {
    /// It stays.
    Keep,
    /// There is none again: the collection was resumed.
    Clear,
    /// The callback took the data.
    Delivered {
        /// When the data came in.
        collected_at: Timestamp,
        /// When it was delivered.
        at: Timestamp,
    },
    /// It was given up.
    Failed {
        /// In which stage.
        stage: Stage,
        /// When the data came in, if it did.
        collected_at: Option<Timestamp>,
        /// When.
        at: Timestamp,
        /// Why.
        error: &'a Error,
    },
}

/// One entry of the log with its place.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The shard.
    pub shard: Shard,
    /// The place in the shard.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it says.
    pub change: Change,
}

/// One use of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Whose key it is.
    pub tenant: TenantId,
    /// SHA-256 of the key.
    pub key: [u8; 32],
    /// SHA-256 of the operation and the request that it came with.
    pub fingerprint: [u8; 32],
    /// What the request made or changed.
    pub id: CollectionId,
    /// When.
    pub at: Timestamp,
}

impl Write {
    /// Returns whether the aggregate is in the hot table after the step.
    pub fn is_live(&self) -> bool {
        self.next
            .as_ref()
            .is_some_and(|next| next.next_wakeup().is_some())
    }

    /// Returns the error that goes beside the collection, as of the step.
    pub fn outcome(&self) -> OutcomeChange<'_> {
        let Some(next) = &self.next else {
            return OutcomeChange::Keep;
        };
        match (&next.state, self.before) {
            (State::Delivered { collected_at, at }, _) => OutcomeChange::Delivered {
                collected_at: *collected_at,
                at: *at,
            },
            (
                State::Failed {
                    stage,
                    collected_at,
                    at,
                    error,
                },
                _,
            ) => OutcomeChange::Failed {
                stage: *stage,
                collected_at: *collected_at,
                at: *at,
                error,
            },
            (
                State::Delivering {
                    kind: Kind::Failure(error),
                    since,
                    ..
                },
                _,
            ) => OutcomeChange::Failed {
                stage: Stage::Collect,
                collected_at: None,
                at: *since,
                error,
            },
            (
                State::Collecting { .. }
                | State::Delivering {
                    kind: Kind::Success,
                    ..
                },
                Before::New,
            ) => OutcomeChange::Keep,
            (
                State::Collecting { .. }
                | State::Delivering {
                    kind: Kind::Success,
                    ..
                },
                Before::Finished(_),
            ) => OutcomeChange::Clear,
            (State::Collecting { .. }, Before::Live(_))
                if next.status() == CollectionStatus::Requested =>
            {
                OutcomeChange::Clear
            }
            (
                State::Collecting { .. }
                | State::Delivering {
                    kind: Kind::Success,
                    ..
                },
                Before::Live(_),
            ) => OutcomeChange::Keep,
        }
    }
}
