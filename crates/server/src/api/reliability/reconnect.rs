//! `POST /api/reliability/connections/{connection}/reconnect`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use wellspring_core::{Connection, ConnectionState};
use wellspring_engine::{TokenKind, TokenRecord};

use super::Asked;
use super::connections::requires_reauth;
use crate::Caller;
use crate::api::tokens::{Given, give};
use crate::body::{self, json};
use crate::idempotency::{self, replayed};
use crate::path::Place;
use crate::problem::Problem;
use crate::router::App;

/// A link by which the person mends the connection in place.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReconnectBody {
    success: bool,
    message: &'static str,
    connection_id: String,
    institution_name: String,
    /// The token in the link; it is shown only now.
    link_token: String,
    /// The link for the person; the connection keeps its id and its history.
    link_url: String,
    /// When the link ends.
    expires_at: String,
}

/// Gives a link to the connect page, where the person gives other credentials or agrees again.
#[utoipa::path(
    post, path = "/api/reliability/connections/{connection}/reconnect", tag = "reliability", operation_id = "reconnect",
    params(
        ("connection" = String, Path, description = "The connection's id"),
        ("account" = Option<String>, Query, description = "With an API key: whose connection it must be"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same link, as long as it is kept"),
    ),
    responses(
        (status = 201, description = "The link", body = ReconnectBody),
        (status = 404, description = "There is no such connection"),
        (status = 409, description = "The connection works (`reauth_not_required`), or is disabled (`connection_disabled`)"),
        (status = 422, description = "A parameter is wrong, or the body says something"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn reconnect(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let body = body::read(body).await?;
    body::expect_nothing(&body)?;
    let asked = Asked::read(&parts.uri, &[]);
    let connection = asked.connection(&app, &caller, &place).await?;
    let key = idempotency::hash(&parts.headers)?;
    let key = key.map(|key| own_key(key, &connection));
    if let Some(problem) = refusal(&connection) {
        return Err(problem);
    }
    let now = app.clock.now();
    let record = TokenRecord {
        // `give` knows the token.
        hash: [0; 32],
        tenant: connection.tenant,
        account: connection.account,
        kind: TokenKind::Connect,
        connection: Some(connection.id),
        source: None,
        return_url: None,
        created_at: now,
        expires_at: now.after(LINK),
        spent_at: None,
    };
    let given = give(&app, record, key).await?;
    let Given {
        token,
        record,
        is_replay,
    } = given;
    let body = ReconnectBody {
        success: true,
        message: "Open the link to mend the connection",
        connection_id: connection.id.to_string(),
        institution_name: connection.source.to_string(),
        link_url: format!("{}/connect/{token}", app.public_url),
        link_token: token,
        expires_at: record.expires_at.to_string(),
    };
    let mut response = json(StatusCode::CREATED, &body)?;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(if is_replay {
        replayed(response)
    } else {
        response
    })
}

fn refusal(connection: &Connection) -> Option<Problem> {
    let refuse = |code, detail| Some(Problem::new(StatusCode::CONFLICT, code, detail));
    if connection.state() == ConnectionState::Disabled {
        let detail = "The connection is disabled: enable it first";
        return refuse("connection_disabled", detail);
    }
    if requires_reauth(connection) {
        return None;
    }
    let detail = "The source takes the credentials: there is nothing that the person has to mend";
    refuse("reauth_not_required", detail)
}

/// What one person's client calls its requests is nothing to another's.
fn own_key(key: [u8; 32], connection: &Connection) -> [u8; 32] {
    let digest = Sha256::new()
        .chain_update(b"reconnect")
        .chain_update(key)
        .chain_update(connection.id.as_bytes());
    digest.finalize().into()
}

/// As long as the API that this one speaks like has it.
const LINK: Duration = Duration::from_secs(86_400);
