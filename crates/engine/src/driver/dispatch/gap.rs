//! What is said where retention has removed changes before they could be sent.

use std::sync::Arc;

use serde::Serialize;
use wellspring_core::{Shard, SubscriptionId, Timestamp};

use crate::Subscription;
use crate::dispatch::{Envelope, Message};

/// The facts of a gap.
#[derive(Debug, Serialize)]
struct Gap {
    subscription: SubscriptionId,
    /// The part of the log; order holds within one.
    shard: u8,
    /// The first place that is missing.
    from_seq: u64,
    /// The first change that is still there, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    resumes_at: Option<Timestamp>,
}

/// Builds the message that changes from `seq` on are missing. It has the place of the first of
/// them, and so the same id whenever it is built.
pub(super) fn message(
    subscription: &Subscription,
    shard: Shard,
    seq: u64,
    resumes_at: Option<Timestamp>,
    now: Timestamp,
) -> Arc<Message> {
    let id = subscription.id;
    let at = resumes_at.unwrap_or(now);
    let envelope = Envelope {
        kind: "subscription.gap",
        timestamp: at,
        data: Gap {
            subscription: id,
            shard: shard.0,
            from_seq: seq,
            resumes_at,
        },
    };
    Arc::new(Message {
        id: format!("{PREFIX}{}{:02x}{seq:016x}", id.uuid().simple(), shard.0),
        at,
        tenant: subscription.tenant,
        shard,
        seq,
        line: *id.as_bytes(),
        document: None,
        body: envelope.to_bytes(),
    })
}

/// Returns whether a message of this id announces a gap.
pub(super) fn is_gap(message_id: &str) -> bool {
    message_id.starts_with(PREFIX)
}

const PREFIX: &str = "gap_";
