//! `POST /v1/subscriptions/{s}/secret/rotate`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;

use super::{SubscriptionBody, answer, find};
use crate::Caller;
use crate::body;
use crate::idempotency;
use crate::problem::Problem;
use crate::router::App;

/// Replaces the secret; for 24 hours messages are signed with both.
#[utoipa::path(
    post, path = "/v1/subscriptions/{subscription}/secret/rotate", tag = "subscriptions", operation_id = "rotateSubscriptionSecret",
    params(
        ("subscription" = String, Path, description = "The subscription's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours rotates nothing again and shows the secret as it is"),
    ),
    responses(
        (status = 200, description = "The subscription, with its new secret", body = SubscriptionBody, headers(("Idempotent-Replayed" = String, description = "`true` where the key was used before"))),
        (status = 400, description = "A malformed Idempotency-Key or body"),
        (status = 404, description = "There is no such subscription"),
        (status = 422, description = "The body says something"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn rotate(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let row = find(&app, &caller, &mut parts).await?;
    let key = idempotency::hash(&parts.headers)?;
    body::expect_nothing(&body::read(body).await?)?;
    let opened = app.subscriptions.rotate(caller.tenant, row.id, key).await?;
    answer(&app, StatusCode::OK, &opened)
}
