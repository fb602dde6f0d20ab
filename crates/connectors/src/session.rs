//! What a connector works through: the only way in which it touches the world.

use std::fmt;

use bytes::Bytes;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wellspring_core::interaction::Question;
use wellspring_core::{Action, DocumentId, ErrorClass, Sealed};
use wellspring_engine::{
    BUDGET_SPENT, CallError, DocumentError, NewDocument, Record, RunInputs, RunOrder,
};
use wellspring_vault::{Vault, context};
use zeroize::Zeroizing;

use crate::failure::Failed;
use crate::http::Http;
use crate::{Secrets, Stop};

/// One attempt on one connection.
///
/// What it reports is durable when it returns. Secrets are opened and sealed here, each for its
/// own place.
pub struct Session {
    engine: wellspring_engine::Session,
    order: RunOrder,
    inputs: RunInputs,
    vault: Vault,
    http: Http,
    /// How often the attempt has begun again.
    again: u8,
    narrowed: u8,
}

/// One record of a stream, as the source gave it.
pub struct NewRecord {
    /// The source's key for it; records of one key replace each other.
    pub key: String,
    /// The record.
    pub body: Zeroizing<Vec<u8>>,
}

impl Session {
    pub(crate) fn new(
        engine: wellspring_engine::Session,
        order: RunOrder,
        inputs: RunInputs,
        vault: Vault,
        http: Http,
    ) -> Self {
        Self {
            engine,
            order,
            inputs,
            vault,
            http,
            again: 0,
            narrowed: 0,
        }
    }

    /// Has the attempt begin again at once, where the action wants it and it may once more.
    ///
    /// It goes on from the cursors that it was first given: those that it has left meanwhile belong
    /// to pages that no longer fit together.
    pub(crate) fn begins_again(&mut self, action: Action) -> bool {
        let may = self.may_begin_again(action);
        if may {
            self.again += 1;
            self.narrowed += u8::from(action == Action::NarrowWindow);
        }
        may
    }

    /// Returns whether a failure of this action has the attempt begin again, so that what is left
    /// need not be asked for now.
    pub fn may_begin_again(&self, action: Action) -> bool {
        let wanted = match action {
            Action::RestartStream | Action::NarrowWindow => true,
            Action::Default
            | Action::Revoke
            | Action::WaitForEvent
            | Action::Unsupported
            | Action::Notice(_) => false,
        };
        wanted && self.again < MOST_BEGINNINGS
    }

    /// Returns how often the source has said that the window asked for is too large: each time it
    /// is to be halved.
    pub fn narrowed(&self) -> u8 {
        self.narrowed
    }

    /// Returns the way to the source.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Returns from which day on data is wanted, `YYYY-MM-DD`.
    pub fn start_date(&self) -> Option<&str> {
        self.order.start_date.as_deref()
    }

    /// Returns where a stream goes on.
    pub fn cursor(&self, stream: &str) -> Option<&str> {
        self.inputs.cursors.get(stream).map(String::as_str)
    }

    /// Returns what the source is logged in to with, where it was given.
    ///
    /// # Errors
    ///
    /// When what is kept cannot be read.
    pub fn credentials(&self) -> Result<Option<Secrets>, Stop> {
        let context = context::credentials(self.order.connection.as_bytes());
        self.open(&context, self.inputs.credentials.as_ref())
    }

    /// Returns what was left with the last question, where it was one that this connector can
    /// still read.
    ///
    /// # Errors
    ///
    /// When what is kept cannot be opened.
    pub fn resume<T: DeserializeOwned>(&self) -> Result<Option<T>, Stop> {
        let context = context::resume(self.order.connection.as_bytes());
        let Some(sealed) = &self.inputs.resume else {
            return Ok(None);
        };
        let plain = self.unsealed(&context, sealed)?;
        // An older version may have left it: then it is asked afresh.
        Ok(serde_json::from_slice(&plain).ok())
    }

    /// Returns the answer to the last question, by part, where there is one.
    ///
    /// # Errors
    ///
    /// When what is kept cannot be read.
    pub fn answer(&self) -> Result<Option<Secrets>, Stop> {
        let context = context::answer(self.order.connection.as_bytes());
        self.open(&context, self.inputs.answer.as_ref())
    }

    /// Returns a text that is the same for the same `text` of the same connection, from which
    /// nothing can be learnt about it.
    ///
    /// It tells whether something is still what it was, where that is kept in the open.
    pub fn fingerprint(&self, text: &str) -> String {
        let context = context::fingerprint(self.order.connection.as_bytes());
        let hash = self.vault.keyed_hash(&context, text.as_bytes());
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Waits until a call of an endpoint may go out, as far as the budgets of the source say; each
    /// call is asked for, and goes out at once then.
    ///
    /// # Errors
    ///
    /// When the fetch is over, or the budget is spent for longer than an attempt waits.
    pub async fn call(&self, endpoint: &'static str) -> Result<(), Stop> {
        match self.engine.call(endpoint).await {
            Ok(()) => Ok(()),
            Err(CallError::Ended(_)) => Err(Stop::Ended),
            Err(CallError::Spent(until)) => Err(Failed {
                retry_at: Some(until),
                ..Failed::new(
                    ErrorClass::RateLimitExceeded,
                    BUDGET_SPENT,
                    "as many calls were made as the budget of the source allows for now",
                )
            }
            .into()),
        }
    }

    /// Poses a question, which ends the attempt; the answer begins another that is given `resume`
    /// again.
    ///
    /// Returns what the attempt is to end with: a question that cannot be posed is a failure.
    pub async fn ask(&self, question: Question, resume: &impl Serialize) -> Stop {
        if let Err(error) = question.check() {
            let message = format!("the source asks what cannot be shown: {error}");
            return failed(ErrorClass::InternalError, "question_malformed", message);
        }
        let context = context::resume(self.order.connection.as_bytes());
        let resume = match self.sealed(&context, resume) {
            Ok(resume) => resume,
            Err(stop) => return stop,
        };
        match self.engine.ask(question, Some(resume)).await {
            Ok(()) => Stop::Asked,
            Err(_) => Stop::Ended,
        }
    }

    /// Returns whether a document of this id of the source's is here already.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn has_document(&self, source_id: &str) -> Result<bool, Stop> {
        let known = self.engine.has_document(source_id).await;
        known.map_err(|error| {
            self.log(&error.to_string());
            database_away()
        })
    }

    /// Keeps a document; returns its id if it was not here already.
    ///
    /// # Errors
    ///
    /// When the fetch is over, or neither the source nor the document is at fault.
    pub async fn document(
        &self,
        new: NewDocument,
        body: Bytes,
    ) -> Result<Option<DocumentId>, Stop> {
        match self.engine.document(new, body).await {
            Ok(id) => Ok(id),
            Err(DocumentError::Ended(_)) => Err(Stop::Ended),
            Err(error @ (DocumentError::Blob(_) | DocumentError::Store(_))) => {
                self.log(&error.to_string());
                Err(database_away())
            }
        }
    }

    /// Keeps records of a stream together with the cursor behind them.
    ///
    /// # Errors
    ///
    /// When the fetch is over.
    pub async fn records(
        &self,
        stream: &str,
        records: Vec<NewRecord>,
        cursor: Option<String>,
    ) -> Result<(), Stop> {
        let connection = self.order.connection;
        let records = records
            .into_iter()
            .map(|NewRecord { key, body }| {
                let context = context::record(connection.as_bytes(), stream, &key);
                Record {
                    // Records are short and of few forms, so that a bare hash would tell them.
                    hash: self.vault.keyed_hash(&context, &body),
                    body: Sealed::new(self.vault.seal(&context, &body)),
                    key,
                }
            })
            .collect();
        let kept = self.engine.records(stream, records, cursor).await;
        kept.map_err(|_ended| Stop::Ended)
    }

    /// Keeps where a stream goes on next time.
    ///
    /// # Errors
    ///
    /// When the fetch is over.
    pub async fn checkpoint(&self, stream: &str, cursor: String) -> Result<(), Stop> {
        let kept = self.engine.checkpoint(stream, cursor).await;
        kept.map_err(|_ended| Stop::Ended)
    }

    /// Keeps other credentials, given by the source, before they are used.
    ///
    /// # Errors
    ///
    /// When the fetch is over.
    pub async fn rotate_credentials(&self, credentials: &impl Serialize) -> Result<(), Stop> {
        let context = context::credentials(self.order.connection.as_bytes());
        let sealed = self.sealed(&context, credentials)?;
        let kept = self.engine.rotate_credentials(sealed).await;
        kept.map_err(|_ended| Stop::Ended)
    }

    /// Notes something for those who operate the engine; never credentials or data.
    pub fn log(&self, message: &str) {
        self.engine.log(message);
    }

    fn open(&self, context: &[u8], sealed: Option<&Sealed>) -> Result<Option<Secrets>, Stop> {
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let plain = self.unsealed(context, sealed)?;
        // What the parser says of it may repeat it.
        let secrets = serde_json::from_slice(&plain).map_err(|_unshown| unreadable())?;
        Ok(Some(secrets))
    }

    fn unsealed(&self, context: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Stop> {
        let plain = self.vault.open(context, sealed.as_bytes());
        let plain = plain.map_err(|error| {
            self.log(&error.to_string());
            unreadable()
        })?;
        Ok(Zeroizing::new(plain.expose_secret().to_vec()))
    }

    fn sealed(&self, context: &[u8], value: &impl Serialize) -> Result<Sealed, Stop> {
        let plain = serde_json::to_vec(value).map(Zeroizing::new);
        let plain = plain.map_err(|_unshown| unreadable())?;
        Ok(Sealed::new(self.vault.seal(context, &plain)))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

/// Shows the key only.
impl fmt::Debug for NewRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRecord")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// How often one attempt begins again before it has failed.
const MOST_BEGINNINGS: u8 = 3;

fn unreadable() -> Stop {
    failed(
        ErrorClass::InternalError,
        "secret_unreadable",
        "what is kept encrypted for this connection cannot be read",
    )
}

/// No source is to blame, and it is worth another try.
fn database_away() -> Stop {
    failed(
        ErrorClass::UnknownError,
        "database_unavailable",
        "the engine's own database did not answer",
    )
}

fn failed(class: ErrorClass, code: &str, message: impl Into<String>) -> Stop {
    Failed::new(class, code, message).into()
}
