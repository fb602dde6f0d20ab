//! The collection machine: a one-shot fetch and its callback, two stages with a budget each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Actor, Change, CollectionId, Disposition, ErrorClass, Lane, RetryPolicy, SourceName, TenantId,
    Timestamp,
};

mod transition;

/// One collection, as much of it as a step needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Collection {
    /// Its id, the `requestId` of the API.
    pub id: CollectionId,
    /// Who asked for it.
    pub tenant: TenantId,
    /// Where the data comes from.
    pub source: SourceName,
    /// Where it goes.
    pub callback_url: Arc<str>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Counts the steps; the fence of every effect.
    pub version: u32,
    /// The ordinal of the message to the callback that is next or under way, from 1.
    pub message: u16,
    /// Where it stands.
    pub state: State,
}

/// Where a collection stands.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Data is wanted from the source.
    Collecting {
        /// When this stage began; its give-up time counts from here.
        since: Timestamp,
        /// Failures that count, so far.
        retries: u16,
        /// Waits that are nobody's failure, so far.
        waits: u16,
        /// When the source may be asked; asked at once where this has passed.
        due: Timestamp,
    },
    /// A message is on its way to the callback.
    Delivering {
        /// Which message.
        kind: Kind,
        /// When this stage began, which is also the time the message bears.
        since: Timestamp,
        /// Failures that count, so far.
        retries: u16,
        /// When the callback may be called; called at once where this has passed.
        due: Timestamp,
    },
    /// The data is with the tenant.
    Delivered {
        /// When the data came in.
        collected_at: Timestamp,
        /// When the callback took it.
        at: Timestamp,
    },
    /// Parked with all it knew; a person may resume it.
    Failed {
        /// What failed.
        stage: Stage,
        /// When the data came in, if it did.
        collected_at: Option<Timestamp>,
        /// When it was given up.
        at: Timestamp,
        /// Why.
        error: Error,
    },
}

/// A message to the callback.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The data.
    Success,
    /// That there will be none, and why.
    Failure(Error),
}

/// A stage of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Asking the source.
    Collect,
    /// Telling the callback.
    Deliver,
}

impl Stage {
    /// Returns the name used in API, tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Deliver => "deliver",
        }
    }
}

/// What the API shows of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CollectionStatus {
    /// Accepted; the source has not failed yet.
    Requested,
    /// The source failed at least once and is tried again.
    Retrying,
    /// The data is here and on its way to the callback.
    Collected,
    /// The callback took the data.
    Delivered,
    /// Given up.
    Failed,
}

impl CollectionStatus {
    /// Every status, in the order in which a collection may have them.
    pub const ALL: [Self; 5] = [
        Self::Requested,
        Self::Retrying,
        Self::Collected,
        Self::Delivered,
        Self::Failed,
    ];

    /// Returns the name used in API, paths, tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Retrying => "retrying",
            Self::Collected => "collected",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for CollectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an attempt failed, fit for storing and for showing to the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// The class; for the callback it says what kind of failure it was, for the source also what follows.
    pub class: ErrorClass,
    /// A stable code, such as `http_500` or `timeout`.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// One try to reach the source or the callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried.
    pub stage: Stage,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As wanted.
    Succeeded,
    /// Not as wanted.
    Failed(Error),
}

/// What happened to a collection.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The source answered with data.
    Fetched {
        /// When it was asked.
        started: Timestamp,
    },
    /// The source did not answer with data.
    FetchFailed {
        /// When it was asked.
        started: Timestamp,
        /// Why.
        error: Error,
        /// The source's own word for when to come back.
        retry_at: Option<Timestamp>,
        /// Whether the call was a breaker's probe, which no collection is charged for.
        probe: bool,
    },
    /// The callback took the message.
    DeliverySucceeded {
        /// When it was called.
        started: Timestamp,
    },
    /// The callback did not take the message.
    DeliveryFailed {
        /// When it was called.
        started: Timestamp,
        /// Why.
        error: Error,
        /// Whether the receiver said that it will never take it (410).
        gone: bool,
        /// The receiver's own word for when to come back.
        retry_at: Option<Timestamp>,
        /// Whether the call was a breaker's probe.
        probe: bool,
    },
    /// The stage's give-up time passed while it waited.
    GaveUp,
    /// A person wants it tried again.
    ResumeRequested(Actor),
    /// Everything of it is to go.
    EraseRequested(Actor),
}

impl Input {
    const fn name(&self) -> &'static str {
        match self {
            Self::Fetched { .. } => "Fetched",
            Self::FetchFailed { .. } => "FetchFailed",
            Self::DeliverySucceeded { .. } => "DeliverySucceeded",
            Self::DeliveryFailed { .. } => "DeliveryFailed",
            Self::GaveUp => "GaveUp",
            Self::ResumeRequested(_) => "ResumeRequested",
            Self::EraseRequested(_) => "EraseRequested",
        }
    }
}

/// How long and how often each stage is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CollectionPolicy {
    /// For the source.
    pub collect: RetryPolicy,
    /// For the callback.
    pub deliver: RetryPolicy,
    /// After how long a stage is given up, waiting behind an open breaker included.
    pub give_up_after: Duration,
}

impl Default for CollectionPolicy {
    fn default() -> Self {
        let policy = RetryPolicy {
            base: Duration::from_secs(10),
            factor: 1.5,
            cap: Duration::from_secs(15 * 60),
            max_retries: 10,
            jitter: true,
        };
        Self {
            collect: policy,
            deliver: policy,
            give_up_after: Duration::from_secs(72 * 3_600),
        }
    }
}

/// What to do with the fetched payload that is kept beside a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadChange {
    /// Leave it as it is.
    Keep,
    /// Store the one that came with the input.
    Put,
}

/// What a transition wants written, all of it in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionStep {
    /// The collection as it is then; `None` when it is erased.
    pub next: Option<Collection>,
    /// The entry for the log.
    pub change: Option<Change>,
    /// The attempt that ended.
    pub attempt: Option<Attempt>,
    /// What becomes of the payload.
    pub payload: PayloadChange,
}

/// An input that the state does not take; nothing changed.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("a collection that is {from} takes no {input}")]
pub struct Rejected {
    /// What the collection is.
    pub from: CollectionStatus,
    /// What it was given.
    pub input: &'static str,
}

impl Collection {
    /// Returns what the API shows.
    pub const fn status(&self) -> CollectionStatus {
        match &self.state {
            State::Collecting {
                retries: 0,
                waits: 0,
                ..
            } => CollectionStatus::Requested,
            State::Collecting { .. } => CollectionStatus::Retrying,
            State::Delivering {
                kind: Kind::Success,
                ..
            } => CollectionStatus::Collected,
            State::Delivering {
                kind: Kind::Failure(_),
                ..
            }
            | State::Failed { .. } => CollectionStatus::Failed,
            State::Delivered { .. } => CollectionStatus::Delivered,
        }
    }

    /// Returns when the next call is to be made, and for which lane; `None` when there is none to make.
    pub fn next_wakeup(&self) -> Option<(Timestamp, Lane)> {
        match &self.state {
            State::Collecting { due, .. } => Some((*due, Lane::source(&self.source))),
            State::Delivering { due, .. } => Some((*due, Lane::receiver(&self.callback_url))),
            State::Delivered { .. } | State::Failed { .. } => None,
        }
    }

    /// Returns when the present stage began.
    pub const fn stage_began(&self) -> Option<Timestamp> {
        match &self.state {
            State::Collecting { since, .. } | State::Delivering { since, .. } => Some(*since),
            State::Delivered { .. } | State::Failed { .. } => None,
        }
    }

    /// Returns when the present stage is given up even if it was never tried.
    pub fn gives_up_at(&self, policy: &CollectionPolicy) -> Option<Timestamp> {
        match &self.state {
            State::Collecting { since, .. } | State::Delivering { since, .. } => {
                Some(since.after(policy.give_up_after))
            }
            State::Delivered { .. } | State::Failed { .. } => None,
        }
    }
}

/// Returns what follows from a failure at the source.
pub(crate) const fn disposition(error: &Error) -> Disposition {
    error.class.disposition()
}
