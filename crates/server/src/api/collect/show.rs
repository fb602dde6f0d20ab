//! `GET /collect/{requestId}`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use wellspring_engine::StoreError;

use super::{CollectionBody, NotFound, find};
use crate::Caller;
use crate::body::json;
use crate::problem::Problem;
use crate::router::App;

/// Why a collection is not shown.
#[derive(Debug)]
pub(crate) enum ShowError {
    NotFound(NotFound),
    Store(StoreError),
    Answer(Problem),
}

/// Shows a collection with its attempts.
#[utoipa::path(
    get, path = "/collect/{requestId}", tag = "collect", operation_id = "showCollection",
    params(("requestId" = String, Path, description = "The collection's id")),
    responses(
        (status = 200, description = "The collection", body = CollectionBody),
        (status = 404, description = "There is no such collection"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, ShowError> {
    let (mut parts, _body) = request.into_parts();
    let found = find(&app, caller.tenant, &mut parts).await;
    let view = found
        .map_err(ShowError::Store)?
        .map_err(ShowError::NotFound)?;
    json(StatusCode::OK, &CollectionBody::new(view)).map_err(ShowError::Answer)
}

impl From<ShowError> for Problem {
    fn from(error: ShowError) -> Self {
        match error {
            ShowError::NotFound(error) => error.into(),
            ShowError::Store(error) => error.into(),
            ShowError::Answer(problem) => problem,
        }
    }
}
