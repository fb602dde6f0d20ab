//! Tokens, subscriptions, streams and the connect page against a server without a network.
#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain fails")]

mod connect;
mod lab;
mod stream;
mod subscriptions;
mod tokens;
