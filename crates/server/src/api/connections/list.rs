//! `GET /v1/accounts/{account}/connections`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use futures_util::future::try_join_all;
use wellspring_core::ConnectionId;

use super::{ConnectionBody, accounts, body};
use crate::Caller;
use crate::list::{List, Wanted};
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

/// Lists the connections of an account, newest first.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/connections", tag = "connections", operation_id = "listConnections",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page", body = List<ConnectionBody>),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "There is no such account"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let account = accounts::find(&app, &caller, &place).await?;
    let page = Wanted::read(&parts.uri, &[]).checked()?;
    let before = page.before.map(ConnectionId::from_bytes);
    let read = app
        .backend
        .connections(account.tenant, account.id, before, page.rows());
    let mut connections = within(read).await?;
    let next = page.cut(&mut connections, |connection| *connection.id.as_bytes());
    let bodies = connections
        .into_iter()
        .map(|connection| body(&app, connection));
    List::response(try_join_all(bodies).await?, next)
}
