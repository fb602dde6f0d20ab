//! `GET /v1/accounts`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use wellspring_core::AccountId;

use super::AccountBody;
use crate::Caller;
use crate::list::{List, Wanted};
use crate::problem::Problem;
use crate::router::{App, within};

/// Lists accounts, newest first.
///
/// A page may be short and still have a next one.
#[utoipa::path(
    get, path = "/v1/accounts", tag = "accounts", operation_id = "listAccounts",
    params(
        ("external_id" = Option<String>, Query, description = "Only the one that the tenant calls so"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page", body = List<AccountBody>),
        (status = 400, description = "A parameter is wrong"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(request.uri(), &["external_id"]);
    let external_id = wanted.parameters.value("external_id").map(str::to_owned);
    let page = wanted.checked()?;
    let before = page.before.map(AccountId::from_bytes);
    let read = app
        .backend
        .accounts(caller.tenant, external_id, before, page.rows());
    let mut accounts = within(read).await?;
    let next = page.cut(&mut accounts, |account| *account.id.as_bytes());
    accounts.retain(|account| account.erasing.is_none());
    List::response(accounts.into_iter().map(AccountBody::new).collect(), next)
}
