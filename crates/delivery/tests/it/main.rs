//! Callbacks, webhooks and documents against a receiver over loopback HTTP.

#![expect(
    clippy::unwrap_used,
    reason = "the exemption for tests does not reach their helpers"
)]

mod answers;
mod documents;
mod orders;
mod signatures;
mod subscriptions;
mod support;
mod webhooks;
