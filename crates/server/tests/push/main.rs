//! Tokens, subscriptions, streams and the connect page against a server without a network.

mod connect;
mod lab;
mod stream;
mod subscriptions;
mod tokens;
