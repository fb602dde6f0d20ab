//! The sandbox and the receiver over loopback HTTP.

#![expect(
    clippy::unwrap_used,
    reason = "the exemption for tests does not reach their helpers"
)]

mod bank;
mod budget;
mod client;
mod controls;
mod outages;
mod providers;
mod receiver;
