//! Tokens, subscriptions, streams and the connect page.

mod connect;
mod lab;
mod stream;
mod subscriptions;
mod tokens;
