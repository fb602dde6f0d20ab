//! What a transition wants written, all of it in one transaction.

use super::{Attempt, Connection, FetchRecord};
use crate::interaction::{Closed, Question};
use crate::{AlertWrite, Change, Document, InteractionId, Sealed, Timestamp};

/// What a transition wants written.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The connection as it is then; `None` when it is gone.
    pub next: Option<Connection>,
    /// The entries for the log, in order.
    pub changes: Vec<Change>,
    /// The fetch as the fetch log shows it then.
    pub fetch: Option<FetchRecord>,
    /// The attempt that ended.
    pub attempt: Option<Attempt>,
    /// What becomes of interactions.
    pub interactions: Vec<InteractionWrite>,
    /// What becomes of secrets, in order.
    pub secrets: Vec<SecretWrite>,
    /// The documents that came in; their bytes are durable already.
    pub documents: Vec<Document>,
    /// What becomes of alerts.
    pub alerts: Vec<AlertWrite>,
}

/// What becomes of an interaction.
#[derive(Debug, Clone, PartialEq)]
pub enum InteractionWrite {
    /// It comes to be.
    Open {
        /// Its id.
        id: InteractionId,
        /// What is asked.
        question: Question,
        /// When.
        at: Timestamp,
        /// When it can no longer be answered.
        expires_at: Option<Timestamp>,
    },
    /// It is over; it stays until it is purged, so that late and second answers are told apart.
    Close {
        /// Its id.
        id: InteractionId,
        /// Why.
        reason: Closed,
        /// When.
        at: Timestamp,
        /// By which the same answer is known again.
        hash: Option<[u8; 32]>,
    },
}

/// Where a secret of a connection is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// What the source is logged in to with.
    Credentials,
    /// What it was logged in to with before a repair that is under way.
    PreviousCredentials,
    /// What the connector needs to go on after a question.
    Resume,
    /// An answer that was not used yet.
    Answer,
}

impl Slot {
    /// Every slot.
    pub const ALL: [Self; 4] = [
        Self::Credentials,
        Self::PreviousCredentials,
        Self::Resume,
        Self::Answer,
    ];

    /// Returns the name by which sealed values are bound to their slot.
    pub const fn as_str(self) -> &'static str {
        match self {
            // What was sealed as credentials moves here unopened.
            Self::Credentials | Self::PreviousCredentials => "credentials",
            Self::Resume => "resume",
            Self::Answer => "answer",
        }
    }
}

impl crate::Stored for Slot {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

/// What becomes of a secret.
#[derive(Debug, Clone, PartialEq)]
pub enum SecretWrite {
    /// It is kept here, in place of what was.
    Put(Slot, Sealed),
    /// It moves from the first slot to the second, in place of what was.
    Move(Slot, Slot),
    /// It is gone.
    Delete(Slot),
}
