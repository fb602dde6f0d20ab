//! `POST /v1/accounts/{account}/connections/{connection}/fetch`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::StatusCode;
use wellspring_core::ConnectionState;
use wellspring_engine::Request;

use super::{ConnectionBody, afresh, answer, find};
use crate::Caller;
use crate::body;
use crate::idempotency::{Asked, Once, replayed};
use crate::path::Place;
use crate::problem::Problem;
use crate::router::App;
use crate::traced;

/// Has a connection fetched now.
///
/// Where a fetch is under way that one is meant, and nothing more is begun.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/connections/{connection}/fetch", tag = "connections", operation_id = "fetchConnection",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours begins nothing again and shows the connection as it is"),
    ),
    responses(
        (status = 202, description = "It is fetched", body = ConnectionBody),
        (status = 400, description = "A malformed Idempotency-Key or body"),
        (status = 404, description = "There is no such connection"),
        (status = 409, description = "A question is open, or the connection is disabled (`fetch_refused`); or a request with this Idempotency-Key is under way"),
        (status = 422, description = "The body says something, or the Idempotency-Key was used for another request"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn fetch(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let body = body::read(body).await?;
    let connection = find(&app, &caller, &place).await?;
    let what: [&[u8]; 3] = [b"POST fetch", connection.id.as_bytes(), &body];
    let once = Once::new(&app, &caller, &parts.headers, &what)?;
    if once.before(&app).await?.is_some() {
        return answer(&app, StatusCode::ACCEPTED, connection)
            .await
            .map(replayed);
    }
    body::expect_nothing(&body)?;
    let request = Request::Connection {
        id: connection.id,
        tenant: connection.tenant,
        wish: traced::fetch(&parts.headers),
        actor: caller.actor,
    };
    let asked = once.ask(&app, request).await?;
    let again = matches!(asked, Asked::Again(_));
    if let Asked::State(rejected) = asked
        && let Some(problem) = refusal(rejected.from)
    {
        return Err(problem);
    }
    let connection = afresh(&app, connection).await?;
    let response = answer(&app, StatusCode::ACCEPTED, connection).await?;
    Ok(if again { replayed(response) } else { response })
}

/// Returns why a connection of this state is not fetched; `None` where a fetch is under way.
pub(crate) fn refusal(state: ConnectionState) -> Option<Problem> {
    let detail = match state {
        ConnectionState::Question => {
            "The connection is in state `question`: answer what is asked, or cancel the question, and the fetch goes on or ends"
        }
        ConnectionState::Disabled => {
            "The connection is in state `disabled`: enable it, and it can be fetched"
        }
        ConnectionState::Created
        | ConnectionState::Waiting
        | ConnectionState::Connecting
        | ConnectionState::Answered
        | ConnectionState::Uploading
        | ConnectionState::Completed
        | ConnectionState::Retrying
        | ConnectionState::Manual
        | ConnectionState::Error => return None,
    };
    let status = StatusCode::CONFLICT;
    Some(Problem::new(status, "fetch_refused", detail))
}
