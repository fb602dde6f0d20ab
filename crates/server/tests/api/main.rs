//! The API through its router, on a real engine and the memory store.
#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain fails")]

mod access;
mod accounts;
mod alerts;
mod changes;
mod collect;
mod connections;
mod documents;
mod events;
mod guards;
mod idempotency;
mod interactions;
mod lab;
mod metrics;
mod notifications;
mod operation;
mod people;
mod properties;
mod push;
mod reliability;
mod script;
mod serving;
mod settings;
mod sources;
mod spenders;
mod switched;
mod tenants;
mod unavailable;
mod unclassified;
