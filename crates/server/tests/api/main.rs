//! The API through its router, on a real engine and the memory store.
#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain fails")]

mod access;
mod changes;
mod collect;
mod idempotency;
mod lab;
mod operation;
mod properties;
mod serving;
mod settings;
mod switched;
mod tenants;
mod unavailable;
