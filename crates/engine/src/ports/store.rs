//! Where steps become durable.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use wellspring_core::budget::{BudgetName, Spent};
use wellspring_core::{
    Account, AccountId, Collection, Connection, ConnectionId, DocumentId, IncarnationId, Lane,
    Shard, SubscriptionId, TenantId, Timestamp, source,
};

use crate::dispatch::{DispatchState, LogSlice, SubscriptionState};
use crate::session::RunInputs;
use crate::{Aggregate, Batch, Directory, KeyRow, NoticeBackend, Queries, Request};

/// Why a store did not do what was asked; nothing of it happened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It cannot be reached, is locked or full; later it may do it.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A row does not decode.
    #[error("{table}.{column} of {row} does not decode")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// Which row.
        row: String,
    },
    /// The incarnation is no longer among the living.
    #[error("this node's lease has ended")]
    Fenced,
    /// The database was written by a newer version of the program, or belongs to something else.
    #[error("{0}")]
    Refused(String),
}

/// Why a batch is not known to be committed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommitError {
    /// Nothing of it was written; the same batch may succeed later.
    #[error("nothing was written: {0}")]
    NotCommitted(String),
    /// Whether it was written is not known; [`Store::committed`] tells.
    #[error("the outcome of a commit is unknown: {0}")]
    Unknown(String),
    /// Nothing was written, and never will be: another incarnation took the shards over.
    #[error("another incarnation owns these shards")]
    Fenced,
    /// Nothing was written: an aggregate was not at the version that its step assumed.
    #[error("{0} is not at the assumed version")]
    Stale(Aggregate),
    /// Nothing was written: these idempotency keys (places in [`Batch::keys`]) are in use.
    #[error("idempotency keys are in use")]
    KeysTaken(Vec<usize>),
}

/// The right of one incarnation to write one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: Shard,
    /// Counts the owners of the shard; the fence of every commit.
    pub epoch: u64,
    /// The place of the next entry in the shard's log.
    pub next_seq: u64,
}

/// Who is alive and who owns what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// The living, in the order of their ids.
    pub nodes: Vec<IncarnationId>,
    /// Each shard's owner among the living.
    pub owners: BTreeMap<Shard, IncarnationId>,
}

/// What the scan at start tells of one live aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Which.
    pub id: Aggregate,
    /// When its next call is due, or its alarm.
    pub due: Timestamp,
    /// When its present stage began; for a connection, when it is due.
    pub since: Timestamp,
    /// What the call queues for; [`Lane::ALARM`] for a step without a call.
    pub lane: Lane,
    /// Whose it is, who takes turns with others for the lane's slots.
    pub tenant: TenantId,
    /// Whether somebody waits for the call.
    pub awaited: bool,
}

/// One aggregate, read to be stepped or acted for.
#[derive(Debug, Clone)]
pub enum Loaded {
    /// A collection.
    Collection(Box<LoadedCollection>),
    /// An account.
    Account(Account),
    /// A connection.
    Connection(Box<Connection>),
    /// A source.
    Source(Box<source::Source>),
}

/// A collection, read to be stepped or acted for.
#[derive(Debug, Clone)]
pub struct LoadedCollection {
    /// The aggregate.
    pub collection: Collection,
    /// What was fetched, where it is on its way.
    pub payload: Option<Bytes>,
    /// What to tell the store about where it stands; see [`crate::Before`].
    pub live: bool,
}

impl Loaded {
    /// Returns which aggregate it is.
    pub fn id(&self) -> Aggregate {
        match self {
            Self::Collection(loaded) => Aggregate::Collection(loaded.collection.id),
            Self::Account(account) => Aggregate::Account(account.id),
            Self::Connection(connection) => Aggregate::Connection(connection.id),
            Self::Source(source) => Aggregate::Source(source.id()),
        }
    }
}

/// A command that another node accepted for the owner of its shard.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    /// Its place in the inbox.
    pub number: i64,
    /// The command.
    pub request: Request,
}

/// How old what may be, by tenant; see [`Store::sweep`].
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The present moment.
    pub now: Timestamp,
    /// What each tenant keeps.
    pub tenants: BTreeMap<TenantId, crate::Settings>,
    /// How many rows at most are looked at in each table.
    pub rows: usize,
}

impl Sweep {
    /// Returns the shortest time that any tenant keeps something, those with default settings included.
    ///
    /// What is younger than this is nobody's to remove, so a sweep in order of time ends there.
    pub fn shortest(&self, kept: impl Fn(&crate::Settings) -> Duration) -> Duration {
        let default = kept(&crate::Settings::default());
        self.tenants
            .values()
            .map(kept)
            .min()
            .map_or(default, |shortest| shortest.min(default))
    }
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Rows removed, of all tables.
    pub removed: u64,
    /// Whether the sweep reached the end of every table.
    pub done: bool,
}

/// The durable side of the driver: a dozen operations in the shape of its transitions.
///
/// Every operation is whole or not at all. None waits for anything but the database.
pub trait Store: fmt::Debug + Send + Sync {
    /// Registers an incarnation as living.
    fn join(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Says that the incarnation lives, fences those that do not, and tells who is there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Fenced`] when the caller itself was found dead.
    fn renew(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<Membership, StoreError>>;

    /// Takes those of `shards` that nobody owns.
    fn acquire(
        &self,
        incarnation: IncarnationId,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>>;

    /// Gives up shards of its own.
    fn release(
        &self,
        incarnation: IncarnationId,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Ends the incarnation and gives up all that it owns.
    fn leave(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns the shards that this store has.
    fn shards(&self) -> Vec<Shard>;

    /// Returns how often [`Store::renew`] is to be called; `None` where leases do not end by themselves.
    fn renewal(&self) -> Option<Duration>;

    /// Reads up to `limit` live aggregates of `shards` in the order of their ids, after `after`:
    /// unfinished collections, accounts that are being erased, connections that have a next wake-up.
    fn scan(
        &self,
        shards: Vec<Shard>,
        after: Option<Aggregate>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Live>, StoreError>>;

    /// Reads aggregates; those that are gone are missing from the answer.
    fn load(&self, ids: Vec<Aggregate>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>>;

    /// Reads what the next attempt on a connection begins with.
    fn run_inputs(&self, id: ConnectionId) -> BoxFuture<'_, Result<RunInputs, StoreError>>;

    /// Returns connections of an account, at most `limit`.
    fn children(
        &self,
        account: AccountId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ConnectionId>, StoreError>>;

    /// Reads how far a shard is dispatched.
    fn dispatch_state(&self, shard: Shard) -> BoxFuture<'_, Result<DispatchState, StoreError>>;

    /// Reads where one subscription stands in a shard, and its open deliveries there;
    /// no position when it is caught up.
    fn subscription_state(
        &self,
        subscription: SubscriptionId,
        shard: Shard,
    ) -> BoxFuture<'_, Result<SubscriptionState, StoreError>>;

    /// Reads entries of a shard's log after `after`, in order: of one tenant or of all.
    ///
    /// A bounded number of rows is looked at; [`LogSlice::seen`] says up to where.
    fn log(
        &self,
        shard: Shard,
        after: u64,
        tenant: Option<TenantId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<LogSlice, StoreError>>;

    /// Writes a batch, all of it or nothing, and returns when it is durable, with what was
    /// granted of what it wants of budgets.
    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Spent, CommitError>>;

    /// Reads what was spent of budgets; the ledgers are in the order of `names`.
    ///
    /// They go by the database's clock, or by `now` where it has none.
    fn budgets(
        &self,
        now: Timestamp,
        names: Vec<BudgetName>,
    ) -> BoxFuture<'_, Result<Spent, StoreError>>;

    /// Tells whether the incarnation's batch of this number is durable, for good:
    /// after the answer `false` it never will be.
    fn committed(
        &self,
        incarnation: IncarnationId,
        number: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Puts a command into the inbox of the shard's owner; durable when it returns.
    ///
    /// # Errors
    ///
    /// [`CommitError::KeysTaken`] when the command's idempotency key is in use.
    fn post(
        &self,
        shard: Shard,
        request: Request,
        key: Option<KeyRow>,
    ) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Reads the oldest commands in the inboxes of `shards`; they stay until a batch consumes them.
    fn inbox(
        &self,
        shards: Vec<Shard>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>>;

    /// Waits until another node says that the inbox has something; polling remains the backstop.
    fn inbox_filled(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Returns documents whose rows are gone and whose bytes are to go.
    fn garbage(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DocumentId>, StoreError>>;

    /// Forgets documents whose bytes are gone.
    fn forget_garbage(&self, ids: Vec<DocumentId>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes what is older than its tenant wants it kept, a bounded number of rows a call.
    fn sweep(&self, sweep: Sweep) -> BoxFuture<'_, Result<Swept, StoreError>>;
}

/// All that a database does for the product.
pub trait Backend: Store + Queries + Directory + NoticeBackend {}

impl<T: Store + Queries + Directory + NoticeBackend> Backend for T {}
