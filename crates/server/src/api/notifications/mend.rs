//! `/mend/{token}`: from a message to the page on which the person mends the connection.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{CACHE_CONTROL, REFERRER_POLICY};
use http::{HeaderValue, StatusCode};
use wellspring_core::{Access, Connection, ConnectionState, Timestamp};
use wellspring_engine::{Loaded, TokenKind, TokenRecord};

use super::unsubscribe::page;
use crate::address_book::mending;
use crate::api::accounts::present;
use crate::api::tokens::{Given, TokenError, give};
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

/// Leads to the connect page of a connection that needs its person, with a token of the hour.
#[utoipa::path(
    get, path = "/mend/{token}", tag = "notifications", operation_id = "mend",
    params(("token" = String, Path, description = "The token of the link")),
    responses(
        (status = 303, description = "To the connect page"),
        (status = 404, description = "There is no such link, it is older than two weeks, or the connection or its account is gone, disabled or being erased"),
        (status = 410, description = "A page that says that nothing is to be mended any more", body = String, content_type = "text/html"),
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
    let there = present(&app, connection.tenant, account).await?;
    there.ok_or_else(Problem::nothing)?;
    let needs =
        connection.access == Access::ReauthRequired || connection.open_interaction().is_some();
    if !needs {
        let words = "<p>This connection works, or is being tried: nothing is left to do here.</p>";
        let mut response = page("Nothing to mend", words);
        *response.status_mut() = StatusCode::GONE;
        return Ok(response);
    }
    let token = token(&app, &connection, &text, now).await?;
    let to = format!("{}/connect/{token}", app.public_url);
    let mut response = Redirect::to(&to).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// Gives the same token for a link within an hour until it is spent, so that anybody who opens the
/// link again and again makes one row of it.
async fn token(
    app: &App,
    connection: &Connection,
    link: &str,
    now: Timestamp,
) -> Result<String, TokenError> {
    let hour = i64::try_from(HOUR.as_millis()).unwrap_or(i64::MAX);
    let begun = Timestamp::from_millis(now.as_millis().div_euclid(hour).saturating_mul(hour));
    let mut turn = 0_u8;
    loop {
        let said = [link.as_bytes(), &begun.as_millis().to_be_bytes(), &[turn]].concat();
        let key = app.access.vault().keyed_hash(b"mend link", &said);
        let record = TokenRecord {
            // `give` knows the token.
            hash: [0; 32],
            tenant: connection.tenant,
            account: connection.account,
            kind: TokenKind::Connect,
            connection: Some(connection.id),
            source: None,
            return_url: None,
            created_at: begun,
            // It is good for an hour at least, however late in this one it is.
            expires_at: begun.after(HOUR * 2),
            spent_at: None,
        };
        let Given { token, record, .. } = give(app, record, Some(key)).await?;
        turn = turn.saturating_add(1);
        if record.spent_at.is_none() || turn >= MOST {
            return Ok(token);
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
/// How often within an hour a link leads to a page that was not opened yet.
const MOST: u8 = 8;
