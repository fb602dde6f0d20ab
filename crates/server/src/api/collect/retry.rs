//! `POST /collect/{requestId}/retry`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use wellspring_core::{CollectionId, CollectionStatus, TenantId};
use wellspring_engine::{Key, Request, StoreError};

use super::{Accepted, NotFound, accepted, find, resumed};
use crate::Caller;
use crate::ask::{Refused, ask};
use crate::body::{self, BodyError, NotEmpty};
use crate::idempotency::{self, Malformed, Refusal};
use crate::problem::Problem;
use crate::router::App;

/// Why a collection is not tried again.
#[derive(Debug)]
pub(crate) enum RetryError {
    NotFound(NotFound),
    Body(NotEmpty),
    MalformedKey(Malformed),
    Key(Refusal),
    Refused(Refused),
    Store(StoreError),
}

/// Tries a failed collection again, with fresh budgets.
///
/// What was collected is not collected again: then only the callback is called.
#[utoipa::path(
    post, path = "/collect/{requestId}/retry", tag = "collect", operation_id = "retryCollection",
    params(
        ("requestId" = String, Path, description = "The collection's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours gives the same answer and does nothing again"),
    ),
    responses(
        (status = 202, description = "Accepted", body = Accepted, headers(("Location" = String, description = "Its `statusUrl`"), ("Idempotent-Replayed" = String, description = "`true` where the key was used before"))),
        (status = 400, description = "A malformed Idempotency-Key or body"),
        (status = 404, description = "There is no such collection"),
        (status = 409, description = "It has not failed, or a request with this Idempotency-Key is under way"),
        (status = 422, description = "The body says something, or the Idempotency-Key was used for another request"),
        (status = 503, description = "Not now; come back after `Retry-After`"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn retry(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, RetryError> {
    let (mut parts, body) = request.into_parts();
    let body = body::read(body).await?;
    let found = find(&app, caller.tenant, &mut parts).await?;
    let view = found.map_err(RetryError::NotFound)?;
    let hash = idempotency::hash(&parts.headers)?;
    if let Some(hash) = hash
        && let Some(response) = replay(&app, caller.tenant, hash, view.id, &body).await?
    {
        return Ok(response);
    }
    body::expect_nothing(&body).map_err(RetryError::Body)?;
    if view.status != CollectionStatus::Failed {
        return Err(RetryError::Refused(Refused::Rejected));
    }
    let status = resumed(&view);
    let request = Request::Resume {
        id: view.id,
        tenant: caller.tenant,
        actor: caller.actor,
    };
    let key = hash.map(|hash| key(hash, view.id, &body, status));
    match (ask(&app, request, key).await, hash) {
        (Ok(_), _) => Ok(accepted(&app, view.id, status, false)),
        (Err(Refused::KeyTaken), Some(hash)) => replay(&app, caller.tenant, hash, view.id, &body)
            .await?
            .ok_or(RetryError::Key(Refusal::InUse)),
        (Err(refused), _) => Err(RetryError::Refused(refused)),
    }
}

/// The fingerprint covers what was answered as well, so that it can be answered again.
fn key(hash: [u8; 32], id: CollectionId, body: &[u8], status: CollectionStatus) -> Key {
    let status = status.as_str().as_bytes();
    idempotency::key(hash, &[b"POST retry\0", id.as_bytes(), status, b"\0", body])
}

async fn replay(
    app: &App,
    tenant: TenantId,
    hash: [u8; 32],
    id: CollectionId,
    body: &[u8],
) -> Result<Option<Response>, RetryError> {
    let Some(row) = idempotency::used_for(app, tenant, hash).await? else {
        return Ok(None);
    };
    let answered = [CollectionStatus::Requested, CollectionStatus::Collected]
        .into_iter()
        .find(|status| key(hash, id, body, *status).fingerprint == row.fingerprint);
    let status = answered.ok_or(RetryError::Key(Refusal::Reused))?;
    Ok(Some(accepted(app, id, status, true)))
}

impl From<BodyError> for RetryError {
    fn from(error: BodyError) -> Self {
        Self::Body(error.into())
    }
}

impl From<Malformed> for RetryError {
    fn from(error: Malformed) -> Self {
        Self::MalformedKey(error)
    }
}

impl From<StoreError> for RetryError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RetryError> for Problem {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::NotFound(error) => error.into(),
            RetryError::Body(error) => error.into(),
            RetryError::MalformedKey(error) => error.into(),
            RetryError::Key(refusal) => refusal.into(),
            RetryError::Refused(refused) => refused.into(),
            RetryError::Store(error) => error.into(),
        }
    }
}
