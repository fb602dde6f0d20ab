//! `POST /v1/accounts/{account}/connections/{connection}/documents`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::StatusCode;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use wellspring_core::document::Origin;
use wellspring_core::{Connection, ConnectionId, Document, DocumentId};
use wellspring_engine::{BlobError, Request, Wish};

use super::DocumentBody;
use super::form::Form;
use crate::Caller;
use crate::access::rng;
use crate::api::connections::find;
use crate::ask::Refused;
use crate::body::{self, json};
use crate::idempotency::{Asked, Once, replayed};
use crate::path::Place;
use crate::problem::{Problem, ProblemBody};
use crate::router::{App, within};

/// Takes in a document that a person has uploaded by hand.
///
/// It joins those that the source gave, with `origin` `manual`, whatever state the connection is in.
/// A file that is here already, by `source_id` or else by its bytes, is not taken twice.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/connections/{connection}/documents", tag = "documents", operation_id = "uploadDocument",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours takes nothing in again and shows the document"),
    ),
    request_body(content = Object, content_type = "multipart/form-data", description = "The part `file`, and optionally `kind` (one word, `document` unless told), `date` (`YYYY-MM-DD`), `name` (the file's own unless told) and `source_id`"),
    responses(
        (status = 200, description = "It was here already", body = DocumentBody),
        (status = 201, description = "The document", body = DocumentBody, headers(("Location" = String, description = "Where it is"), ("Idempotent-Replayed" = String, description = "`true` where the key was used before"))),
        (status = 400, description = "Not a form, or a malformed Idempotency-Key"),
        (status = 404, description = "There is no such connection"),
        (status = 409, description = "A request with this Idempotency-Key is under way"),
        (status = 413, description = "The file is larger than 50 MiB"),
        (status = 415, description = "The body is no multipart/form-data"),
        (status = 422, description = "The form is not valid, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn upload(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let connection = find(&app, &caller, &place).await?;
    let Ok(_place) = app.uploads.places.try_acquire() else {
        return Err(Problem::busy(
            "overloaded",
            "More documents are uploaded than can be taken in at present; nothing was stored",
        ));
    };
    let form = Form::read(&parts.headers, body).await?;
    let hash: [u8; 32] = Sha256::digest(&form.file).into();
    let said = said(&form);
    let what: [&[u8]; 4] = [b"POST document", connection.id.as_bytes(), &hash, &said];
    let once = Once::new(&app, &caller, &parts.headers, &what)?;
    let before = once.before(&app).await?.is_some();
    // The second of two that are the same finds the first.
    let _held = app.uploads.hold(connection.id).await;
    if let Some(known) = known(&app, &connection, form.source_id.clone(), hash).await? {
        let body = DocumentBody::new(known);
        return if before {
            created(&app, &body).map(replayed)
        } else {
            json(StatusCode::OK, &body)
        };
    }
    if before {
        return Err(Problem::nothing());
    }
    let (document, file) = document(&app, &connection, form, hash);
    app.blobs.put(document.id, file).await.map_err(not_kept)?;
    let request = Request::Connection {
        id: connection.id,
        tenant: connection.tenant,
        wish: Wish::Upload(Box::new(document.clone())),
        actor: caller.actor,
    };
    match once.ask(&app, request).await? {
        Asked::Done(_) => created(&app, &DocumentBody::new(document)),
        Asked::Again(_) => {
            discard(&app, document.id).await;
            let known = known(&app, &connection, document.source_id, hash).await?;
            let known = known.ok_or_else(Problem::nothing)?;
            created(&app, &DocumentBody::new(known)).map(replayed)
        }
        Asked::State(rejected) => {
            discard(&app, document.id).await;
            Err(Refused::State(rejected).into())
        }
    }
}

/// Uploads under way.
#[derive(Debug)]
pub(crate) struct Uploads {
    /// How many may be in memory at once.
    places: Semaphore,
    /// By connection, more or less: one at a time looks for what is there and adds to it.
    taking_in: [Mutex<()>; 16],
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            places: Semaphore::new(MOST_AT_ONCE),
            taking_in: Default::default(),
        }
    }
}

impl Uploads {
    async fn hold(&self, connection: ConnectionId) -> MutexGuard<'_, ()> {
        // The last byte names the shard, the one before it is random.
        let [.., random, _shard] = connection.as_bytes();
        self.taking_in[usize::from(random % 16)].lock().await
    }
}

/// Returns what the form says besides the file, without any doubt where one thing ends.
fn said(form: &Form) -> Vec<u8> {
    let Form {
        file: _,
        name,
        media_type,
        kind,
        date,
        source_id,
    } = form;
    serde_json::to_vec(&(name, media_type, kind, date, source_id)).expect("texts always serialize")
}

async fn known(
    app: &App,
    connection: &Connection,
    source_id: Option<String>,
    hash: [u8; 32],
) -> Result<Option<Document>, Problem> {
    let known = app
        .backend
        .known_document(connection.id, source_id, Some(hash));
    match within(known).await? {
        Some(id) => Ok(within(app.backend.document(connection.tenant, id)).await?),
        None => Ok(None),
    }
}

fn document(
    app: &App,
    connection: &Connection,
    form: Form,
    hash: [u8; 32],
) -> (Document, bytes::Bytes) {
    let now = app.clock.now();
    let document = Document {
        id: DocumentId::mint_in(now, connection.id.shard(), &mut rng()),
        tenant: connection.tenant,
        account: connection.account,
        connection: connection.id,
        fetch: None,
        origin: Origin::Manual,
        created_at: now,
        source_id: form.source_id,
        hash,
        size: u64::try_from(form.file.len()).unwrap_or(u64::MAX),
        kind: form.kind,
        name: form.name,
        media_type: form.media_type,
        date: form.date,
        metadata: std::collections::BTreeMap::new(),
    };
    (document, form.file)
}

fn created(app: &App, document: &DocumentBody) -> Result<Response, Problem> {
    let path = format!("/v1/documents/{}", document.id);
    body::created(app, &path, document)
}

/// Removes bytes that nothing names; where that fails they are swept later.
async fn discard(app: &App, id: DocumentId) {
    if let Err(error) = app.blobs.delete(id).await {
        tracing::debug!(document.id = %id, %error, "Bytes of no document stay until they are swept");
    }
}

fn not_kept(error: BlobError) -> Problem {
    match error {
        BlobError::Unavailable(_) => Problem::unavailable(
            "documents_unavailable",
            "The bytes of documents cannot be kept at present; nothing was stored",
            error,
        ),
        BlobError::Damaged { .. } => Problem::internal(error),
    }
}

/// Each may have its 50 MiB in memory.
const MOST_AT_ONCE: usize = 8;
