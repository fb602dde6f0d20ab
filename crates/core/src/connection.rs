//! The connection machine: one account's link to one source, its fetches and its questions.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::interaction::{CredentialField, Question};
use crate::schedule::{Schedule, SlowPlan};
use crate::{
    AccountId, ActivityId, ConnectionId, Disposition, ErrorClass, FetchId, InteractionId, Lane,
    OpenAlert, RetryPolicy, SourceName, Stored, TenantId, Timestamp, TraceParent,
};

mod alerts;
mod draft;
mod fetch;
mod input;
mod step;
mod transition;

pub use fetch::{Attempt, Fetch, FetchRecord, FetchStatus, Trigger};
pub use input::{Action, CredentialsFrom, Input, Patch};
pub use step::{InteractionWrite, SecretWrite, Slot, Step};
pub use transition::New;

/// One connection, as much of it as a step needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is.
    pub account: AccountId,
    /// Whose account it is.
    pub tenant: TenantId,
    /// What it leads to.
    pub source: SourceName,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts the steps.
    pub version: u32,
    /// What its owner has set.
    pub config: Config,
    /// Where the fetch is.
    pub state: State,
    /// Whether the credentials work.
    pub access: Access,
    /// How the last fetch ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<LastOutcome>,
    /// Failed fetches in a row, at most as many as the slow plan has gaps.
    pub retries: u8,
    /// Waits in a row that were nobody's failure.
    #[serde(default)]
    pub waits: u16,
    /// When a fetch last succeeded, documents or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    /// What is put back when a repair is abandoned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<Box<BeforeRepair>>,
    /// The alerts about it that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<OpenAlert>,
    /// The span of whoever last asked for a fetch, to which the fetch's trace is linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_in: Option<TraceParent>,
}

/// What the owner of a connection has set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// What the person calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it is fetched.
    pub schedule: Schedule,
    /// The gaps after failed fetches, where they are not those of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_plan: Option<SlowPlan>,
    /// What follows when nobody answers.
    #[serde(default)]
    pub on_question_expired: OnQuestionExpired,
    /// From which day on data is wanted, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<String>,
    /// Whether scheduled fetches rest; a person can still ask for one.
    #[serde(default)]
    pub paused: bool,
}

/// What follows when a question is not answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnQuestionExpired {
    /// The fetch is tried again by the slow plan.
    #[default]
    Retry,
    /// The connection waits for its schedule, and a manual upload is wanted.
    FallBack,
}

/// Where the fetch of a connection is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum State {
    /// It was never fetched.
    Created {
        /// When it is first fetched.
        due: Timestamp,
    },
    /// It rests.
    Waiting {
        /// What ends the rest; nothing where only a person can.
        next: Option<Next>,
    },
    /// The last fetch failed and is tried again.
    Retrying {
        /// When.
        due: Timestamp,
    },
    /// A person asked for a fetch.
    Manual {
        /// When.
        since: Timestamp,
    },
    /// The source is being asked.
    Connecting {
        /// The fetch.
        fetch: Fetch,
        /// When its attempt is or was due.
        due: Timestamp,
    },
    /// Items come in.
    Uploading {
        /// The fetch.
        fetch: Fetch,
        /// When its attempt is or was due.
        due: Timestamp,
    },
    /// The source has asked something.
    Question {
        /// The fetch that waits.
        fetch: Fetch,
        /// What it waits for.
        interaction: InteractionId,
        /// Whether the answer becomes the connection's credentials.
        credentials: bool,
        /// When the question can no longer be answered.
        expires_at: Option<Timestamp>,
    },
    /// The answer is here.
    Answered {
        /// The fetch that goes on.
        fetch: Fetch,
        /// When it came.
        since: Timestamp,
    },
    /// All plans failed; only a person begins another fetch.
    Error,
    /// Nothing is fetched until it is enabled.
    Disabled,
}

/// When a resting connection is fetched next, and why then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// When.
    pub at: Timestamp,
    /// Why then.
    pub reason: Reason,
}

/// Why a fetch comes when it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// By its schedule.
    Schedule,
    /// After a failed fetch, by the slow plan.
    Retry,
    /// When the source allows it again.
    RateLimit,
    /// When the source is expected back.
    Maintenance,
    /// Because a person asked for it.
    User,
}

impl Reason {
    /// Returns the name used in API and log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Retry => "retry",
            Self::RateLimit => "rate_limit",
            Self::Maintenance => "maintenance",
            Self::User => "user",
        }
    }
}

/// What the API, paths and the log call the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// It was never fetched.
    Created,
    /// It rests.
    Waiting,
    /// The source is being asked.
    Connecting,
    /// The source has asked something.
    Question,
    /// The answer is here.
    Answered,
    /// Items come in.
    Uploading,
    /// The last item is in; passed through at the end of each good fetch.
    Completed,
    /// The last fetch failed and is tried again.
    Retrying,
    /// A person asked for a fetch.
    Manual,
    /// All plans failed.
    Error,
    /// Nothing is fetched.
    Disabled,
}

impl ConnectionState {
    /// Every state, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Created,
        Self::Waiting,
        Self::Connecting,
        Self::Question,
        Self::Answered,
        Self::Uploading,
        Self::Completed,
        Self::Retrying,
        Self::Manual,
        Self::Error,
        Self::Disabled,
    ];

    /// Returns the name used in API, paths, tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Waiting => "waiting",
            Self::Connecting => "connecting",
            Self::Question => "question",
            Self::Answered => "answered",
            Self::Uploading => "uploading",
            Self::Completed => "completed",
            Self::Retrying => "retrying",
            Self::Manual => "manual",
            Self::Error => "error",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Stored for ConnectionState {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

/// Whether the credentials of a connection work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Nobody has tried them.
    Unverified,
    /// They are being tried.
    Pending,
    /// They work.
    Valid,
    /// They work, but not for long.
    Expiring,
    /// They do not work: the person has to give others or to agree again.
    ReauthRequired,
    /// The consent was withdrawn, and the credentials are gone.
    Revoked,
}

impl Access {
    /// Every value, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Unverified,
        Self::Pending,
        Self::Valid,
        Self::Expiring,
        Self::ReauthRequired,
        Self::Revoked,
    ];

    /// Returns the name used in API, paths, tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Pending => "pending",
            Self::Valid => "valid",
            Self::Expiring => "expiring",
            Self::ReauthRequired => "reauth_required",
            Self::Revoked => "revoked",
        }
    }
}

impl Stored for Access {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastOutcome {
    /// How.
    pub kind: OutcomeKind,
    /// When.
    #[serde(with = "crate::time::short")]
    pub at: Timestamp,
    /// What the source or the connector said, where something went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<crate::Error>,
}

/// How a fetch ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// All of it is here.
    Success,
    /// Some streams failed, the others are here.
    Partial,
    /// A question was not answered in time.
    UserTooSlow,
    /// The source asked something when nobody was there to answer.
    UserNeeded,
    /// Somebody ended it.
    Cancelled,
    /// It failed with an error of this class.
    Failed(ErrorClass),
}

impl OutcomeKind {
    /// Returns the word used in API and log: the class itself for a failure.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::UserTooSlow => "user_too_slow",
            Self::UserNeeded => "user_needed",
            Self::Cancelled => "cancelled",
            Self::Failed(class) => class.as_str(),
        }
    }
}

/// What a connection was before somebody set out to repair it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BeforeRepair {
    /// Where it rested.
    pub state: State,
    /// Whether its credentials worked.
    pub access: Access,
    /// How its last fetch had ended.
    pub outcome: Option<LastOutcome>,
    /// Failed fetches in a row.
    pub retries: u8,
}

/// When a connector may ask the person something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// When a person began the fetch.
    #[default]
    UserPresent,
    /// In every fetch.
    Always,
    /// When a person began the fetch, and in these hours of the day, in UTC.
    Hours {
        /// The first hour, 0 to 23.
        from: u8,
        /// The hour before which it ends, 1 to 24; less than `from` for a span over midnight.
        to: u8,
    },
}

impl Ask {
    /// Returns whether a question may be posed at `now`.
    pub fn allows(self, now: Timestamp, present: bool) -> bool {
        match self {
            Self::UserPresent => present,
            Self::Always => true,
            Self::Hours { from, to } => {
                let hour = now.as_millis().div_euclid(3_600_000).rem_euclid(24);
                let (from, to) = (i64::from(from), i64::from(to));
                let within = if from <= to {
                    (from..to).contains(&hour)
                } else {
                    hour >= from || hour < to
                };
                present || within
            }
        }
    }
}

/// What the tenant and the source say about all their connections.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// The gaps after failed fetches.
    pub slow_plan: SlowPlan,
    /// When the person may be asked.
    pub ask: Ask,
    /// Whether `retrying` is shown as `waiting`, as the first seed's present version does.
    pub legacy_waiting: bool,
    /// What the source wants to log in.
    pub credential_fields: Arc<[CredentialField]>,
    /// How failed attempts inside one fetch are repeated, where the source does not leave that to
    /// the class of the failure.
    pub attempts: Option<RetryPolicy>,
}

impl Policy {
    /// Returns how attempts that failed with this class are repeated inside one fetch; `None`
    /// where they are not.
    pub fn attempts(&self, class: ErrorClass) -> Option<RetryPolicy> {
        match class.disposition() {
            Disposition::Retry => self.attempts.or_else(|| class.policy()),
            Disposition::Wait => class.policy(),
            Disposition::Stop => None,
        }
    }
}

/// What a connection does next by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// An attempt, once its lane has a slot.
    Call(Timestamp, Lane),
    /// A step without any call.
    Alarm(Timestamp),
}

/// An input that the state does not take; nothing changed.
#[derive(Debug, Clone, PartialEq, Error, Serialize, Deserialize)]
#[error("a connection that is {from} takes no {input}")]
pub struct Rejected {
    /// What the connection is.
    pub from: ConnectionState,
    /// What it was given.
    pub input: String,
}

impl Connection {
    /// Returns the state's name, `retrying` included.
    pub const fn state(&self) -> ConnectionState {
        match &self.state {
            State::Created { .. } => ConnectionState::Created,
            State::Waiting { .. } => ConnectionState::Waiting,
            State::Retrying { .. } => ConnectionState::Retrying,
            State::Manual { .. } => ConnectionState::Manual,
            State::Connecting { .. } => ConnectionState::Connecting,
            State::Uploading { .. } => ConnectionState::Uploading,
            State::Question { .. } => ConnectionState::Question,
            State::Answered { .. } => ConnectionState::Answered,
            State::Error => ConnectionState::Error,
            State::Disabled => ConnectionState::Disabled,
        }
    }

    /// Returns the state's name as the tenant wants it shown.
    pub fn shown_state(&self, legacy_waiting: bool) -> ConnectionState {
        let state = self.state();
        if legacy_waiting && state == ConnectionState::Retrying {
            ConnectionState::Waiting
        } else {
            state
        }
    }

    /// Returns what it does next by itself; `None` when only somebody else can move it.
    pub fn next_wakeup(&self) -> Option<Wakeup> {
        let call = |due: Timestamp| Some(Wakeup::Call(due, Lane::source(&self.source)));
        match &self.state {
            State::Created { due }
            | State::Retrying { due }
            | State::Connecting { due, .. }
            | State::Uploading { due, .. } => call(*due),
            State::Waiting { next } => next.and_then(|next| call(next.at)),
            State::Manual { since } | State::Answered { since, .. } => call(*since),
            State::Question { expires_at, .. } => expires_at.map(Wakeup::Alarm),
            State::Error | State::Disabled => None,
        }
    }

    /// Returns whether somebody waits for its next call: who made it, asked for it, or answered.
    pub const fn is_awaited(&self) -> bool {
        match &self.state {
            State::Created { .. } | State::Manual { .. } | State::Answered { .. } => true,
            State::Connecting { fetch, .. } | State::Uploading { fetch, .. } => fetch.present,
            State::Waiting { .. }
            | State::Retrying { .. }
            | State::Question { .. }
            | State::Error
            | State::Disabled => false,
        }
    }

    /// Returns when the next fetch comes and why then; nothing while one is under way.
    pub fn next(&self) -> Option<Next> {
        match &self.state {
            State::Created { due } => Some(Next {
                at: *due,
                reason: Reason::User,
            }),
            State::Waiting { next } => *next,
            State::Retrying { due } => Some(Next {
                at: *due,
                reason: Reason::Retry,
            }),
            State::Manual { since } => Some(Next {
                at: *since,
                reason: Reason::User,
            }),
            State::Connecting { .. }
            | State::Uploading { .. }
            | State::Question { .. }
            | State::Answered { .. }
            | State::Error
            | State::Disabled => None,
        }
    }

    /// Returns the fetch that is under way or waits for an answer.
    pub const fn fetch(&self) -> Option<&Fetch> {
        match &self.state {
            State::Connecting { fetch, .. }
            | State::Uploading { fetch, .. }
            | State::Question { fetch, .. }
            | State::Answered { fetch, .. } => Some(fetch),
            State::Created { .. }
            | State::Waiting { .. }
            | State::Retrying { .. }
            | State::Manual { .. }
            | State::Error
            | State::Disabled => None,
        }
    }

    /// Returns whether an attempt is to be made as soon as a slot is free, without a step before it.
    pub const fn is_attempt_due(&self) -> bool {
        match &self.state {
            State::Connecting { fetch, .. } | State::Uploading { fetch, .. } => !fetch.running,
            State::Created { .. }
            | State::Waiting { .. }
            | State::Retrying { .. }
            | State::Manual { .. }
            | State::Question { .. }
            | State::Answered { .. }
            | State::Error
            | State::Disabled => false,
        }
    }

    /// Returns the interaction that is open.
    pub const fn open_interaction(&self) -> Option<InteractionId> {
        match &self.state {
            State::Question { interaction, .. } => Some(*interaction),
            State::Created { .. }
            | State::Waiting { .. }
            | State::Retrying { .. }
            | State::Manual { .. }
            | State::Connecting { .. }
            | State::Uploading { .. }
            | State::Answered { .. }
            | State::Error
            | State::Disabled => None,
        }
    }
}

/// Returns the activity of a fetch that nobody else opened one for.
pub const fn activity_of(fetch: FetchId) -> ActivityId {
    ActivityId::from_bytes(*fetch.as_bytes())
}

/// Returns the question by which new credentials are asked for; nothing where the source wants none.
pub(crate) fn credentials_question(policy: &Policy) -> Option<Question> {
    if policy.credential_fields.is_empty() {
        None
    } else {
        Some(Question::credentials(&policy.credential_fields))
    }
}
