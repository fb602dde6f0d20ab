//! What goes into the driver and what comes out of it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wellspring_core::{
    Actor, CollectionId, IncarnationId, Kind, Lane, Rejected, Shard, SourceName, TenantId,
    Timestamp,
};

use crate::{
    Batch, CommitError, DeliverResult, FetchResult, KeyRow, Lease, Live, Loaded, SourceTable,
};

/// What somebody wants done to one collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// A new one; without an id the driver mints one in a shard of its own.
    Collect {
        /// The id, where another node has promised it already.
        id: Option<CollectionId>,
        /// Who asks.
        tenant: TenantId,
        /// Where the data comes from.
        source: SourceName,
        /// Where it goes.
        callback_url: Arc<str>,
        /// By what authority.
        actor: Actor,
    },
    /// A failed one is to be tried again.
    Resume {
        /// Which.
        id: CollectionId,
        /// Whose it must be.
        tenant: TenantId,
        /// By what authority.
        actor: Actor,
    },
    /// Everything of one is to go.
    Erase {
        /// Which.
        id: CollectionId,
        /// Whose it must be.
        tenant: TenantId,
        /// By what authority.
        actor: Actor,
    },
}

/// An idempotency key as a request brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// SHA-256 of the operation and the request.
    pub fingerprint: [u8; 32],
}

/// A request and who waits for its answer.
#[derive(Debug)]
pub struct Command<T> {
    /// What is wanted.
    pub request: Request,
    /// The idempotency key it came with.
    pub key: Option<Key>,
    /// Who waits.
    pub origin: Origin<T>,
}

/// Who waits for an answer.
#[derive(Debug)]
pub enum Origin<T> {
    /// A caller, who is told with this.
    Caller(T),
    /// Nobody: another node wrote it into the inbox, at this place.
    Inbox(i64),
}

/// What a caller hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is done and durable.
    Done(CollectionId),
    /// There is no such collection of this tenant.
    NotFound,
    /// The collection's state does not take it.
    Rejected(Rejected),
    /// The idempotency key was used meanwhile; what for stands in the store.
    KeyTaken,
    /// A request with the same idempotency key is under way.
    KeyBusy,
    /// The collection's shard belongs to another node, or this node has none yet.
    Elsewhere,
    /// Not now, nothing was stored.
    Busy(Busy),
    /// Nobody can say any more whether it was done.
    Unknown,
}

/// Why new work is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// The queue of commands is full.
    Queue,
    /// There are as many unfinished collections as the limits allow.
    Backlog,
    /// The database cannot be written now.
    Database,
    /// The node is starting, stopping, or lost its lease.
    NotReady,
}

/// Names one call to the outside; its result is dropped when the version is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectId {
    /// The driver's life that ordered it.
    pub incarnation: IncarnationId,
    /// Counts the calls of that life; each has one result that counts.
    pub number: u64,
    /// For which collection.
    pub id: CollectionId,
    /// The version it acts for.
    pub version: u32,
    /// The lane whose slot it holds.
    pub lane: Lane,
    /// Whether it is a breaker's probe.
    pub probe: bool,
    /// When it was ordered.
    pub started: Timestamp,
}

/// Ask a source.
#[derive(Debug, Clone)]
pub struct FetchOrder {
    /// Which source.
    pub source: SourceName,
    /// For which collection.
    pub id: CollectionId,
    /// For whom.
    pub tenant: TenantId,
}

/// Send a message to a callback.
#[derive(Debug, Clone)]
pub struct DeliverOrder {
    /// About which collection.
    pub id: CollectionId,
    /// Whose secret signs it.
    pub tenant: TenantId,
    /// What it says.
    pub kind: Kind,
    /// The ordinal of the message; with the id it makes the stable message id.
    pub message: u16,
    /// The time the message bears.
    pub at: Timestamp,
    /// The collection's source.
    pub source: SourceName,
    /// Where to.
    pub callback_url: Arc<str>,
    /// When the collection was accepted.
    pub created_at: Timestamp,
    /// What was fetched; empty for a failure.
    pub payload: Bytes,
}

/// What happened.
#[derive(Debug)]
pub enum Event<T> {
    /// Somebody wants something.
    Command(Command<T>),
    /// Leases were taken.
    Leased(Vec<Lease>),
    /// The scan found these, and, when `done`, there are no more.
    Scanned {
        /// Live aggregates of owned shards.
        rows: Vec<Live>,
        /// Whether the scan is over.
        done: bool,
    },
    /// These shards are to be given up once nothing of them is under way.
    Drain(Vec<Shard>),
    /// Aggregates were read.
    Loaded {
        /// Those that were asked for.
        asked: Vec<CollectionId>,
        /// Those that there are.
        rows: Vec<Loaded>,
    },
    /// Aggregates could not be read.
    LoadFailed(Vec<CollectionId>),
    /// A batch is durable, or not.
    Committed(u64, Result<(), CommitError>),
    /// Whether a batch of unknown outcome is durable; `None` when that cannot be told yet.
    Resolved(u64, Option<bool>),
    /// A source answered.
    Fetched(EffectId, FetchResult),
    /// A callback answered.
    Delivered(EffectId, DeliverResult),
    /// The configured sources changed.
    Sources(Arc<SourceTable>),
    /// Time passed.
    Tick,
}

/// What is to be done; each but `Reply`, `Fenced` and `Release` is answered by an event.
#[derive(Debug)]
pub enum Action<T> {
    /// Make this durable.
    Commit(Arc<Batch>),
    /// Find out whether this batch is durable.
    Resolve(u64),
    /// Read these.
    Load(Vec<CollectionId>),
    /// Ask a source.
    Fetch(EffectId, FetchOrder),
    /// Send a message.
    Deliver(EffectId, DeliverOrder),
    /// Tell a caller.
    Reply(T, Answer),
    /// Give these shards up: nothing of them is under way.
    Release(Vec<Shard>),
    /// This incarnation is dead; begin another.
    Fenced,
}

impl Request {
    /// Returns the collection it is about, if it names one.
    pub const fn id(&self) -> Option<CollectionId> {
        match self {
            Self::Collect { id, .. } => *id,
            Self::Resume { id, .. } | Self::Erase { id, .. } => Some(*id),
        }
    }

    /// Returns whose request it is.
    pub const fn tenant(&self) -> TenantId {
        match self {
            Self::Collect { tenant, .. }
            | Self::Resume { tenant, .. }
            | Self::Erase { tenant, .. } => *tenant,
        }
    }
}

impl Key {
    /// Returns the row that remembers the use of this key.
    pub const fn row(self, tenant: TenantId, id: CollectionId, at: Timestamp) -> KeyRow {
        KeyRow {
            tenant,
            key: self.hash,
            fingerprint: self.fingerprint,
            id,
            at,
        }
    }
}
