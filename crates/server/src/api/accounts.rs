//! `/v1/accounts`: the end users of a tenant.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use utoipa::ToSchema;
use wellspring_core::{Account, AccountId, TenantId};
use wellspring_engine::StoreError;

use crate::Caller;
use crate::body::json;
use crate::path::Place;
use crate::problem::{Fault, Problem};
use crate::router::{App, within};

pub(crate) mod create;
pub(crate) mod erase;
pub(crate) mod list;
pub(crate) mod patch;

/// An end user of the tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountBody {
    /// Its id.
    id: String,
    /// What the tenant calls it.
    external_id: Option<String>,
    /// When it was made.
    created_at: String,
}

/// Shows an account.
#[utoipa::path(
    get, path = "/v1/accounts/{account}", tag = "accounts", operation_id = "showAccount",
    params(("account" = String, Path, description = "The account's id")),
    responses(
        (status = 200, description = "The account", body = AccountBody),
        (status = 404, description = "There is no such account"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let account = find(&app, &caller, &place).await?;
    json(StatusCode::OK, &AccountBody::new(account))
}

/// Returns the account that a path begins with, if it is the caller's to see.
pub(crate) async fn find(app: &App, caller: &Caller, place: &Place) -> Result<Account, Problem> {
    let id = place.id::<AccountId>(0)?;
    if !caller.reaches(id) {
        return Err(Problem::nothing());
    }
    let account = present(app, caller.tenant, id).await?;
    account.ok_or_else(Problem::nothing)
}

/// Returns an account of the tenant, unless its erasure has begun: then it is gone for everybody.
pub(crate) async fn present(
    app: &App,
    tenant: TenantId,
    id: AccountId,
) -> Result<Option<Account>, StoreError> {
    let account = within(app.backend.account(tenant, id)).await?;
    Ok(account.filter(|account| account.erasing.is_none()))
}

/// Returns the account that the tenant calls so.
pub(crate) async fn named(
    app: &App,
    tenant: TenantId,
    external_id: &str,
) -> Result<Option<Account>, StoreError> {
    // One that is being erased may still have the name beside the one that has it now.
    let named = app
        .backend
        .accounts(tenant, Some(external_id.to_owned()), None, MOST_ERASED);
    let mut named = within(named).await?.into_iter();
    Ok(named.find(|account| account.erasing.is_none()))
}

/// Names that are being given: the second of two at once finds what the first has made.
#[derive(Debug, Default)]
pub(crate) struct Naming([Mutex<()>; 16]);

impl Naming {
    pub(crate) async fn hold(&self, tenant: TenantId, external_id: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (tenant, external_id).hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % 16).unwrap_or(0);
        self.0[place].lock().await
    }
}

impl AccountBody {
    pub(crate) fn new(account: Account) -> Self {
        Self {
            id: account.id.to_string(),
            external_id: account.external_id,
            created_at: account.created_at.to_string(),
        }
    }
}

/// Reads what the tenant calls an account; `null` takes the name away.
fn external_id(value: Option<Value>, faults: &mut Vec<Fault>) -> Option<String> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if is_name(&text, LONGEST_NAME) => Some(text),
        Some(_other) => {
            let detail = "must be null or 1 to 200 characters without control characters";
            faults.push(Fault::at("/external_id", detail));
            None
        }
    }
}

/// Returns whether the text is fit for a name of at most `longest` characters.
pub(crate) fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn taken() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "external_id_taken",
        "Another account has this external_id",
    )
}

const LONGEST_NAME: usize = 200;
const MOST_ERASED: usize = 20;
