//! What a connector does to the world: each thing is durable before the connector goes on.

use std::collections::BTreeMap;

use wellspring_core::interaction::Question;
use wellspring_core::{
    AccountId, ConnectionId, Document, Error, FetchId, Sealed, SourceName, TenantId, Timestamp,
};

/// What a connector has to tell in the middle of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The source asks something; the attempt ends with this.
    Question {
        /// What it asks.
        question: Question,
        /// What the connector needs to go on with the answer.
        resume: Option<Sealed>,
    },
    /// A document came in; its bytes are durable already.
    Document(Box<Document>),
    /// Records of one stream came in, together with the cursor behind them.
    Records {
        /// Which stream.
        stream: String,
        /// What came.
        records: Vec<Record>,
        /// Where the stream goes on next time.
        cursor: Option<String>,
    },
    /// A stream goes on from here next time.
    Checkpoint {
        /// Which stream.
        stream: String,
        /// Where.
        cursor: String,
    },
    /// The source has given other credentials.
    Credentials(Sealed),
}

/// One record of a stream, as the source gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The source's key for it; records of one key replace each other.
    pub key: String,
    /// SHA-256 of the body, by which an update that changes nothing is known.
    pub hash: [u8; 32],
    /// The record, encrypted.
    pub body: Sealed,
}

/// Ask a source for what is new on a connection.
#[derive(Debug, Clone)]
pub struct RunOrder {
    /// Which source.
    pub source: SourceName,
    /// For whom.
    pub tenant: TenantId,
    /// Whose connection it is.
    pub account: AccountId,
    /// Which connection.
    pub connection: ConnectionId,
    /// In which fetch.
    pub fetch: FetchId,
    /// Which attempt of it, from 1.
    pub attempt: u16,
    /// Whether a person is there to answer.
    pub present: bool,
    /// From which day on data is wanted, `YYYY-MM-DD`.
    pub start_date: Option<String>,
}

/// What the store keeps for the next attempt on a connection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunInputs {
    /// What the source is logged in to with.
    pub credentials: Option<Sealed>,
    /// What the connector left when it asked something.
    pub resume: Option<Sealed>,
    /// The answer to what it asked.
    pub answer: Option<Sealed>,
    /// Where each stream goes on.
    pub cursors: BTreeMap<String, String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RunResult {
    /// All that is new is here, or all but what this error says.
    Finished {
        /// What failed, where some streams did.
        partial: Option<Error>,
    },
    /// The source asked something, which was reported.
    Asked,
    /// It failed.
    Failed {
        /// Why.
        error: Error,
        /// The source's own word for when to come back.
        retry_at: Option<Timestamp>,
        /// Whether the source withdrew the consent altogether.
        revoked: bool,
    },
}
