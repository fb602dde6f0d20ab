#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod access;
mod address_book;
mod api;
mod ask;
mod auth;
mod body;
mod connect;
mod docs;
mod health;
mod idempotency;
mod intake;
mod keyring;
mod list;
mod metrics;
mod openapi;
mod path;
mod problem;
mod query;
mod router;
mod serve;
mod subscriptions;
mod tokens;
mod traced;

pub use access::{Access, AccessError, KeyInfo, Rotated, SecretView};
pub use address_book::SealedAddresses;
pub use auth::{Caller, Page};
pub use intake::{Intake, SourceInfo};
pub use keyring::{open_vault, read_keyring, replace_keyring};
pub use metrics::{METRICS, Metric, MetricKind, gather_metrics, keep_metrics};
pub use router::{AppParts, metrics_router, router};
pub use serve::serve;
pub use subscriptions::{Subscriptions, SubscriptionsError};
