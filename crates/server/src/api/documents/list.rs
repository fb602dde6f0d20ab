//! `GET /v1/documents` and `GET /v1/accounts/{account}/connections/{connection}/documents`.

use std::collections::{BTreeMap, btree_map};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use wellspring_core::{AccountId, ConnectionId, DocumentId};

use super::DocumentBody;
use crate::Caller;
use crate::api::accounts::present;
use crate::api::connections;
use crate::list::{List, Page, Wanted};
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

/// Lists documents, newest first.
///
/// A page may be short and still have a next one.
#[utoipa::path(
    get, path = "/v1/documents", tag = "documents", operation_id = "listDocuments",
    params(
        ("account" = Option<String>, Query, description = "Only those of this account"),
        ("connection" = Option<String>, Query, description = "Only those of this connection"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page", body = List<DocumentBody>),
        (status = 400, description = "A parameter is wrong"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let mut wanted = Wanted::read(request.uri(), &["account", "connection"]);
    let account = filter::<AccountId>(&mut wanted, "account", "is not the id of an account");
    let connection = filter(&mut wanted, "connection", "is not the id of a connection");
    let page = wanted.checked()?;
    match (account, caller.account) {
        // Somebody else's are none.
        (Some(asked), Some(own)) if asked != own => {
            List::<DocumentBody>::response(Vec::new(), None)
        }
        (asked, own) => documents(&app, &caller, (asked.or(own), connection), page).await,
    }
}

/// Lists the documents of a connection, newest first.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/connections/{connection}/documents", tag = "documents", operation_id = "listConnectionDocuments",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page", body = List<DocumentBody>),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "There is no such connection"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn of_connection(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let connection = connections::find(&app, &caller, &place).await?;
    let page = Wanted::read(&parts.uri, &[]).checked()?;
    let of = (Some(connection.account), Some(connection.id));
    documents(&app, &caller, of, page).await
}

fn filter<T: FromStr>(wanted: &mut Wanted, name: &str, detail: &str) -> Option<T> {
    let value = wanted.parameters.value(name)?;
    let read = value.parse().ok();
    if read.is_none() {
        wanted.parameters.fault(name, detail);
    }
    read
}

async fn documents(
    app: &App,
    caller: &Caller,
    of: (Option<AccountId>, Option<ConnectionId>),
    page: Page,
) -> Result<Response, Problem> {
    let before = page.before.map(DocumentId::from_bytes);
    let read = app
        .backend
        .documents(caller.tenant, of, before, page.rows());
    let mut documents = within(read).await?;
    let next = page.cut(&mut documents, |document| *document.id.as_bytes());
    let mut accounts = BTreeMap::new();
    let mut bodies = Vec::with_capacity(documents.len());
    for document in documents {
        let there = match accounts.entry(document.account) {
            btree_map::Entry::Occupied(known) => *known.get(),
            btree_map::Entry::Vacant(unknown) => {
                let account = present(app, caller.tenant, document.account).await?;
                *unknown.insert(account.is_some())
            }
        };
        if there {
            bodies.push(DocumentBody::new(document));
        }
    }
    List::response(bodies, next)
}
