//! `DELETE /v1/subscriptions/{s}`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::find;
use crate::Caller;
use crate::problem::Problem;
use crate::router::App;

/// Removes a subscription with its deliveries; messages in flight may still come.
#[utoipa::path(
    delete, path = "/v1/subscriptions/{subscription}", tag = "subscriptions", operation_id = "deleteSubscription",
    params(("subscription" = String, Path, description = "The subscription's id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such subscription"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn remove(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let row = find(&app, &caller, &mut parts).await?;
    app.subscriptions.remove(caller.tenant, row.id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
