//! `POST /v1/accounts`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use wellspring_core::{Account, AccountId};
use wellspring_engine::{Aggregate, Request};

use super::{AccountBody, external_id, named, present, taken};
use crate::Caller;
use crate::body::{self, Fields};
use crate::idempotency::{Asked, Once, Refusal, replayed};
use crate::problem::{Problem, ProblemBody};
use crate::router::App;

/// Makes an account.
///
/// An `external_id` belongs to one account at a time.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "accounts", operation_id = "createAccount",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours makes nothing again and shows the account as it is")),
    request_body(content = Object, description = "`external_id`: what the tenant calls it", example = json!({"external_id": "user-17"})),
    responses(
        (status = 201, description = "The account", body = AccountBody, headers(("Location" = String, description = "Where it is"), ("Idempotent-Replayed" = String, description = "`true` where the key was used before")), example = json!({"id": "acct_0193b8a1c2d37a4b9e0f1a2b3c4d5e6f", "external_id": "user-17", "created_at": "2026-11-21T09:30:00.000Z"})),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 409, description = "Another account has this `external_id`, or a request with this Idempotency-Key is under way"),
        (status = 413, description = "The body is larger than 1 MiB"),
        (status = 422, description = "The body is not valid, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn create(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = body::read(body).await?;
    let once = Once::new(&app, &caller, &parts.headers, &[b"POST accounts", &body])?;
    if let Some(id) = once.before(&app).await? {
        return again(&app, &caller, id).await;
    }
    let mut faults = Vec::new();
    let mut fields = Fields::read_or_empty(&body, &mut faults)?;
    let external_id = external_id(fields.take("external_id", &mut faults), &mut faults);
    fields.finish(&mut faults);
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let _held = match &external_id {
        Some(name) => {
            let held = app.naming.hold(caller.tenant, name).await;
            if named(&app, caller.tenant, name).await?.is_some() {
                return Err(taken());
            }
            Some(held)
        }
        None => None,
    };
    let request = Request::CreateAccount {
        id: None,
        tenant: caller.tenant,
        external_id: external_id.clone(),
        actor: caller.actor,
    };
    match once.ask(&app, request).await? {
        Asked::Done(Aggregate::Account(id)) => {
            let made = present(&app, caller.tenant, id).await?;
            // Another node may yet have to make what it has promised.
            let made = made.unwrap_or_else(|| Account {
                id,
                tenant: caller.tenant,
                external_id,
                created_at: app.clock.now(),
                version: 1,
                erasing: None,
            });
            created(&app, made)
        }
        Asked::Again(id) => again(&app, &caller, id).await,
        Asked::Done(_) | Asked::State(_) => Err(Problem::internal("an account is no account")),
    }
}

async fn again(app: &App, caller: &Caller, id: Aggregate) -> Result<Response, Problem> {
    match id {
        Aggregate::Account(id) => {
            let account = present(app, caller.tenant, id).await?;
            let account = account.ok_or_else(Problem::nothing)?;
            created(app, account).map(replayed)
        }
        Aggregate::Collection(_) | Aggregate::Connection(_) | Aggregate::Source(_) => {
            Err(Refusal::Reused.into())
        }
    }
}

fn created(app: &App, account: Account) -> Result<Response, Problem> {
    let path = path(account.id);
    body::created(app, &path, &AccountBody::new(account))
}

fn path(id: AccountId) -> String {
    format!("/v1/accounts/{id}")
}
