//! How a message reaches its target.

use futures_util::future::BoxFuture;
use wellspring_core::{Error, Timestamp};

use crate::DeliverOrder;
use crate::dispatch::{SendOrder, SendResult};

/// What came of sending a message.
#[derive(Debug, Clone, PartialEq)]
pub enum DeliverResult {
    /// The target took it.
    Delivered,
    /// It did not.
    Failed {
        /// Why.
        error: Error,
        /// Whether it said that it never will (410).
        gone: bool,
        /// The target's own word for when to come back.
        retry_at: Option<Timestamp>,
        /// Whether the target as such is at fault, rather than this one message:
        /// it could not be reached, or answered with a 5xx.
        down: bool,
    },
}

/// Sends messages to targets.
pub trait Channel: std::fmt::Debug + Send + Sync {
    /// Sends the order's message, within its deadline.
    fn deliver(&self, order: DeliverOrder) -> BoxFuture<'_, DeliverResult>;

    /// Sends a change, or the document that it is about, to a subscription's endpoint, within its deadline.
    fn send(&self, order: SendOrder) -> BoxFuture<'_, SendResult>;
}
