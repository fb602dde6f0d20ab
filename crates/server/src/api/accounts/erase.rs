//! `DELETE /v1/accounts/{account}`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use wellspring_engine::Request;

use super::find;
use crate::Caller;
use crate::ask::ask;
use crate::body;
use crate::path::Place;
use crate::problem::Problem;
use crate::router::App;

/// Erases everything of an account: connections, credentials, documents.
///
/// From the answer on all of it is gone for whoever asks; the bytes follow by themselves, through any crash.
/// The log keeps that it was there and that it was erased.
#[utoipa::path(
    delete, path = "/v1/accounts/{account}", tag = "accounts", operation_id = "eraseAccount",
    params(("account" = String, Path, description = "The account's id")),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "There is no such account"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn erase(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let account = find(&app, &caller, &place).await?;
    let request = Request::EraseAccount {
        id: account.id,
        tenant: caller.tenant,
        actor: caller.actor,
    };
    ask(&app, request, None).await?;
    Ok(body::nothing())
}
