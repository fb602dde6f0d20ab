//! Changes on their way to subscriptions: what is sent, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wellspring_core::{AnyId, DocumentId, Error, Shard, SubscriptionId, TenantId, Timestamp};

use crate::{ChangeView, DisabledReason, Subscription};

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
    /// When it was delivered or given up.
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
