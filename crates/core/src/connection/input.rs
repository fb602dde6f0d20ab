//! What happens to a connection.

use serde::{Deserialize, Serialize};

use super::OnQuestionExpired;
use crate::interaction::Question;
use crate::schedule::{Schedule, SlowPlan};
use crate::{
    Actor, AlertId, AlertWish, Document, Error, FetchId, InteractionId, Sealed, Timestamp,
    TraceParent,
};

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// It is due and a slot is free: its fetch begins, or goes on after an answer.
    Due {
        /// The id of the fetch, if a new one begins.
        fetch: FetchId,
    },
    /// The attempt that was under way is known to be lost with its node.
    AttemptLost,
    /// Somebody wants a fetch.
    FetchAsked(Actor),
    /// Somebody wants a fetch who is traced.
    FetchAskedIn(Actor, TraceParent),
    /// The source has asked something; the attempt ends.
    QuestionAsked {
        /// When the attempt began.
        started: Timestamp,
        /// What it asked.
        question: Question,
        /// The id that the interaction gets.
        interaction: InteractionId,
        /// What the connector needs to go on.
        resume: Option<Sealed>,
    },
    /// The person has answered.
    QuestionAnswered {
        /// Which interaction.
        interaction: InteractionId,
        /// The answer: the credentials themselves where those were asked for.
        answer: Sealed,
        /// By which the same answer is known again.
        hash: [u8; 32],
        /// What the answer has the fetch do.
        action: Action,
        /// Who answered.
        actor: Actor,
    },
    /// The time of the open question has passed.
    QuestionExpired,
    /// Somebody called the open question off.
    QuestionCancelled {
        /// Which interaction.
        interaction: InteractionId,
        /// Who.
        actor: Actor,
    },
    /// Items came in, and are written with this step.
    ItemsCame {
        /// The documents.
        documents: Vec<Document>,
        /// How many records.
        records: u32,
    },
    /// A stream's cursor moved on without items.
    Checkpointed,
    /// Somebody has uploaded a document by hand.
    Uploaded(Box<Document>, Actor),
    /// The attempt ended well.
    Fetched {
        /// When it began.
        started: Timestamp,
        /// What failed of it, where some did.
        partial: Option<Error>,
    },
    /// The attempt failed.
    FetchFailed {
        /// When it began.
        started: Timestamp,
        /// Why.
        error: Error,
        /// The source's own word for when to come back.
        retry_at: Option<Timestamp>,
        /// What follows besides what the class says.
        follow: crate::Action,
        /// Whether the attempt was a breaker's probe, which no connection is charged for.
        probe: bool,
    },
    /// The connector has got other credentials from the source.
    CredentialsRotated(Sealed),
    /// Somebody has given other credentials.
    CredentialsReplaced {
        /// The new ones.
        credentials: Sealed,
        /// How they came.
        from: CredentialsFrom,
        /// Who gave them.
        actor: Actor,
    },
    /// Its owner has set something.
    Patched(Patch, Actor),
    /// All of it is to go.
    DeleteAsked(Actor),
    /// Somebody has acted on an alert about it.
    AlertAsked(AlertId, AlertWish, Actor),
}

/// How new credentials came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialsFrom {
    /// The tenant replaced them: they count from now on.
    Tenant,
    /// A person repairs the connection: they count once they work.
    Repair,
}

/// What an answer has the fetch do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Go on.
    Continue,
    /// End here.
    Stop,
    /// Delete the connection.
    DeleteConnection,
}

/// What the owner of a connection sets; what is absent stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Patch {
    /// What the person calls it; the inner nothing removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Option<String>>,
    /// When it is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The gaps after failed fetches; the inner nothing takes those of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_plan: Option<Option<SlowPlan>>,
    /// What follows when nobody answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_question_expired: Option<OnQuestionExpired>,
    /// From which day on data is wanted; the inner nothing leaves it to the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Option<String>>,
    /// Whether it is fetched at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether scheduled fetches rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

impl Input {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Due { .. } => "Due",
            Self::AttemptLost => "AttemptLost",
            Self::FetchAsked(_) | Self::FetchAskedIn(..) => "FetchAsked",
            Self::QuestionAsked { .. } => "QuestionAsked",
            Self::QuestionAnswered { .. } => "QuestionAnswered",
            Self::QuestionExpired => "QuestionExpired",
            Self::QuestionCancelled { .. } => "QuestionCancelled",
            Self::ItemsCame { .. } => "ItemsCame",
            Self::Checkpointed => "Checkpointed",
            Self::Uploaded(..) => "Uploaded",
            Self::Fetched { .. } => "Fetched",
            Self::FetchFailed { .. } => "FetchFailed",
            Self::CredentialsRotated(_) => "CredentialsRotated",
            Self::CredentialsReplaced { .. } => "CredentialsReplaced",
            Self::Patched(..) => "Patched",
            Self::DeleteAsked(_) => "DeleteAsked",
            Self::AlertAsked(..) => "AlertAsked",
        }
    }
}
