//! Connectors against pretend sources over loopback HTTP.

#![expect(
    clippy::unwrap_used,
    reason = "the exemption for tests does not reach their helpers"
)]

mod bank;
mod fetch;
mod home;
mod support;
