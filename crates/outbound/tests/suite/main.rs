//! Tests of the guarded client against real servers on the loopback interface.

#![expect(clippy::unwrap_used, reason = "a helper of tests may panic")]

mod answers;
mod connections;
mod policy;
mod resolve;
mod server;
mod target;
mod tls;
