//! `PATCH /v1/sources/{source}`: what the operator sets of a source.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;
use wellspring_core::SourceName;
use wellspring_core::source::{Announced, Input, Patch};
use wellspring_engine::Request;

use super::whole;
use crate::Caller;
use crate::body::{self, Fields, json};
use crate::idempotency::{Asked, Once, replayed};
use crate::path::Place;
use crate::problem::{Fault, Problem, ProblemBody};
use crate::router::App;

/// Switches a source on or off, and announces when it is worked on.
///
/// `maintenance` takes the place of what was announced here before; what the source's file announces stays.
/// A source is everybody's: only the tenant that was there first, which runs the installation, may change it.
#[utoipa::path(
    patch, path = "/v1/sources/{source}", tag = "sources", operation_id = "changeSource",
    params(
        ("source" = String, Path, description = "The source's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours changes nothing again and shows the source as it is"),
    ),
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({"enabled": true, "maintenance": [{"from": "2026-12-01T02:00:00Z", "to": "2026-12-01T04:00:00Z", "reason": "New servers"}, {"every": "Sun 02:00-05:00", "zone": "Europe/Berlin"}]})),
    responses(
        (status = 200, description = "The source as it is now", body = super::SourceBody),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 403, description = "The tenant does not run the installation (`not_the_operator`)"),
        (status = 404, description = "There is no such source"),
        (status = 409, description = "A request with this Idempotency-Key is under way"),
        (status = 413, description = "The body is larger than 1 MiB"),
        (status = 422, description = "The body is not valid, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn patch(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let name: SourceName = Place::of(&mut parts).await.id(0)?;
    let body = body::read(body).await?;
    if !app.intake.knows(&name) {
        return Err(Problem::nothing());
    }
    if app.access.operator() != Some(caller.tenant) {
        let detail = "Only the tenant that was there first, which runs the installation, may change a source";
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "not_the_operator",
            detail,
        ));
    }
    let what: [&[u8]; 3] = [b"PATCH source", name.as_str().as_bytes(), &body];
    let once = Once::new(&app, &caller, &parts.headers, &what)?;
    if once.before(&app).await?.is_some() {
        return json(StatusCode::OK, &whole(&app, &caller, &name).await?).map(replayed);
    }
    let mut faults = Vec::new();
    let mut fields = Fields::read(&body, &mut faults)?;
    let enabled = enabled(fields.take("enabled", &mut faults), &mut faults);
    let windows = windows(&app, fields.take("maintenance", &mut faults), &mut faults);
    fields.finish(&mut faults);
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let patch = Patch { enabled, windows };
    let request = Request::Source {
        name: name.clone(),
        tenant: caller.tenant,
        input: Box::new(Input::Patched(patch, caller.actor)),
    };
    let again = match once.ask(&app, request).await? {
        Asked::Done(_) => false,
        Asked::Again(_) => true,
        Asked::State(_) => return Err(Problem::internal("a source is no connection")),
    };
    let response = json(StatusCode::OK, &whole(&app, &caller, &name).await?)?;
    Ok(if again { replayed(response) } else { response })
}

fn enabled(value: Option<Value>, faults: &mut Vec<Fault>) -> Option<bool> {
    match value {
        None => None,
        Some(Value::Bool(enabled)) => Some(enabled),
        Some(_other) => {
            faults.push(Fault::at("/enabled", "must be true or false"));
            None
        }
    }
}

/// Reads the windows; `null` withdraws all of them.
fn windows(app: &App, value: Option<Value>, faults: &mut Vec<Fault>) -> Option<Vec<Announced>> {
    let items = match value? {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => Some(items).filter(|items| items.len() <= MOST_WINDOWS),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
    };
    let Some(items) = items else {
        let detail = format!("must be a list of at most {MOST_WINDOWS} times of maintenance");
        faults.push(Fault::at("/maintenance", detail));
        return None;
    };
    let now = app.clock.now();
    let mut windows = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        let pointer = format!("/maintenance/{place}");
        match serde_json::from_value::<Announced>(item) {
            Ok(window) if window.span(now).is_some() => windows.push(window),
            Ok(_over) => faults.push(Fault::at(pointer, "is over already")),
            Err(error) => faults.push(Fault::at(pointer, error.to_string())),
        }
    }
    Some(windows)
}

const MOST_WINDOWS: usize = 50;
