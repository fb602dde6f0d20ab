//! The dispatcher inside its driver: changes in, messages out, over a model of a store.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod bench;
mod endpoints;
mod live;
mod model;
mod random;
mod wishes;
