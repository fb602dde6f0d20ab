//! The facts of a change to an account or a connection, in the form that readers of the log see.

use serde::Serialize;

use crate::alert::AlertFacts;
use crate::interaction::{Closed, Code};
use crate::source::IncidentFacts;
use crate::{ActivityId, Body, ErrorClass, FetchId, OutcomeKind, Reason, SourceName, Timestamp};

/// The facts of a change: ids, states, counts and reasons, never fetched data.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Facts {
    /// Of a collection.
    Collection(Body),
    /// Of a connection's state; all of them always stand there, so that nobody has to read the connection.
    State(Box<StateFacts>),
    /// Of a connection's access.
    Access(AccessFacts),
    /// Of an interaction.
    Interaction(InteractionFacts),
    /// Of a document.
    Document(DocumentFacts),
    /// Of an alert.
    Alert(Box<AlertFacts>),
    /// Of an incident of a source.
    Incident(Box<IncidentFacts>),
    /// Of something that came to be for a source.
    Source {
        /// Which.
        source: SourceName,
    },
    /// None.
    Nothing {},
}

impl Default for Facts {
    fn default() -> Self {
        Self::Nothing {}
    }
}

/// What a change of a connection's state says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateFacts {
    /// The source.
    pub source: SourceName,
    /// Failed fetches in a row.
    pub retries: u8,
    /// When the next fetch comes.
    pub next_attempt_at: Option<Timestamp>,
    /// Why then.
    #[serde(serialize_with = "reason")]
    pub reason: Option<Reason>,
    /// How the last fetch ended.
    #[serde(serialize_with = "outcome")]
    pub outcome: Option<OutcomeKind>,
    /// The stable code of what went wrong in it.
    pub code: Option<String>,
    /// Whether the credentials work.
    pub access: &'static str,
    /// The fetch that is under way or has just ended.
    pub fetch_id: Option<FetchId>,
    /// The activity that it belongs to.
    pub activity_id: Option<ActivityId>,
    /// Documents of that fetch so far.
    pub documents: u32,
    /// Records of that fetch so far.
    pub records: u32,
    /// Whether the tenant had better ask the person for an upload by hand.
    pub manual_upload_wanted: bool,
}

/// What a change of a connection's access says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AccessFacts {
    /// The source.
    pub source: SourceName,
    /// The class of what went wrong, where something did.
    pub class: Option<ErrorClass>,
    /// Its stable code.
    pub code: Option<String>,
}

/// What a change of an interaction says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InteractionFacts {
    /// What kind of question it is.
    pub code: Option<Code>,
    /// When it can no longer be answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Why it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Closed>,
}

/// What a change of a document says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DocumentFacts {
    /// What kind of document it is.
    pub kind: String,
    /// Whether it was fetched or uploaded by hand.
    pub origin: &'static str,
    /// Its bytes.
    pub size: u64,
    /// The fetch that brought it.
    pub fetch_id: Option<FetchId>,
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn outcome<S: serde::Serializer>(
    outcome: &Option<OutcomeKind>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    outcome.map(OutcomeKind::as_str).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn reason<S: serde::Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::as_str).serialize(serializer)
}
