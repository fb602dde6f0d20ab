//! One fetch: its attempts and what they brought.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::OutcomeKind;
use crate::{ConnectionId, Error, ErrorClass, FetchId, Stored, Timestamp};

/// A fetch that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Its id.
    pub id: FetchId,
    /// What began it.
    pub trigger: Trigger,
    /// When it began.
    #[serde(with = "crate::time::short")]
    pub started_at: Timestamp,
    /// Whether a person waits for it.
    pub present: bool,
    /// Whether an attempt was under way at the last step; one that is not in memory then was lost.
    pub running: bool,
    /// Attempts that ended.
    pub attempts: u16,
    /// Failed attempts by class; each class has a plan of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<(ErrorClass, u16)>,
    /// Documents that came in.
    pub documents: u32,
    /// Records that came in.
    pub records: u32,
}

/// What began a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The connection was made.
    Created,
    /// Its schedule.
    Schedule,
    /// The slow plan, after a failed fetch.
    Retry,
    /// The end of a wait for the source.
    Wait,
    /// A person, or the tenant for one.
    User,
}

impl Trigger {
    /// Every trigger.
    pub const ALL: [Self; 5] = [
        Self::Created,
        Self::Schedule,
        Self::Retry,
        Self::Wait,
        Self::User,
    ];

    /// Returns the name used in API and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Schedule => "schedule",
            Self::Retry => "retry",
            Self::Wait => "wait",
            Self::User => "user",
        }
    }

    /// Returns whether somebody is there to answer.
    pub const fn is_present(self) -> bool {
        match self {
            Self::Created | Self::User => true,
            Self::Schedule | Self::Retry | Self::Wait => false,
        }
    }
}

impl Stored for Trigger {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

/// What the fetch log says of how a fetch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchStatus {
    /// It goes on.
    Running,
    /// An attempt failed and another follows.
    Retrying,
    /// All of it is here.
    Success,
    /// Some streams failed.
    Partial,
    /// It failed.
    Failed,
    /// The source throttled it.
    RateLimited,
    /// The source is in maintenance.
    Maintenance,
    /// It ended for want of an answer, or because somebody ended it.
    Cancelled,
}

impl FetchStatus {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Running,
        Self::Retrying,
        Self::Success,
        Self::Partial,
        Self::Failed,
        Self::RateLimited,
        Self::Maintenance,
        Self::Cancelled,
    ];

    /// Returns whether it speaks for or against the source: what was throttled, kept out by
    /// maintenance or ended by somebody does neither, nor does what goes on.
    pub const fn counts(self) -> bool {
        match self {
            Self::Success | Self::Partial | Self::Failed => true,
            Self::Running
            | Self::Retrying
            | Self::RateLimited
            | Self::Maintenance
            | Self::Cancelled => false,
        }
    }

    /// Returns the name used in API and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::RateLimited => "rate_limited",
            Self::Maintenance => "maintenance",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Stored for FetchStatus {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

/// A fetch as the fetch log keeps it; written over as it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRecord {
    /// Its id.
    pub id: FetchId,
    /// On which connection.
    pub connection: ConnectionId,
    /// What began it.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it stands.
    pub status: FetchStatus,
    /// How it ended.
    pub outcome: Option<OutcomeKind>,
    /// What went wrong.
    pub error: Option<Error>,
    /// Attempts that ended.
    pub attempts: u16,
    /// Documents that came in.
    pub documents: u32,
    /// Records that came in.
    pub records: u32,
    /// When the connection is tried again.
    pub next_attempt_at: Option<Timestamp>,
}

/// One attempt of a fetch, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Of which fetch.
    pub fetch: FetchId,
    /// Which one, from 1.
    pub number: u16,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What went wrong; nothing where it succeeded or led to a question.
    pub error: Option<Error>,
    /// Documents of the fetch that were in when it ended.
    pub documents: u32,
    /// Records of the fetch that were in when it ended.
    pub records: u32,
    /// When the connection is tried again after it.
    pub next_at: Option<Timestamp>,
}
