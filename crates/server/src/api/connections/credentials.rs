//! `PUT /v1/accounts/{account}/connections/{connection}/credentials`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;
use wellspring_core::Connection;
use wellspring_core::connection::CredentialsFrom;
use wellspring_engine::{Request, Wish};
use wellspring_vault::context;

use super::fields::Credentials;
use super::{ConnectionBody, afresh, answer, find};
use crate::Caller;
use crate::ask::Refused;
use crate::body::{self, Fields};
use crate::idempotency::{Asked, Once, replayed};
use crate::path::Place;
use crate::problem::{Problem, ProblemBody};
use crate::router::App;

/// Replaces the credentials of a connection, and fetches with them.
///
/// `credentials` is an object with a text for each of the source's `credential_fields`.
/// From the tenant they count at once; from the connect page that repairs the connection they count once they work, and until then everything can be put back.
#[utoipa::path(
    put, path = "/v1/accounts/{account}/connections/{connection}/credentials", tag = "connections", operation_id = "replaceCredentials",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours replaces nothing again and shows the connection as it is"),
    ),
    request_body(content = Object, example = json!({"credentials": {"user": "user", "password": "ok"}})),
    responses(
        (status = 202, description = "It is fetched with them", body = ConnectionBody),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 404, description = "There is no such connection"),
        (status = 409, description = "A request with this Idempotency-Key is under way"),
        (status = 413, description = "The body is larger than 1 MiB"),
        (status = 422, description = "The credentials do not fit the source, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn replace(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let body = body::read(body).await?;
    let connection = find(&app, &caller, &place).await?;
    let what: [&[u8]; 3] = [b"PUT credentials", connection.id.as_bytes(), &body];
    let once = Once::new(&app, &caller, &parts.headers, &what)?;
    if once.before(&app).await?.is_some() {
        return answer(&app, StatusCode::ACCEPTED, connection)
            .await
            .map(replayed);
    }
    let credentials = read(&app, &connection, &body)?;
    let context = context::credentials(connection.id.as_bytes());
    let request = Request::Connection {
        id: connection.id,
        tenant: connection.tenant,
        wish: Wish::Credentials {
            credentials: credentials.seal(app.access.vault(), &context),
            from: origin(&caller),
        },
        actor: caller.actor,
    };
    let again = match once.ask(&app, request).await? {
        Asked::Done(_) => false,
        Asked::Again(_) => true,
        Asked::State(rejected) => return Err(Refused::State(rejected).into()),
    };
    let connection = afresh(&app, connection).await?;
    let response = answer(&app, StatusCode::ACCEPTED, connection).await?;
    Ok(if again { replayed(response) } else { response })
}

/// What a page repairs is put back when the person walks away.
fn origin(caller: &Caller) -> CredentialsFrom {
    let page = caller.page.as_ref();
    match page.and_then(|page| page.connection) {
        Some(_repaired) => CredentialsFrom::Repair,
        None => CredentialsFrom::Tenant,
    }
}

fn read(app: &App, connection: &Connection, body: &[u8]) -> Result<Credentials, Problem> {
    let source = app.intake.source(&connection.source);
    let Some(defaults) = source.and_then(|source| source.connections) else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "source_not_configured",
            "The connection's source is not configured at present",
        ));
    };
    let mut faults = Vec::new();
    let mut fields = Fields::read(body, &mut faults)?;
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    // None at all are as wrong as none of the fields.
    let given = fields.take("credentials", &mut faults);
    let given = given.unwrap_or(Value::Null);
    let wanted = &defaults.credential_fields;
    let credentials = Credentials::read(given, wanted, "/credentials", &mut faults);
    fields.finish(&mut faults);
    credentials
        .filter(|_| faults.is_empty())
        .ok_or_else(|| Problem::invalid(faults))
}
