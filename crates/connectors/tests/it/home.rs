//! A connection with all that is kept of it, in place of engine and database.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use wellspring_connectors::{Connectors, SourceConfig, Sources};
use wellspring_core::interaction::{Part, PartValue, Question, Response};
use wellspring_core::{AccountId, ConnectionId, Document, DocumentId, FetchId, Sealed, TenantId};
use wellspring_engine::{
    BlobError, Blobs, Connector, Ended, Heard, KnownDocuments, Leave, Listener, Record, Report,
    Reporter, RunInputs, RunOrder, RunResult, Session, StoreError,
};
use wellspring_vault::{Vault, context};

use crate::support::{Stopped, connectors_of, vault};

/// One connection and its connector.
pub(crate) struct Home {
    pub(crate) connectors: Connectors,
    vault: Vault,
    kept: Arc<Kept>,
    pub(crate) start_date: Option<String>,
}

#[derive(Debug, Default)]
struct Kept(Mutex<Rows>);

/// What a database would have.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    inputs: RunInputs,
    pub(crate) question: Option<Question>,
    pub(crate) documents: Vec<Document>,
    pub(crate) blobs: BTreeMap<DocumentId, Bytes>,
    pub(crate) records: BTreeMap<(String, String), Record>,
    /// The endpoints that leave was asked for.
    pub(crate) calls: Vec<&'static str>,
    /// What the source said of its own count.
    pub(crate) heard: Vec<Heard>,
    pub(crate) fenced: bool,
}

impl Home {
    /// Has a connection to the source `bank`, with a password.
    pub(crate) fn of(source: SourceConfig, password: &str) -> Self {
        let vault = vault();
        let home = Self {
            connectors: connectors_of(Arc::new(Sources::new([source])), vault.clone()),
            vault,
            kept: Arc::default(),
            start_date: None,
        };
        home.log_in_with(password);
        home
    }

    pub(crate) fn log_in_with(&self, password: &str) {
        let credentials = json!({ "username": "user", "password": password });
        self.rows().inputs.credentials =
            Some(self.sealed(&context::credentials(CONNECTION.as_bytes()), &credentials));
    }

    pub(crate) fn forget_credentials(&self) {
        self.rows().inputs.credentials = None;
    }

    pub(crate) fn rows(&self) -> MutexGuard<'_, Rows> {
        self.kept.0.lock().unwrap()
    }

    pub(crate) fn cursor(&self, stream: &str) -> Option<String> {
        self.rows().inputs.cursors.get(stream).cloned()
    }

    pub(crate) fn resume(&self) -> Sealed {
        self.rows().inputs.resume.clone().unwrap()
    }

    /// Makes one attempt; a finished one leaves no question.
    pub(crate) async fn attempt(&self) -> RunResult {
        let order = RunOrder {
            source: "bank".parse().unwrap(),
            tenant: TenantId::from_bytes([1; 16]),
            account: AccountId::from_bytes([2; 16]),
            connection: CONNECTION,
            fetch: FetchId::from_bytes([4; 16]),
            attempt: 1,
            present: true,
            start_date: self.start_date.clone(),
            lag: std::time::Duration::ZERO,
            counted: true,
        };
        let inputs = self.rows().inputs.clone();
        let kept = || Arc::clone(&self.kept);
        let session = Session::new(order.clone(), kept(), kept(), kept(), Arc::new(Stopped));
        let result = self.connectors.run(order, inputs, session).await;
        if let RunResult::Finished { .. } = result {
            let mut rows = self.rows();
            (rows.inputs.resume, rows.inputs.answer) = (None, None);
        }
        result
    }

    /// Answers the open question part by part.
    pub(crate) fn answer(&self, values: &[(&str, &str)]) {
        let question = self.rows().question.take().unwrap();
        let parts = values.iter().map(|(id, value)| PartValue {
            id: (*id).to_owned(),
            value: (*value).to_owned(),
        });
        let response = Response {
            version: 1,
            parts: parts.collect(),
        };
        let answers = json!(question.validate(&response).unwrap().answers);
        self.rows().inputs.answer =
            Some(self.sealed(&context::answer(CONNECTION.as_bytes()), &answers));
    }

    /// Answers the open question as well as can be; returns its code.
    pub(crate) fn answer_well(&self) -> &'static str {
        let question = self.rows().question.clone().unwrap();
        let values = question.parts.iter().filter_map(|part| {
            let value = match part {
                Part::TextInput { id, .. } => match id.as_str() {
                    "secret" => "Smith",
                    "code" => "123456",
                    "letters" => "W4TER",
                    _ => "0815",
                },
                Part::Choices { choices, .. } => &choices[0].id,
                Part::Date { .. } => "2001-02-28",
                Part::Number { .. } => "10115",
                Part::StaticText { .. }
                | Part::Image { .. }
                | Part::Link { .. }
                | Part::Button { .. }
                | Part::Redirect { .. } => return None,
            };
            Some((part.id(), value))
        });
        self.answer(&values.collect::<Vec<_>>());
        question.code.as_str()
    }

    /// Returns a record as the source gave it.
    pub(crate) fn opened(&self, stream: &str, key: &str) -> Value {
        use secrecy::ExposeSecret;

        let rows = self.rows();
        let record = &rows.records[&(stream.to_owned(), key.to_owned())];
        let context = context::record(CONNECTION.as_bytes(), stream, key);
        let plain = self.vault.open(&context, record.body.as_bytes()).unwrap();
        serde_json::from_slice(plain.expose_secret()).unwrap()
    }

    fn sealed(&self, context: &[u8], value: &Value) -> Sealed {
        Sealed::new(self.vault.seal(context, value.to_string().as_bytes()))
    }
}

impl Listener for Kept {
    fn hear(&self, heard: Heard) {
        self.0.lock().unwrap().heard.push(heard);
    }
}

impl Reporter for Kept {
    fn report(&self, report: Report) -> BoxFuture<'_, Result<(), Ended>> {
        let mut rows = self.0.lock().unwrap();
        if rows.fenced {
            return Box::pin(async { Err(Ended) });
        }
        match report {
            Report::Question { question, resume } => {
                rows.question = Some(question);
                (rows.inputs.resume, rows.inputs.answer) = (resume, None);
            }
            Report::Document(document) => rows.documents.push(*document),
            Report::Records {
                stream,
                records,
                cursor,
            } => {
                for record in records {
                    let key = (stream.clone(), record.key.clone());
                    rows.records.insert(key, record);
                }
                rows.inputs
                    .cursors
                    .extend(cursor.map(|cursor| (stream, cursor)));
            }
            Report::Checkpoint { stream, cursor } => {
                rows.inputs.cursors.insert(stream, cursor);
            }
            Report::Credentials(credentials) => rows.inputs.credentials = Some(credentials),
        }
        Box::pin(async { Ok(()) })
    }

    fn call(&self, endpoint: &'static str) -> BoxFuture<'_, Result<Leave, Ended>> {
        let mut rows = self.0.lock().unwrap();
        if rows.fenced {
            return Box::pin(async { Err(Ended) });
        }
        rows.calls.push(endpoint);
        Box::pin(async { Ok(Leave::Granted) })
    }
}

impl KnownDocuments for Kept {
    fn known_document(
        &self,
        connection: ConnectionId,
        source_id: Option<String>,
        hash: Option<[u8; 32]>,
    ) -> BoxFuture<'_, Result<Option<DocumentId>, StoreError>> {
        let rows = self.0.lock().unwrap();
        let known = rows.documents.iter().find(|document| {
            document.connection == connection
                && match &source_id {
                    Some(id) => document.source_id.as_ref() == Some(id),
                    None => Some(document.hash) == hash,
                }
        });
        let known = known.map(|document| document.id);
        Box::pin(async move { Ok(known) })
    }
}

impl Blobs for Kept {
    fn put(&self, id: DocumentId, body: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        self.0.lock().unwrap().blobs.insert(id, body);
        Box::pin(async { Ok(()) })
    }

    fn read(
        &self,
        id: DocumentId,
        _range: Option<Range<u64>>,
    ) -> BoxFuture<'_, Result<Option<Bytes>, BlobError>> {
        let body = self.0.lock().unwrap().blobs.get(&id).cloned();
        Box::pin(async move { Ok(body) })
    }

    fn delete(&self, id: DocumentId) -> BoxFuture<'_, Result<(), BlobError>> {
        self.0.lock().unwrap().blobs.remove(&id);
        Box::pin(async { Ok(()) })
    }

    fn list(
        &self,
        _after: Option<DocumentId>,
        _limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DocumentId>, BlobError>> {
        let all = self.0.lock().unwrap().blobs.keys().copied().collect();
        Box::pin(async move { Ok(all) })
    }
}

const CONNECTION: ConnectionId = ConnectionId::from_bytes([3; 16]);
