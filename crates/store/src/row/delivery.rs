//! Deliveries to subscriptions.

use wellspring_core::{Shard, Stored, SubscriptionId, Timestamp};
use wellspring_engine::{DeliveryAttempt, DeliveryStatus, StoreError};

use super::{duration, error_of, inconsistent};

/// Rebuilds from its number how a delivery stands.
pub(crate) fn delivery_status(
    subscription: SubscriptionId,
    code: u8,
) -> Result<DeliveryStatus, StoreError> {
    DeliveryStatus::from_code(code)
        .ok_or_else(|| inconsistent("deliveries", "status", &subscription))
}

/// Rebuilds an attempt from its columns.
pub(crate) fn delivery_attempt(
    (subscription, shard, seq): (SubscriptionId, Shard, u64),
    number: u16,
    (at, duration_ms): (i64, i64),
    (status, snippet): (Option<u16>, String),
    error: Option<&str>,
) -> Result<DeliveryAttempt, StoreError> {
    Ok(DeliveryAttempt {
        subscription,
        shard,
        seq,
        number,
        at: Timestamp::from_millis(at),
        duration: duration(duration_ms),
        status,
        snippet,
        error: error_of(error, "delivery_attempts", &subscription)?,
    })
}
