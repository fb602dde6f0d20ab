//! Callbacks, webhooks and documents against a receiver over loopback HTTP; messages to people.

#![expect(
    clippy::unwrap_used,
    reason = "the exemption for tests does not reach their helpers"
)]

mod answers;
mod documents;
mod notices;
mod orders;
mod signatures;
mod subscriptions;
mod support;
mod webhooks;
