//! `/mend/{token}`: from a message to the page on which the person mends the connection.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, REFERRER_POLICY};
use wellspring_core::ConnectionState;
use wellspring_engine::{Loaded, TokenKind, TokenRecord};

use crate::address_book::mending;
use crate::api::tokens::{Given, give};
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

/// Leads to the connect page of a connection, with a token of the hour.
#[utoipa::path(
    get, path = "/mend/{token}", tag = "notifications", operation_id = "mend",
    params(("token" = String, Path, description = "The token of the link")),
    responses(
        (status = 303, description = "To the connect page"),
        (status = 404, description = "There is no such link, it is older than two weeks, or the connection is gone or disabled"),
    ),
)]
pub(crate) async fn show(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let text: String = Place::of(&mut parts).await.id(0)?;
    let now = app.clock.now();
    let (account, id, until) = mending(app.access.vault(), &text).ok_or_else(Problem::nothing)?;
    let found = within(app.backend.load(vec![id.into()])).await?;
    let connection = found.into_iter().find_map(|loaded| match loaded {
        Loaded::Connection(connection) => Some(connection),
        Loaded::Collection(_) | Loaded::Account(_) | Loaded::Source(_) => None,
    });
    let connection = connection.filter(|connection| {
        connection.account == account && connection.state() != ConnectionState::Disabled
    });
    let connection = connection.filter(|_| now < until);
    let connection = connection.ok_or_else(Problem::nothing)?;
    let record = TokenRecord {
        // `give` knows the token.
        hash: [0; 32],
        tenant: connection.tenant,
        account,
        kind: TokenKind::Connect,
        connection: Some(id),
        source: None,
        return_url: None,
        created_at: now,
        expires_at: now.after(LINK),
        spent_at: None,
    };
    let Given { token, .. } = give(&app, record, None).await?;
    let to = format!("{}/connect/{token}", app.public_url);
    let mut response = Redirect::to(&to).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

const LINK: Duration = Duration::from_secs(3_600);
