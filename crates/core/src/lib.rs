#![doc = include_str!("../README.md")]
#![deny(
    missing_docs,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod breaker;
mod change;
mod collection;
mod duration;
mod error_class;
mod id;
pub mod interaction;
mod pattern;
mod retry;
mod rule;
pub mod schedule;
mod time;

pub use breaker::{Breaker, CallResult, Phase};
pub use change::{Actor, Body, Cause, Change, Event, Stored, Subject, Verb};
pub use collection::{
    Attempt, Collection, CollectionPolicy, CollectionStatus, CollectionStep, Error, Input, Kind,
    Outcome, PayloadChange, Rejected, Stage, State,
};
pub use duration::{format_duration, parse_duration, serde_duration};
pub use error_class::{Disposition, ErrorClass};
pub use id::{
    AccountId, ActivityId, AnyId, ApiKeyId, CollectionId, ConnectionId, DocumentId, FetchId,
    IdError, IncarnationId, InteractionId, Lane, Shard, SourceName, SubscriptionId, TenantId,
};
pub use pattern::{Pattern, PatternError, PatternIndex};
pub use retry::RetryPolicy;
pub use rule::{Action, Classified, Failure, Matcher, Rule, RuleError, RuleTable, StatusRange};
pub use time::{Timestamp, retry_after};
