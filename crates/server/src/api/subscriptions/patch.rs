//! `PATCH /v1/subscriptions/{s}`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use super::{SubscriptionBody, description, find, patterns, url};
use crate::Caller;
use crate::body::{self, Fields, json};
use crate::problem::{Fault, Problem, ProblemBody};
use crate::router::App;
use crate::subscriptions::SubscriptionPatch;

/// Changes what the body names of a subscription (RFC 7396).
///
/// `"enabled": true` also takes up one again that the server disabled; it goes on where it stopped.
#[utoipa::path(
    patch, path = "/v1/subscriptions/{subscription}", tag = "subscriptions", operation_id = "changeSubscription",
    params(("subscription" = String, Path, description = "The subscription's id")),
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({"url": "https://example.com/hooks/2", "enabled": true})),
    responses(
        (status = 200, description = "The subscription as it is now", body = SubscriptionBody),
        (status = 400, description = "Not JSON"),
        (status = 404, description = "There is no such subscription"),
        (status = 409, description = "Others changed it meanwhile"),
        (status = 422, description = "The body is not valid, with an entry for each fault", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn patch(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let row = find(&app, &caller, &mut parts).await?;
    let patch = read(&app, &body::read(body).await?).await?;
    let row = app
        .subscriptions
        .patch(caller.tenant, row.id, patch)
        .await?;
    let secrets = app.subscriptions.secrets(&row)?;
    json(StatusCode::OK, &SubscriptionBody::new(&app, &row, &secrets))
}

async fn read(app: &App, body: &[u8]) -> Result<SubscriptionPatch, Problem> {
    let mut faults = Vec::new();
    let mut fields = Fields::read(body, &mut faults)?;
    let mut patch = SubscriptionPatch::default();
    if let Some(value) = fields.take("patterns", &mut faults) {
        patch.patterns = Some(patterns(Some(value), &mut faults));
    }
    if let Some(value) = fields.take("description", &mut faults) {
        patch.description = Some(description(value, &mut faults));
    }
    match fields.take("enabled", &mut faults) {
        None => {}
        Some(Value::Bool(enabled)) => patch.enabled = Some(enabled),
        Some(_other) => faults.push(Fault::at("/enabled", "must be true or false")),
    }
    let target = fields.take("url", &mut faults);
    fields.finish(&mut faults);
    if target.is_some() {
        patch.url = url(app, target, &mut faults).await;
    }
    if faults.is_empty() {
        Ok(patch)
    } else {
        Err(Problem::invalid(faults))
    }
}
