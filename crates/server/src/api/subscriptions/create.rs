//! `POST /v1/subscriptions`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wellspring_vault::SecretKind;

use super::{SubscriptionBody, answer, description, patterns, url};
use crate::Caller;
use crate::body::{self, Fields};
use crate::idempotency;
use crate::problem::{Fault, Problem, ProblemBody};
use crate::router::App;
use crate::subscriptions::{NewSubscription, Once};

/// What is to be pushed, and where to.
// `read` reads it by hand, so that every fault is found; this describes it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubscriptionRequest {
    /// Which changes: 1 to 50 patterns.
    patterns: Vec<String>,
    /// Where to: http or https, without credentials.
    url: String,
    /// What you want to remember of it.
    description: Option<String>,
    /// `hmac`, as it is unless told, or `ed25519`.
    signing: Option<String>,
}

/// Subscribes to changes.
///
/// Every change after the answer is sent, at least once and in order for each connection,
/// collection and account, as a Standard Webhooks message. The answer alone shows the secret.
#[utoipa::path(
    post, path = "/v1/subscriptions", tag = "subscriptions", operation_id = "createSubscription",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours gives the same answer and does nothing again")),
    request_body(content = SubscriptionRequest, example = json!({"patterns": ["UPDATED /accounts/*/connections/*/state/*"], "url": "https://example.com/hooks/wellspring"})),
    responses(
        (status = 201, description = "The subscription, with its secret", body = SubscriptionBody, headers(("Idempotent-Replayed" = String, description = "`true` where the key was used before"))),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 409, description = "There are too many subscriptions"),
        (status = 422, description = "The body is not valid, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn create(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let key = idempotency::hash(&parts.headers)?;
    let body = body::read(body).await?;
    let new = read(&app, &body).await?;
    let once = key.map(|key| Once { key, body: &body });
    let opened = app.subscriptions.create(caller.tenant, new, once).await?;
    answer(&app, StatusCode::CREATED, &opened)
}

async fn read(app: &App, body: &[u8]) -> Result<NewSubscription, Problem> {
    let mut faults = Vec::new();
    let mut fields = Fields::read(body, &mut faults)?;
    let patterns = patterns(fields.take("patterns", &mut faults), &mut faults);
    let target = fields.take("url", &mut faults);
    let said = fields.take("description", &mut faults);
    let description = said.and_then(|value| description(value, &mut faults));
    let signing = match fields.take("signing", &mut faults) {
        None => SecretKind::Hmac,
        Some(Value::String(text)) if text == "hmac" => SecretKind::Hmac,
        Some(Value::String(text)) if text == "ed25519" => SecretKind::Ed25519,
        Some(_other) => {
            faults.push(Fault::at("/signing", "must be `hmac` or `ed25519`"));
            SecretKind::Hmac
        }
    };
    fields.finish(&mut faults);
    let url = url(app, target, &mut faults).await;
    match url {
        Some(url) if faults.is_empty() => Ok(NewSubscription {
            patterns,
            url,
            description,
            signing,
        }),
        Some(_) | None => Err(Problem::invalid(faults)),
    }
}
