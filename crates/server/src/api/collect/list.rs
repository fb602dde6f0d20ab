//! `GET /collect`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::{CollectionId, CollectionStatus};
use wellspring_engine::StoreError;

use super::CollectionBody;
use crate::Caller;
use crate::body::json;
use crate::problem::Problem;
use crate::query::{BadParameters, Parameters};
use crate::router::{App, within};

/// A page of collections.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CollectionList {
    /// The collections, newest first.
    data: Vec<CollectionBody>,
    /// Where the next page begins.
    next_cursor: Option<String>,
    /// Whether there is one.
    has_more: bool,
}

/// Why collections are not listed.
#[derive(Debug)]
pub(crate) enum ListError {
    Parameters(BadParameters),
    Store(StoreError),
    Answer(Problem),
}

/// Lists collections, newest first.
///
/// A page may be short and still have a next one.
#[utoipa::path(
    get, path = "/collect", tag = "collect", operation_id = "listCollections",
    params(
        ("status" = Option<String>, Query, description = "Only those in this status"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page", body = CollectionList),
        (status = 400, description = "A parameter is wrong"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, ListError> {
    let mut parameters = Parameters::read(request.uri(), &["status", "limit", "cursor"], &[]);
    let status = parameters.value("status").map(status);
    let limit = parameters.limit(50, 200);
    let before = parameters.value("cursor").map(cursor);
    if status == Some(None) {
        parameters.fault("status", format!("is one of {}", names()));
    }
    if before == Some(None) {
        parameters.fault("cursor", "is not a cursor of this list");
    }
    parameters.finish().map_err(ListError::Parameters)?;
    let read = app
        .backend
        .collections(caller.tenant, status.flatten(), before.flatten(), limit);
    let page = within(read).await.map_err(ListError::Store)?;
    let body = CollectionList {
        data: page.rows.into_iter().map(CollectionBody::listed).collect(),
        has_more: page.next.is_some(),
        next_cursor: page.next.map(|id| URL_SAFE_NO_PAD.encode(id.as_bytes())),
    };
    json(StatusCode::OK, &body).map_err(ListError::Answer)
}

fn status(text: &str) -> Option<CollectionStatus> {
    CollectionStatus::ALL
        .into_iter()
        .find(|status| status.as_str() == text)
}

fn names() -> String {
    CollectionStatus::ALL
        .map(CollectionStatus::as_str)
        .join(", ")
}

fn cursor(text: &str) -> Option<CollectionId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(CollectionId::from_bytes(bytes.try_into().ok()?))
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Parameters(error) => error.into(),
            ListError::Store(error) => error.into(),
            ListError::Answer(problem) => problem,
        }
    }
}
