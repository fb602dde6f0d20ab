//! `DELETE /collect/{requestId}`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::StatusCode;
use wellspring_engine::{Request, StoreError};

use super::{NotFound, find};
use crate::Caller;
use crate::ask::{Refused, ask};
use crate::problem::Problem;
use crate::router::App;

/// Why a collection is not erased.
#[derive(Debug)]
pub(crate) enum EraseError {
    NotFound(NotFound),
    Refused(Refused),
    Store(StoreError),
}

/// Erases everything of a collection.
///
/// The log keeps that it was there and that it was erased.
#[utoipa::path(
    delete, path = "/collect/{requestId}", tag = "collect", operation_id = "eraseCollection",
    params(("requestId" = String, Path, description = "The collection's id")),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "There is no such collection"),
        (status = 503, description = "Not now; come back after `Retry-After`"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn erase(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, EraseError> {
    let (mut parts, _body) = request.into_parts();
    let found = find(&app, caller.tenant, &mut parts).await;
    let view = found
        .map_err(EraseError::Store)?
        .map_err(EraseError::NotFound)?;
    let request = Request::Erase {
        id: view.id,
        tenant: caller.tenant,
        actor: caller.actor,
    };
    ask(&app, request, None)
        .await
        .map_err(EraseError::Refused)?;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

impl From<EraseError> for Problem {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::NotFound(error) => error.into(),
            EraseError::Refused(refused) => refused.into(),
            EraseError::Store(error) => error.into(),
        }
    }
}
