//! `/v1/callback-secret`: what callbacks are signed with.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::{self, BodyError, NotEmpty, json};
use crate::idempotency::{self, Malformed, REPLAYED};
use crate::problem::Problem;
use crate::router::App;
use crate::{AccessError, Caller, SecretView};

/// The secret that callbacks are signed with.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretBody {
    /// The present secret.
    secret: String,
    /// Until when callbacks are signed with the one before as well.
    previous_expires_at: Option<String>,
}

/// Why the secret is not shown or rotated.
#[derive(Debug)]
pub(crate) enum SecretError {
    Body(NotEmpty),
    MalformedKey(Malformed),
    Access(AccessError),
    Answer(Problem),
}

/// Shows the secret that callbacks are signed with.
#[utoipa::path(
    get, path = "/v1/callback-secret", tag = "settings", operation_id = "showCallbackSecret",
    responses((status = 200, description = "The secret", body = SecretBody)),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    _request: Request,
) -> Result<Response, SecretError> {
    let unknown = || AccessError::UnknownTenant(caller.tenant.to_string());
    let secret = app.access.secret(caller.tenant).ok_or_else(unknown);
    answer(secret.map_err(SecretError::Access)?)
}

/// Replaces the secret; for 24 hours callbacks are signed with both.
#[utoipa::path(
    post, path = "/v1/callback-secret/rotate", tag = "settings", operation_id = "rotateCallbackSecret",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours rotates nothing again and shows the secret as it is")),
    responses(
        (status = 200, description = "The new secret", body = SecretBody, headers(("Idempotent-Replayed" = String, description = "`true` where the key was used before"))),
        (status = 400, description = "A malformed Idempotency-Key or body"),
        (status = 422, description = "The body says something"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn rotate(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, SecretError> {
    let (parts, body) = request.into_parts();
    let key = idempotency::hash(&parts.headers)?;
    body::expect_nothing(&body::read(body).await?).map_err(SecretError::Body)?;
    let rotated = app.access.rotate_secret(caller.tenant, key).await;
    let rotated = rotated.map_err(SecretError::Access)?;
    let mut response = answer(rotated.secret)?;
    if rotated.replayed {
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, yes);
    }
    Ok(response)
}

fn answer(view: SecretView) -> Result<Response, SecretError> {
    let body = SecretBody {
        secret: view.secret,
        previous_expires_at: view.previous_expires_at.map(|at| at.to_string()),
    };
    let mut response = json(StatusCode::OK, &body).map_err(SecretError::Answer)?;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}

impl From<BodyError> for SecretError {
    fn from(error: BodyError) -> Self {
        Self::Body(error.into())
    }
}

impl From<Malformed> for SecretError {
    fn from(error: Malformed) -> Self {
        Self::MalformedKey(error)
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Body(error) => error.into(),
            SecretError::MalformedKey(error) => error.into(),
            SecretError::Access(error) => error.into(),
            SecretError::Answer(problem) => problem,
        }
    }
}
