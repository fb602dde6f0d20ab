//! The driver as a machine: events in, actions out; no store, no task, no clock.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod bench;
mod budget;
mod dependencies;
mod dispatch;
mod driver;
mod fair;
mod source;
