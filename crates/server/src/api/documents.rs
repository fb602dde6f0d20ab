//! Documents: files that came from a source or from a person.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::{Document, DocumentId};

use super::accounts::present;
use crate::Caller;
use crate::body::json;
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

pub(crate) mod content;
mod form;
pub(crate) mod list;
mod range;
pub(crate) mod upload;

/// A document, besides its bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DocumentBody {
    /// Its id.
    id: String,
    /// Whose it is.
    account_id: String,
    /// On which connection it came.
    connection_id: String,
    /// The fetch that brought it; none for an upload.
    fetch_id: Option<String>,
    /// `fetched` from the source or `manual`ly uploaded.
    origin: &'static str,
    /// What kind of document it is, in one word such as `statement`.
    kind: String,
    /// The name of the file.
    name: String,
    /// Such as `application/pdf`.
    media_type: String,
    /// How many bytes it has.
    size: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    sha256: String,
    /// The day it is about.
    date: Option<String>,
    /// The source's own id for it.
    source_id: Option<String>,
    /// What else the source says of it.
    metadata: BTreeMap<String, String>,
    /// When it came.
    created_at: String,
}

/// Shows a document, without its bytes.
#[utoipa::path(
    get, path = "/v1/documents/{document}", tag = "documents", operation_id = "showDocument",
    params(("document" = String, Path, description = "The document's id")),
    responses(
        (status = 200, description = "The document", body = DocumentBody),
        (status = 404, description = "There is no such document"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let document = find(&app, &caller, &place).await?;
    json(StatusCode::OK, &DocumentBody::new(document))
}

/// Returns the document that the path names, if it is the caller's to see.
async fn find(app: &App, caller: &Caller, place: &Place) -> Result<Document, Problem> {
    let id = place.id::<DocumentId>(0)?;
    let document = within(app.backend.document(caller.tenant, id)).await?;
    let document = document.filter(|document| caller.reaches(document.account));
    let document = document.ok_or_else(Problem::nothing)?;
    // What is left of an account that is being erased is gone for everybody.
    let account = present(app, caller.tenant, document.account).await?;
    if account.is_some() {
        Ok(document)
    } else {
        Err(Problem::nothing())
    }
}

impl DocumentBody {
    pub(crate) fn new(document: Document) -> Self {
        Self {
            id: document.id.to_string(),
            account_id: document.account.to_string(),
            connection_id: document.connection.to_string(),
            fetch_id: document.fetch.map(|fetch| fetch.to_string()),
            origin: document.origin.as_str(),
            kind: document.kind,
            name: document.name,
            media_type: document.media_type,
            size: document.size,
            sha256: hex::encode(document.hash),
            date: document.date,
            source_id: document.source_id,
            metadata: document.metadata,
            created_at: document.created_at.to_string(),
        }
    }
}
