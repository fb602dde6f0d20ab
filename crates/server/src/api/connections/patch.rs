//! `PATCH /v1/accounts/{account}/connections/{connection}`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::StatusCode;
use wellspring_core::Connection;
use wellspring_core::connection::Patch;
use wellspring_engine::{Request, Wish};

use super::fields::{Set, switch};
use super::{ConnectionBody, afresh, answer, find};
use crate::Caller;
use crate::ask::Refused;
use crate::body::{self, Fields};
use crate::idempotency::{Asked, Once, replayed};
use crate::path::Place;
use crate::problem::{Problem, ProblemBody};
use crate::router::App;

/// Changes what the body names of a connection (RFC 7396).
///
/// `null` removes a setting: the source's schedule and gaps, and the defaults, then hold again.
/// Disabling ends the fetch under way and closes its question; enabling brings it back to rest.
#[utoipa::path(
    patch, path = "/v1/accounts/{account}/connections/{connection}", tag = "connections", operation_id = "changeConnection",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours changes nothing again and shows the connection as it is"),
    ),
    request_body(content = Object, content_type = "application/merge-patch+json", description = "`label`, `schedule`, `slow_plan`, `on_question_expired`, `start_date`, `enabled`, `paused`", example = json!({"label": null, "schedule": {"cron": "0 6 * * *", "timezone": "Europe/Berlin"}, "paused": true})),
    responses(
        (status = 200, description = "The connection as it is now", body = ConnectionBody),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 404, description = "There is no such connection"),
        (status = 409, description = "A request with this Idempotency-Key is under way"),
        (status = 413, description = "The body is larger than 1 MiB"),
        (status = 422, description = "The body is not valid, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn patch(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let body = body::read(body).await?;
    let connection = find(&app, &caller, &place).await?;
    let what: [&[u8]; 3] = [b"PATCH connection", connection.id.as_bytes(), &body];
    let once = Once::new(&app, &caller, &parts.headers, &what)?;
    if once.before(&app).await?.is_some() {
        return answer(&app, StatusCode::OK, connection).await.map(replayed);
    }
    let patch = read(&app, &connection, &body)?;
    let request = Request::Connection {
        id: connection.id,
        tenant: connection.tenant,
        wish: Wish::Patch(Box::new(patch)),
        actor: caller.actor,
    };
    match once.ask(&app, request).await? {
        Asked::Done(_) => {
            let connection = afresh(&app, connection).await?;
            answer(&app, StatusCode::OK, connection).await
        }
        Asked::Again(_) => {
            let connection = afresh(&app, connection).await?;
            answer(&app, StatusCode::OK, connection).await.map(replayed)
        }
        Asked::State(rejected) => Err(Refused::State(rejected).into()),
    }
}

fn read(app: &App, connection: &Connection, body: &[u8]) -> Result<Patch, Problem> {
    let mut faults = Vec::new();
    let mut fields = Fields::read(body, &mut faults)?;
    let set = Set::take(&mut fields, &mut faults);
    let enabled = switch(&mut fields, "enabled", &mut faults);
    let paused = switch(&mut fields, "paused", &mut faults);
    fields.finish(&mut faults);
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let of_source = || {
        let source = app.intake.source(&connection.source)?;
        source.connections.map(|defaults| defaults.schedule)
    };
    Ok(Patch {
        enabled,
        paused,
        ..set.patch(of_source)
    })
}
