//! What a connector does to the world: each thing is durable before the connector goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use sha2::{Digest, Sha256};
use thiserror::Error;
use wellspring_core::document::Origin;
use wellspring_core::interaction::Question;
use wellspring_core::{
    AccountId, ConnectionId, Document, DocumentId, Error as Failure, FetchId, Sealed, SourceName,
    TenantId, Timestamp, Unclassified,
};

use crate::{BlobError, Blobs, Clock, Listener, StoreError, random_seed};

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
    /// A hash of what was encrypted, by which an update that changes nothing is known.
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
    /// For how long it was due.
    pub lag: Duration,
    /// Whether budgets count its calls.
    pub counted: bool,
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

/// The code of a call whose connector panicked, which says nothing about its source.
pub(crate) const PANICKED: &str = "connector_panicked";

/// The code of an attempt that our own budget held back, which says nothing about its source.
pub const BUDGET_SPENT: &str = "budget_spent";

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RunResult {
    /// All that is new is here, or all but what this error says.
    Finished {
        /// What failed, where some streams did.
        partial: Option<Failure>,
        /// What is kept of that where no rule matched it.
        unclassified: Option<Box<Unclassified>>,
    },
    /// Nothing was called: what it begins with could not be read.
    NotBegun,
    /// The source asked something, which was reported.
    Asked,
    /// It failed.
    Failed {
        /// Why.
        error: Failure,
        /// The source's own word for when to come back.
        retry_at: Option<Timestamp>,
        /// What the rule wants besides what the class says.
        action: wellspring_core::Action,
        /// What is kept of it where no rule matched.
        unclassified: Option<Box<Unclassified>>,
    },
}

/// Takes in what a connector reports; it returns when that is durable.
pub trait Reporter: Listener {
    /// Makes a report durable.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the fetch is no longer this attempt's.
    fn report(&self, report: Report) -> BoxFuture<'_, Result<(), Ended>>;

    /// Asks for leave to call an endpoint of the source; the call is spent with it.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the fetch is no longer this attempt's.
    fn call(&self, endpoint: &'static str) -> BoxFuture<'_, Result<Leave, Ended>>;
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It is spent and has to go out at once.
    Granted,
    /// Not before this moment, at which it is to be asked for again.
    NotBefore(Timestamp),
}

/// Tells which documents are here already.
pub trait KnownDocuments: Send + Sync {
    /// Returns the document of a connection that has this id of the source's, or, where none is
    /// given, these bytes.
    fn known_document(
        &self,
        connection: ConnectionId,
        source_id: Option<String>,
        hash: Option<[u8; 32]>,
    ) -> BoxFuture<'_, Result<Option<DocumentId>, StoreError>>;
}

/// The fetch is over for this attempt: somebody has ended it, or another node has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the fetch is over")]
pub struct Ended;

/// Why a call is not to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CallError {
    /// The fetch is over.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The budget allows none for longer than an attempt waits.
    #[error("the budget is spent until {0}")]
    Spent(Timestamp),
}

/// Why a document was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// The fetch is over.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// Its bytes could not be kept.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// What is known could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A document as a connector finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDocument {
    /// The source's own id for it.
    pub source_id: Option<String>,
    /// What kind of document it is, in one word such as `statement`.
    pub kind: String,
    /// The name of the file.
    pub name: String,
    /// Such as `application/pdf`.
    pub media_type: String,
    /// The day it is about, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// What else the source says of it.
    pub metadata: BTreeMap<String, String>,
}

/// What a connector works through: the only way in which an attempt touches what is kept.
#[derive(Clone)]
pub struct Session {
    order: RunOrder,
    reporter: Arc<dyn Reporter>,
    known: Arc<dyn KnownDocuments>,
    blobs: Arc<dyn Blobs>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Makes the session of one attempt.
    pub fn new(
        order: RunOrder,
        reporter: Arc<dyn Reporter>,
        known: Arc<dyn KnownDocuments>,
        blobs: Arc<dyn Blobs>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            order,
            reporter,
            known,
            blobs,
            clock,
        }
    }

    /// Returns who hears what the source says of its own count.
    pub fn listener(&self) -> Arc<dyn Listener> {
        Arc::clone(&self.reporter) as Arc<dyn Listener>
    }

    /// Waits until a call of this endpoint may go out, which it then has to at once; an attempt
    /// that would have to wait for longer than a minute is better begun again later.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn call(&self, endpoint: &'static str) -> Result<(), CallError> {
        if !self.order.counted {
            return Ok(());
        }
        let asked = self.clock.now();
        loop {
            let at = match self.reporter.call(endpoint).await? {
                Leave::Granted => return Ok(()),
                Leave::NotBefore(at) => at,
            };
            let now = self.clock.now();
            if at.max(now) > asked.after(LONGEST_WAIT) {
                return Err(CallError::Spent(at.max(now)));
            }
            tokio::time::sleep(at.since(now)).await;
        }
    }

    /// Poses a question; the attempt is over with it, and the answer begins another that is given
    /// `resume` again.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the fetch is no longer this attempt's.
    pub async fn ask(&self, question: Question, resume: Option<Sealed>) -> Result<(), Ended> {
        let report = Report::Question { question, resume };
        self.reporter.report(report).await
    }

    /// Returns whether a document of this id of the source's is here already, so that it need
    /// not be fetched.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn has_document(&self, source_id: &str) -> Result<bool, StoreError> {
        let connection = self.order.connection;
        let known = self
            .known
            .known_document(connection, Some(source_id.to_owned()), None);
        Ok(known.await?.is_some())
    }

    /// Keeps a document; returns its id if it is new. One that is here already, by the source's
    /// id or else by its bytes, is left out.
    ///
    /// # Errors
    ///
    /// See [`DocumentError`]; nothing is kept then but perhaps bytes that nothing names, which are swept.
    pub async fn document(
        &self,
        new: NewDocument,
        body: Bytes,
    ) -> Result<Option<DocumentId>, DocumentError> {
        let hash: [u8; 32] = Sha256::digest(&body).into();
        let connection = self.order.connection;
        let known = self
            .known
            .known_document(connection, new.source_id.clone(), Some(hash));
        if known.await?.is_some() {
            return Ok(None);
        }
        let now = self.clock.now();
        let mut rng = ChaCha8Rng::seed_from_u64(random_seed());
        let id = DocumentId::mint_in(now, connection.shard(), &mut rng);
        let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
        self.blobs.put(id, body).await?;
        let document = Document {
            id,
            tenant: self.order.tenant,
            account: self.order.account,
            connection,
            fetch: Some(self.order.fetch),
            origin: Origin::Fetched,
            created_at: now,
            source_id: new.source_id,
            hash,
            size,
            kind: new.kind,
            name: new.name,
            media_type: new.media_type,
            date: new.date,
            metadata: new.metadata,
        };
        let report = Report::Document(Box::new(document));
        self.reporter.report(report).await?;
        Ok(Some(id))
    }

    /// Keeps records of a stream together with the cursor behind them.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the fetch is no longer this attempt's.
    pub async fn records(
        &self,
        stream: &str,
        records: Vec<Record>,
        cursor: Option<String>,
    ) -> Result<(), Ended> {
        let report = Report::Records {
            stream: stream.to_owned(),
            records,
            cursor,
        };
        self.reporter.report(report).await
    }

    /// Keeps where a stream goes on next time.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the fetch is no longer this attempt's.
    pub async fn checkpoint(&self, stream: &str, cursor: String) -> Result<(), Ended> {
        let report = Report::Checkpoint {
            stream: stream.to_owned(),
            cursor,
        };
        self.reporter.report(report).await
    }

    /// Keeps other credentials, given by the source, before they are used.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the fetch is no longer this attempt's.
    pub async fn rotate_credentials(&self, credentials: Sealed) -> Result<(), Ended> {
        self.reporter.report(Report::Credentials(credentials)).await
    }

    /// Notes something for those who operate the engine; never credentials or data.
    pub fn log(&self, message: &str) {
        tracing::debug!(
            connection.id = %self.order.connection,
            fetch.id = %self.order.fetch,
            detail = message,
            "Connector says"
        );
    }
}

/// For how long an attempt waits for one call.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
