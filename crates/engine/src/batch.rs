//! What one commit writes.

use bytes::Bytes;
use wellspring_core::budget::Spends;
use wellspring_core::connection::{self, Connection, FetchRecord, InteractionWrite, SecretWrite};
use wellspring_core::{
    Account, AccountId, AlertWrite, Attempt, Change, Collection, CollectionId, CollectionStatus,
    ConnectionId, Document, Error, IncarnationId, Incident, Kind, Shard, SourceId, Stage, State,
    TenantId, Timestamp, source,
};

use crate::Aggregate;
use crate::dispatch::DispatchWrites;
use crate::session::Record;
use crate::unclassified::UnclassifiedWrite;

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
    /// Failures that no rule matched, in the order of their digests.
    pub unclassified: Vec<UnclassifiedWrite>,
    /// What the dispatcher wants kept.
    pub dispatch: DispatchWrites,
    /// What is wanted of budgets; who gets how much is decided by the commit.
    pub spends: Spends,
}

/// One step of one aggregate.
#[derive(Debug, Clone)]
pub enum Write {
    /// Of a collection.
    Collection(Box<CollectionWrite>),
    /// Of an account.
    Account(AccountWrite),
    /// Of a connection.
    Connection(Box<ConnectionWrite>),
    /// Of a source.
    Source(Box<SourceWrite>),
}

/// One step of a source.
#[derive(Debug, Clone)]
pub struct SourceWrite {
    /// Which source.
    pub id: SourceId,
    /// What it was: [`Before::New`] or [`Before::Live`].
    pub before: Before,
    /// What it is.
    pub next: source::Source,
    /// Incidents that began, changed or ended, in place of what was.
    pub incidents: Vec<Incident>,
    /// What becomes of alerts.
    pub alerts: Vec<AlertWrite>,
}

/// One step of an account.
#[derive(Debug, Clone)]
pub struct AccountWrite {
    /// Which account.
    pub id: AccountId,
    /// What it was: [`Before::New`] or [`Before::Live`].
    pub before: Before,
    /// What it is; `None` when it is erased, with all that is left of it.
    pub next: Option<Account>,
}

/// One step of a connection.
#[derive(Debug, Clone)]
pub struct ConnectionWrite {
    /// Which connection.
    pub id: ConnectionId,
    /// What it was: [`Before::New`] or [`Before::Live`].
    pub before: Before,
    /// What it is; `None` when it is deleted, its documents excepted.
    pub next: Option<Connection>,
    /// The fetch as it is then, in place of what was.
    pub fetch: Option<FetchRecord>,
    /// The attempt that ended.
    pub attempt: Option<connection::Attempt>,
    /// What becomes of interactions, in order.
    pub interactions: Vec<InteractionWrite>,
    /// What becomes of secrets, in order.
    pub secrets: Vec<SecretWrite>,
    /// Documents that came in.
    pub documents: Vec<Document>,
    /// Records that came in, by stream.
    pub records: Vec<(String, Record)>,
    /// Where streams go on, in place of what was.
    pub cursors: Vec<(String, String)>,
    /// What becomes of alerts.
    pub alerts: Vec<AlertWrite>,
}

/// One step of a collection.
#[derive(Debug, Clone)]
pub struct CollectionWrite {
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
    pub id: Aggregate,
    /// When.
    pub at: Timestamp,
}

impl CollectionWrite {
    /// Returns whether the collection is in the hot table after the step.
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

impl Write {
    /// Returns the aggregate.
    pub const fn id(&self) -> Aggregate {
        match self {
            Self::Collection(write) => Aggregate::Collection(write.id),
            Self::Account(write) => Aggregate::Account(write.id),
            Self::Connection(write) => Aggregate::Connection(write.id),
            Self::Source(write) => Aggregate::Source(write.id),
        }
    }

    /// Returns what it was.
    pub const fn before(&self) -> Before {
        match self {
            Self::Collection(write) => write.before,
            Self::Account(write) => write.before,
            Self::Connection(write) => write.before,
            Self::Source(write) => write.before,
        }
    }

    /// Returns its version after the step; `None` when it is gone.
    pub fn next_version(&self) -> Option<u32> {
        match self {
            Self::Collection(write) => write.next.as_ref().map(|next| next.version),
            Self::Account(write) => write.next.as_ref().map(|next| next.version),
            Self::Connection(write) => write.next.as_ref().map(|next| next.version),
            Self::Source(write) => Some(write.next.version),
        }
    }

    /// Returns roughly how many bytes it adds to its batch, rows of usual size aside.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Collection(write) => write.payload.as_ref().map_or(0, Bytes::len),
            Self::Account(_) | Self::Source(_) => 0,
            Self::Connection(write) => write
                .records
                .iter()
                .map(|(_, record)| record.body.as_bytes().len())
                .sum(),
        }
    }
}
