//! Changes on their way to subscriptions: what is sent, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wellspring_core::{
    AnyId, DocumentId, Error, IncarnationId, Shard, Subject, SubscriptionId, TenantId, Timestamp,
    Verb,
};

use crate::{ChangeView, DisabledReason, Entry, Store, StoreError, Subscription};

/// One change as it is sent: the same bytes to every subscription that wants it.
#[derive(Debug, Clone)]
pub struct Message {
    /// The id that never changes over retries and replays, which is that of the change.
    pub id: String,
    /// When the change was written.
    pub at: Timestamp,
    /// Whose change it is.
    pub tenant: TenantId,
    /// The shard of the change.
    pub shard: Shard,
    /// The place of the change in its shard.
    pub seq: u64,
    /// What its deliveries are kept in order by: the connection, collection or account.
    pub line: AnyId,
    /// The document that it is about, for receivers of documents.
    pub document: Option<DocumentId>,
    /// The JSON of the webhook.
    pub body: Bytes,
}

/// Send a message to a subscription's endpoint.
#[derive(Debug, Clone)]
pub struct SendOrder {
    /// Which subscription.
    pub subscription: Arc<Subscription>,
    /// What.
    pub message: Arc<Message>,
}

/// What came of sending a message.
#[derive(Debug, Clone, PartialEq)]
pub struct SendResult {
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// The beginning of the answer's body.
    pub snippet: String,
    /// How long it took.
    pub duration: Duration,
    /// Why it was not taken; nothing where it was.
    pub failure: Option<SendFailure>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq)]
pub struct SendFailure {
    /// What happened, in words and as a class.
    pub error: Error,
    /// Whether the endpoint said that it never will take any (410).
    pub gone: bool,
    /// The endpoint's own word for when to come back.
    pub retry_at: Option<Timestamp>,
    /// Whether the endpoint could not even be reached.
    pub unreachable: bool,
}

/// One attempt to deliver a message, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryAttempt {
    /// To which subscription.
    pub subscription: SubscriptionId,
    /// The shard of the change.
    pub shard: Shard,
    /// The place of the change.
    pub seq: u64,
    /// Which attempt, from 1; it goes on counting over replays.
    pub number: u16,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// The beginning of the answer's body.
    pub snippet: String,
    /// Why it failed, if it did.
    pub error: Option<Error>,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryStatus {
    /// It waits behind another of its line.
    Waiting,
    /// It failed and is tried again.
    Retrying,
    /// The endpoint took it.
    Delivered,
    /// It was given up; it can be replayed.
    Exhausted,
}

/// A delivery of one message to one subscription, as it is kept.
///
/// One that is taken at the first try is written once, with its attempt. One that is not is a
/// row that is read again after a crash.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRow {
    /// To which subscription.
    pub subscription: SubscriptionId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The shard of the change.
    pub shard: Shard,
    /// The place of the change.
    pub seq: u64,
    /// What it is kept in order by.
    pub line: AnyId,
    /// The stable id of the message.
    pub message_id: String,
    /// How it stands.
    pub status: DeliveryStatus,
    /// Attempts so far.
    pub attempts: u16,
    /// Failed attempts of the present run of its plan.
    pub failures: u16,
    /// When the change was written.
    pub created_at: Timestamp,
    /// When it is tried again.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was delivered or given up. An open one that has this is replayed: nothing waits
    /// behind it.
    pub ended_at: Option<Timestamp>,
}

/// Where a subscription that is not caught up with a shard goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which subscription.
    pub subscription: SubscriptionId,
    /// Which shard.
    pub shard: Shard,
    /// The last entry that it is done with or has a delivery row for.
    pub seen: u64,
    /// Since when its endpoint fails, if it does.
    pub failing_since: Option<Timestamp>,
}

/// What the dispatcher wants written, together with a batch of steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DispatchWrites {
    /// Up to where each shard is dispatched to all subscriptions that have no position of their own.
    pub cursors: Vec<(Shard, u64)>,
    /// Positions to keep, in place of what was.
    pub positions: Vec<Position>,
    /// Positions that are no more: the subscription is caught up, or gone.
    pub caught_up: Vec<(SubscriptionId, Shard)>,
    /// Deliveries to keep, in place of what was.
    pub deliveries: Vec<DeliveryRow>,
    /// Attempts to add.
    pub attempts: Vec<DeliveryAttempt>,
    /// Subscriptions to which nothing is sent any more.
    pub disabled: Vec<(SubscriptionId, DisabledReason, Timestamp)>,
}

/// What the store knows of a shard's dispatching, read when the shard is taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DispatchState {
    /// Up to where it is dispatched.
    pub cursor: u64,
    /// Subscriptions that are not caught up.
    pub positions: Vec<Position>,
    /// Deliveries that are neither delivered nor exhausted, in the order of their places.
    pub open: Vec<DeliveryRow>,
}

/// Where one subscription stands in one shard.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SubscriptionState {
    /// Where it goes on; none when it is caught up.
    pub position: Option<Position>,
    /// Its open deliveries, in the order of their places.
    pub open: Vec<DeliveryRow>,
}

/// A stretch of one shard's log, for the dispatcher.
#[derive(Debug, Clone)]
pub struct LogSlice {
    /// The entries, in order: all of them, or those of one tenant.
    pub entries: Vec<LogEntry>,
    /// The last place that was looked at.
    pub seen: u64,
    /// Whether there was more when this was read.
    pub has_more: bool,
    /// Whether retention has removed entries after the place that was asked for.
    pub gap: bool,
}

/// An entry of the log as the dispatcher reads it.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Whose it is.
    pub tenant: TenantId,
    /// What its deliveries are kept in order by.
    pub line: AnyId,
    /// The document that it is about.
    pub document: Option<DocumentId>,
    /// Such as `connection.state.updated`.
    pub message_type: &'static str,
    /// The entry as its readers see it.
    pub view: ChangeView,
}

/// Names one sending; a result for another life of the driver is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendId {
    /// The driver's life that ordered it.
    pub incarnation: IncarnationId,
    /// Counts the sendings of that life.
    pub number: u64,
}

/// Something that the dispatcher has to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DispatchQuery {
    /// How far a shard is dispatched; see [`Store::dispatch_state`].
    Shard(Shard),
    /// Where one subscription stands in a shard; see [`Store::subscription_state`].
    Subscription(SubscriptionId, Shard),
    /// A stretch of a shard's log; see [`Store::log`].
    Log {
        /// The shard.
        shard: Shard,
        /// The place after which it begins.
        after: u64,
        /// Whose entries; none for everybody's.
        tenant: Option<TenantId>,
        /// How many at most.
        limit: usize,
    },
    /// The place of the last entry that was written before `at`, or 0.
    Seek {
        /// The shard.
        shard: Shard,
        /// The moment.
        at: Timestamp,
        /// The last place that there is.
        end: u64,
    },
}

/// What was read.
#[derive(Debug, Clone)]
pub enum DispatchAnswer {
    /// For [`DispatchQuery::Shard`].
    Shard(DispatchState),
    /// For [`DispatchQuery::Subscription`].
    Subscription(SubscriptionState),
    /// For [`DispatchQuery::Log`].
    Log(LogSlice),
    /// For [`DispatchQuery::Seek`].
    Place(u64),
}

/// What somebody wants of a subscription in one shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SubscriptionWish {
    /// These messages sent again, whatever became of them.
    Replay(Vec<Redelivery>),
    /// Everything from this moment on sent again.
    ReplaySince(Timestamp),
    /// A test message sent at once; it is in no log, and the answer tells what came of it.
    Test,
}

/// A delivery that is to be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redelivery {
    /// The place of the change.
    pub seq: u64,
    /// What it is kept in order by.
    pub line: AnyId,
    /// The stable id of the message.
    pub message_id: String,
    /// Attempts so far.
    pub attempts: u16,
    /// When the change was written.
    pub created_at: Timestamp,
}

impl From<&DeliveryRow> for Redelivery {
    fn from(row: &DeliveryRow) -> Self {
        Self {
            seq: row.seq,
            line: row.line,
            message_id: row.message_id.clone(),
            attempts: row.attempts,
            created_at: row.created_at,
        }
    }
}

impl DispatchQuery {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn read<S: Store + ?Sized>(self, store: &S) -> Result<DispatchAnswer, StoreError> {
        match self {
            Self::Shard(shard) => store.dispatch_state(shard).await.map(DispatchAnswer::Shard),
            Self::Subscription(id, shard) => store
                .subscription_state(id, shard)
                .await
                .map(DispatchAnswer::Subscription),
            Self::Log {
                shard,
                after,
                tenant,
                limit,
            } => store
                .log(shard, after, tenant, limit)
                .await
                .map(DispatchAnswer::Log),
            Self::Seek { shard, at, end } => {
                seek(store, shard, at, end).await.map(DispatchAnswer::Place)
            }
        }
    }
}

/// Halves the log until the place is found: a few dozen reads of one entry.
async fn seek<S: Store + ?Sized>(
    store: &S,
    shard: Shard,
    at: Timestamp,
    end: u64,
) -> Result<u64, StoreError> {
    let (mut before, mut from) = (0, end.saturating_add(1));
    while from - before > 1 {
        let middle = before + (from - before) / 2;
        let slice = store.log(shard, middle - 1, None, 1).await?;
        match slice.entries.first() {
            // What stood in between has been removed, and was older.
            Some(entry) if entry.view.at < at => before = entry.view.seq.max(middle).min(from - 1),
            Some(_) | None => from = middle,
        }
    }
    Ok(before)
}

impl LogEntry {
    /// Returns an entry that has just become durable as the dispatcher reads it.
    pub fn of(entry: &Entry) -> Self {
        Self {
            tenant: entry.tenant,
            line: entry.change.subject.line(),
            document: document_of(entry),
            message_type: entry.change.subject.message_type(entry.change.verb),
            view: ChangeView::of(entry),
        }
    }
}

/// Returns the document that came to be with an entry.
pub(crate) fn document_of(entry: &Entry) -> Option<DocumentId> {
    match (&entry.change.subject, entry.change.verb) {
        (Subject::Document(_, _, id), Verb::Created) => Some(*id),
        (
            Subject::Document(..)
            | Subject::Collection(_)
            | Subject::CollectionStatus(..)
            | Subject::Account(_)
            | Subject::Connection(..)
            | Subject::ConnectionState(..)
            | Subject::ConnectionAccess(..)
            | Subject::Interaction(..)
            | Subject::Alert(_)
            | Subject::AlertState(..)
            | Subject::Source(_)
            | Subject::SourceState(..)
            | Subject::Incident(..)
            | Subject::IncidentState(..),
            Verb::Created | Verb::Updated | Verb::Deleted,
        ) => None,
    }
}

impl Message {
    /// Builds what is sent of an entry.
    pub fn of(entry: &LogEntry) -> Self {
        let view = &entry.view;
        let envelope = Envelope {
            kind: entry.message_type,
            timestamp: view.at,
            data: view,
        };
        Self {
            id: view.id(),
            at: view.at,
            tenant: entry.tenant,
            shard: view.shard,
            seq: view.seq,
            line: entry.line,
            document: entry.document,
            body: envelope.to_bytes(),
        }
    }
}

/// What every webhook about changes looks like.
#[derive(Debug, Serialize)]
pub(crate) struct Envelope<D> {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) timestamp: Timestamp,
    pub(crate) data: D,
}

impl<D: Serialize> Envelope<D> {
    /// Returns its JSON; what is sent are plain values, which always have one.
    pub(crate) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

impl DispatchWrites {
    /// Returns whether there is nothing to write.
    pub const fn is_empty(&self) -> bool {
        self.cursors.is_empty()
            && self.positions.is_empty()
            && self.caught_up.is_empty()
            && self.deliveries.is_empty()
            && self.attempts.is_empty()
            && self.disabled.is_empty()
    }

    /// Returns how many rows it writes.
    pub const fn len(&self) -> usize {
        self.cursors.len()
            + self.positions.len()
            + self.caught_up.len()
            + self.deliveries.len()
            + self.attempts.len()
            + self.disabled.len()
    }
}

impl wellspring_core::Stored for DeliveryStatus {
    const MEMBERS: &'static [Self] = &[
        Self::Waiting,
        Self::Retrying,
        Self::Delivered,
        Self::Exhausted,
    ];
}

impl DeliveryStatus {
    /// Returns the name used in API and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Retrying => "retrying",
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
        }
    }
}
