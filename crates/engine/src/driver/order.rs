//! What goes into the driver and what comes out of it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wellspring_core::budget::{BudgetName, Spent};
use wellspring_core::connection::{self, Config, CredentialsFrom, Patch};
use wellspring_core::{
    AccountId, Actor, AlertId, AlertWish, CollectionId, ConnectionId, Document, IncarnationId,
    InteractionId, Kind, Lane, Rejected, Sealed, Shard, SourceId, SourceName, SubscriptionId,
    TenantId, Timestamp, TraceParent, source,
};

use crate::dispatch::{
    DispatchAnswer, DispatchQuery, SendId, SendOrder, SendResult, SubscriptionWish,
};
use crate::{
    Aggregate, Batch, CommitError, DeliverResult, FetchResult, Heard, KeyRow, Lease, Leave, Live,
    Loaded, Report, RunOrder, RunResult, SourceTable, SubscriptionTable, TenantTable,
};

/// What somebody wants done.
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
    /// A new account; without an id the driver mints one in a shard of its own.
    CreateAccount {
        /// The id, where another node has promised it already.
        id: Option<AccountId>,
        /// Who asks.
        tenant: TenantId,
        /// What the tenant calls it.
        external_id: Option<String>,
        /// By what authority.
        actor: Actor,
    },
    /// An account is to be called something else.
    PatchAccount {
        /// Which.
        id: AccountId,
        /// Whose it must be.
        tenant: TenantId,
        /// What the tenant calls it.
        external_id: Option<String>,
        /// By what authority.
        actor: Actor,
    },
    /// Everything of an account is to go.
    EraseAccount {
        /// Which.
        id: AccountId,
        /// Whose it must be.
        tenant: TenantId,
        /// By what authority.
        actor: Actor,
    },
    /// A new connection of an account.
    Connect {
        /// The id, where another node has promised it already.
        id: Option<ConnectionId>,
        /// Of which account.
        account: AccountId,
        /// Whose account it must be.
        tenant: TenantId,
        /// What it leads to.
        source: SourceName,
        /// What its owner has set.
        config: Box<Config>,
        /// What the source is logged in to with.
        credentials: Option<Sealed>,
        /// The span of whoever asks.
        #[serde(default)]
        asked_in: Option<TraceParent>,
        /// By what authority.
        actor: Actor,
    },
    /// Something of a connection.
    Connection {
        /// Which.
        id: ConnectionId,
        /// Whose it must be.
        tenant: TenantId,
        /// What.
        wish: Wish,
        /// By what authority.
        actor: Actor,
    },
    /// Something of a source, or what calls have shown of it.
    Source {
        /// Which.
        name: SourceName,
        /// Who asks; none in particular for what calls have shown.
        tenant: TenantId,
        /// What.
        input: Box<source::Input>,
    },
    /// Something of a subscription in one shard.
    Subscription {
        /// In which shard; any one for a test.
        shard: Shard,
        /// Whose it must be.
        tenant: TenantId,
        /// Which.
        subscription: SubscriptionId,
        /// What.
        wish: SubscriptionWish,
    },
}

/// What somebody wants of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Wish {
    /// A fetch.
    Fetch,
    /// A fetch, whose trace is linked to the span of whoever asks.
    FetchIn(TraceParent),
    /// The answer to the open question taken.
    Answer {
        /// Which interaction.
        interaction: InteractionId,
        /// The answer.
        answer: Sealed,
        /// By which the same answer is known again.
        hash: [u8; 32],
        /// What it has the fetch do.
        action: connection::Action,
    },
    /// The open question called off.
    CancelQuestion(InteractionId),
    /// Other credentials used.
    Credentials {
        /// The new ones.
        credentials: Sealed,
        /// How they came.
        from: CredentialsFrom,
    },
    /// Something set.
    Patch(Box<Patch>),
    /// A document taken that was uploaded by hand.
    Upload(Box<Document>),
    /// All of it gone.
    Delete,
    /// Something done about an alert.
    Alert(AlertId, AlertWish),
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
    /// The erasure of an account, which waits for its connections to go.
    Erasure(AccountId),
    /// The driver itself, which has seen something of a source.
    Fact,
}

/// What a caller hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is done and durable.
    Done(Aggregate),
    /// The dispatcher has it, durably.
    Dispatched,
    /// What came of a test message.
    Tried(Box<SendResult>),
    /// There is nothing of this id of this tenant.
    NotFound,
    /// The collection's state does not take it.
    Rejected(Rejected),
    /// The connection's state does not take it.
    Refused(connection::Rejected),
    /// The fetch that reported something is over.
    Ended,
    /// Whether an attempt may make a call.
    Leave(Leave),
    /// The idempotency key was used meanwhile; what for stands in the store.
    KeyTaken,
    /// A request with the same idempotency key is under way.
    KeyBusy,
    /// Its shard belongs to another node, or this node has none yet.
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
    /// For what.
    pub id: Aggregate,
    /// The version it acts for.
    pub version: u32,
    /// The lane whose slot it holds.
    pub lane: Lane,
    /// Whether it is a breaker's probe.
    pub probe: bool,
    /// When it was ordered.
    pub started: Timestamp,
    /// Since when it was due.
    pub due: Timestamp,
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
        asked: Vec<Aggregate>,
        /// Those that there are.
        rows: Vec<Loaded>,
    },
    /// Aggregates could not be read.
    LoadFailed(Vec<Aggregate>),
    /// A batch is durable, or not.
    Committed(u64, Result<Spent, CommitError>),
    /// Whether a batch of unknown outcome is durable; `None` when that cannot be told yet.
    Resolved(u64, Option<bool>),
    /// A source answered.
    Fetched(EffectId, FetchResult),
    /// A callback answered.
    Delivered(EffectId, DeliverResult),
    /// An attempt on a connection ended.
    Ran(EffectId, RunResult),
    /// A connector reports something and waits until it is durable.
    Reported(EffectId, Report, T),
    /// A connector is about to call this endpoint of its source and waits until that is spent.
    Calling(EffectId, Arc<str>, T),
    /// A source says how many calls are left.
    Heard(EffectId, Heard),
    /// Connections of an account that is being erased; `None` when they could not be read.
    Children(AccountId, Option<Vec<ConnectionId>>),
    /// A message was sent to a subscription, or not.
    Sent(SendId, SendResult),
    /// What the dispatcher wanted to know; none when it could not be read.
    Read(u64, Option<DispatchAnswer>),
    /// What subscriptions there are. Before leases are handed over, they have to be told as of after
    /// the leases were taken: whoever had the shards may have caught up with one not known here.
    Subscriptions {
        /// Subscriptions.
        table: Arc<SubscriptionTable>,
        /// Whether there are no others.
        whole: bool,
    },
    /// The configured sources changed.
    Sources(Arc<SourceTable>),
    /// What is kept of sources was read.
    Kept(Vec<source::Source>),
    /// What was spent of budgets was read.
    Spent(Vec<BudgetName>, Spent),
    /// What tenants have set changed.
    Tenants(Arc<TenantTable>),
    /// Time passed.
    Tick,
}

/// What is to be done; each but `Post`, `Reply`, `Abort`, `Fenced` and `Release` is answered by an event.
#[derive(Debug)]
pub enum Action<T> {
    /// Make this durable.
    Commit(Arc<Batch>),
    /// Find out whether this batch is durable.
    Resolve(u64),
    /// Read these.
    Load(Vec<Aggregate>),
    /// Ask a source.
    Fetch(EffectId, FetchOrder),
    /// Send a message.
    Deliver(EffectId, DeliverOrder),
    /// Make an attempt on a connection.
    Run(EffectId, RunOrder),
    /// End an attempt: nothing of it counts any more.
    Abort(EffectId),
    /// Read connections of an account.
    Children(AccountId),
    /// Send a message to a subscription.
    Send(SendId, SendOrder),
    /// Read something for the dispatcher, under this number.
    Read(u64, DispatchQuery),
    /// Leave this to the owner of its shard; if that fails it is told again later.
    Post(Box<Request>),
    /// Tell a caller.
    Reply(T, Answer),
    /// Give these shards up: nothing of them is under way.
    Release(Vec<Shard>),
    /// This incarnation is dead; begin another.
    Fenced,
}

impl Request {
    /// Returns what has to be in memory for it: for a new connection, its account.
    pub fn subject(&self) -> Option<Aggregate> {
        match self {
            Self::Collect { id: Some(id), .. }
            | Self::Resume { id, .. }
            | Self::Erase { id, .. } => Some(Aggregate::Collection(*id)),
            Self::CreateAccount { id: Some(id), .. }
            | Self::PatchAccount { id, .. }
            | Self::EraseAccount { id, .. } => Some(Aggregate::Account(*id)),
            Self::Connect { account, .. } => Some(Aggregate::Account(*account)),
            Self::Connection { id, .. } => Some(Aggregate::Connection(*id)),
            Self::Source { name, .. } => Some(Aggregate::Source(SourceId::of(name))),
            Self::Collect { id: None, .. }
            | Self::CreateAccount { id: None, .. }
            | Self::Subscription { .. } => None,
        }
    }

    /// Returns whose request it is.
    pub const fn tenant(&self) -> TenantId {
        match self {
            Self::Collect { tenant, .. }
            | Self::Resume { tenant, .. }
            | Self::Erase { tenant, .. }
            | Self::CreateAccount { tenant, .. }
            | Self::PatchAccount { tenant, .. }
            | Self::EraseAccount { tenant, .. }
            | Self::Connect { tenant, .. }
            | Self::Connection { tenant, .. }
            | Self::Source { tenant, .. }
            | Self::Subscription { tenant, .. } => *tenant,
        }
    }

    /// Returns whether it makes something that was not there.
    pub const fn is_new(&self) -> bool {
        match self {
            Self::Collect { .. } | Self::CreateAccount { .. } | Self::Connect { .. } => true,
            Self::Resume { .. }
            | Self::Erase { .. }
            | Self::PatchAccount { .. }
            | Self::EraseAccount { .. }
            | Self::Connection { .. }
            | Self::Source { .. }
            | Self::Subscription { .. } => false,
        }
    }
}

impl Key {
    /// Returns the row that remembers the use of this key.
    pub const fn row(self, tenant: TenantId, id: Aggregate, at: Timestamp) -> KeyRow {
        KeyRow {
            tenant,
            key: self.hash,
            fingerprint: self.fingerprint,
            id,
            at,
        }
    }
}
