//! `DELETE /v1/accounts/{account}/connections/{connection}`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use wellspring_engine::{Request, Wish};

use super::find;
use crate::Caller;
use crate::ask::ask;
use crate::body;
use crate::path::Place;
use crate::problem::Problem;
use crate::router::App;

/// Deletes a connection with its credentials, its fetches and its questions.
///
/// An open question is closed first, with its change.
/// The documents stay, for they are the account's and go with it.
#[utoipa::path(
    delete, path = "/v1/accounts/{account}/connections/{connection}", tag = "connections", operation_id = "deleteConnection",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
    ),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "There is no such connection"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn delete(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let connection = find(&app, &caller, &place).await?;
    let request = Request::Connection {
        id: connection.id,
        tenant: connection.tenant,
        wish: Wish::Delete,
        actor: caller.actor,
    };
    ask(&app, request, None).await?;
    Ok(body::nothing())
}
