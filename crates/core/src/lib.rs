#![doc = include_str!("../README.md")]
#![deny(
    missing_docs,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod account;
pub mod alert;
mod breaker;
pub mod budget;
mod change;
mod collection;
pub mod connection;
pub mod document;
mod duration;
mod error_class;
mod facts;
pub mod health;
mod id;
pub mod interaction;
pub mod notification;
mod pattern;
pub mod reliability;
mod retry;
mod rule;
pub mod schedule;
mod sealed;
pub mod source;
mod time;
mod trace;

pub use account::Account;
pub use alert::{Alert, AlertKind, AlertState, AlertWish, AlertWrite, OpenAlert};
pub use breaker::{Breaker, CallResult, Phase};
pub use change::{Actor, Body, Cause, Change, Event, Stored, Subject, Verb};
pub use collection::{
    Attempt, Collection, CollectionPolicy, CollectionStatus, CollectionStep, Error, Input, Kind,
    Outcome, PayloadChange, Rejected, Stage, State,
};
pub use connection::{
    Access, Ask, Connection, ConnectionState, LastOutcome, OnQuestionExpired, OutcomeKind, Reason,
};
pub use document::Document;
pub use duration::{format_duration, parse_duration, serde_duration};
pub use error_class::{Disposition, ErrorClass};
pub use facts::{AccessFacts, DocumentFacts, Facts, InteractionFacts, StateFacts};
pub use health::Health;
pub use id::{
    AccountId, ActivityId, AlertId, AnyId, ApiKeyId, CollectionId, ConnectionId, DocumentId,
    FetchId, IdError, IncarnationId, IncidentId, InteractionId, Lane, NotificationId, Shard,
    SourceId, SourceName, SubscriptionId, TenantId, UnclassifiedId,
};
pub use pattern::{Pattern, PatternError, PatternIndex};
pub use retry::RetryPolicy;
pub use rule::{
    Action, Classified, ErrorModel, Failure, Matcher, Rule, RuleError, RuleTable, StatusRange,
    Unclassified, Until,
};
pub use sealed::Sealed;
pub use source::{Incident, IncidentKind, IncidentState, SourceState};
pub use time::{Timestamp, retry_after};
pub use trace::TraceParent;
