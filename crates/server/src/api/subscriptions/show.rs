//! `GET /v1/subscriptions/{s}`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;

use super::{SubscriptionBody, find, health};
use crate::Caller;
use crate::body::json;
use crate::problem::Problem;
use crate::router::App;

/// Shows a subscription and how its endpoint does.
#[utoipa::path(
    get, path = "/v1/subscriptions/{subscription}", tag = "subscriptions", operation_id = "showSubscription",
    params(("subscription" = String, Path, description = "The subscription's id")),
    responses(
        (status = 200, description = "The subscription", body = SubscriptionBody),
        (status = 404, description = "There is no such subscription"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let row = find(&app, &caller, &mut parts).await?;
    let secrets = app.subscriptions.secrets(&row)?;
    let health = health(&app, row.id).await?;
    let body = SubscriptionBody::new(&app, &row, &secrets).with_health(health);
    json(StatusCode::OK, &body)
}
