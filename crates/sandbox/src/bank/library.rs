use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use hyper::{Response, StatusCode};
use jiff::civil::Date;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::document::{DocumentId, Kind, decimal};
use super::refusal::Refusal;
use super::script::{Flaw, Script};
use super::{Bank, pdf};
use crate::answer::{JSON, cut, full, json_answer};
use crate::serve::{Aborted, Body, Link};

/// The documents asked for so far.
#[derive(Default)]
pub(super) struct Library {
    held: Mutex<BTreeMap<DocumentId, Arc<Document>>>,
}

struct Document {
    bytes: Bytes,
    sha256: String,
}

impl Library {
    fn find(&self, id: DocumentId) -> Arc<Document> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let document = held.entry(id).or_insert_with(|| {
            let bytes = Bytes::from(pdf::of(id));
            let sha256 = hex::encode(Sha256::digest(&bytes));
            Arc::new(Document { bytes, sha256 })
        });
        Arc::clone(document)
    }
}

impl Bank {
    pub(super) fn list(&self, script: &'static Script, query: &str) -> Response<Body> {
        match script.flaw {
            Flaw::Junk => return full(StatusCode::OK, JSON, Bytes::from_static(BROKEN)),
            Flaw::None
            | Flaw::SlowDocuments
            | Flaw::NoBills
            | Flaw::DocumentsThrottled
            | Flaw::Revoked
            | Flaw::LosesSession
            | Flaw::FewAtOnce => {}
        }
        let Some(wanted) = Wanted::parse(query) else {
            return Refusal::Unreadable.answer();
        };
        let new = self.control.bank().settings().new_documents;
        let mut documents: Vec<_> = script
            .kinds
            .iter()
            .flat_map(|kind| DocumentId::issued(script.account, *kind, new))
            .filter(|document| wanted.since.is_none_or(|since| document.date >= since))
            .collect();
        documents.sort_unstable();

        let skipped = (wanted.page - 1).saturating_mul(PAGE);
        let page: Vec<_> = documents
            .iter()
            .skip(skipped)
            .take(PAGE)
            .map(|id| Line::new(*id, &self.library.find(*id)))
            .collect();
        let more = documents.len() > skipped.saturating_add(PAGE);
        let list = List {
            documents: page,
            next_page: more.then(|| wanted.page + 1),
        };
        json_answer(StatusCode::OK, JSON, &list)
    }

    pub(super) async fn document(
        &self,
        script: &'static Script,
        id: &str,
        link: &Link,
    ) -> Result<Response<Body>, Aborted> {
        let settings = self.control.bank().settings().clone();
        let Some(id) = DocumentId::parse(script.account, id, settings.new_documents)
            .filter(|id| script.kinds.contains(&id.kind))
        else {
            return Ok(Refusal::NotFound.answer());
        };
        let latency = match (script.flaw, id.kind) {
            (Flaw::DocumentsThrottled, Kind::Statement | Kind::Bill | Kind::Notice) => {
                return Ok(Refusal::Throttled.answer());
            }
            (Flaw::NoBills, Kind::Bill) => return Ok(Refusal::DocumentUnavailable.answer()),
            (Flaw::SlowDocuments, Kind::Statement | Kind::Bill | Kind::Notice) => SLOW,
            (Flaw::NoBills, Kind::Statement | Kind::Notice)
            | (
                Flaw::None | Flaw::Junk | Flaw::Revoked | Flaw::LosesSession | Flaw::FewAtOnce,
                Kind::Statement | Kind::Bill | Kind::Notice,
            ) => Duration::ZERO,
        };
        link.hold(settings.document_latency.unwrap_or(latency))
            .await?;

        let document = self.library.find(id);
        let mut answer = full(StatusCode::OK, PDF, document.bytes.clone());
        let name = format!("inline; filename=\"{}.pdf\"", id.name());
        if let Ok(name) = HeaderValue::from_str(&name) {
            answer.headers_mut().insert(CONTENT_DISPOSITION, name);
        }
        if settings.truncate_documents {
            return Ok(cut(answer));
        }
        Ok(answer)
    }
}

/// What a caller wants to see of the list.
struct Wanted {
    since: Option<Date>,
    page: usize,
}

impl Wanted {
    fn parse(query: &str) -> Option<Self> {
        let mut wanted = Self {
            since: None,
            page: 1,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "since" if value.is_empty() => {}
                "since" => wanted.since = Some(value.parse().ok()?),
                "page" if value.is_empty() => {}
                "page" => wanted.page = value.parse().ok().filter(|page| *page > 0)?,
                _ => return None,
            }
        }
        Some(wanted)
    }
}

#[derive(Serialize)]
struct List {
    documents: Vec<Line>,
    next_page: Option<usize>,
}

#[derive(Serialize)]
struct Line {
    id: String,
    kind: Kind,
    name: String,
    date: Date,
    pages: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount_due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'static str>,
    media_type: &'static str,
    size: usize,
    sha256: String,
}

impl Line {
    fn new(id: DocumentId, document: &Document) -> Self {
        let amount_due = id.amount_due().map(decimal);
        Self {
            id: id.name(),
            kind: id.kind,
            name: id.title(),
            date: id.date,
            pages: id.kind.pages(),
            currency: amount_due.as_ref().map(|_| "EUR"),
            amount_due,
            media_type: PDF,
            size: document.bytes.len(),
            sha256: document.sha256.clone(),
        }
    }
}

const PDF: &str = "application/pdf";
const PAGE: usize = 10;
const SLOW: Duration = Duration::from_secs(2);
const BROKEN: &[u8] = br#"{"documents":[{"id":"4711-statement-0001","kind":"statement","da"#;
