//! `PATCH /v1/accounts/{account}`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::StatusCode;
use wellspring_core::Account;
use wellspring_engine::{Aggregate, Request};

use super::{AccountBody, external_id, find, named, present, taken};
use crate::Caller;
use crate::body::{self, Fields, json};
use crate::idempotency::{Asked, Once, replayed};
use crate::path::Place;
use crate::problem::{Problem, ProblemBody};
use crate::router::App;

/// Calls an account something else.
///
/// `null` takes the `external_id` away.
#[utoipa::path(
    patch, path = "/v1/accounts/{account}", tag = "accounts", operation_id = "changeAccount",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours changes nothing again and shows the account as it is"),
    ),
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({"external_id": "user-18"})),
    responses(
        (status = 200, description = "The account as it is now", body = AccountBody),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 404, description = "There is no such account"),
        (status = 409, description = "Another account has this `external_id`, or a request with this Idempotency-Key is under way"),
        (status = 413, description = "The body is larger than 1 MiB"),
        (status = 422, description = "The body is not valid, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn patch(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let body = body::read(body).await?;
    let account = find(&app, &caller, &place).await?;
    let what: [&[u8]; 3] = [b"PATCH account", account.id.as_bytes(), &body];
    let once = Once::new(&app, &caller, &parts.headers, &what)?;
    if once.before(&app).await?.is_some() {
        return json(StatusCode::OK, &AccountBody::new(account)).map(replayed);
    }
    let mut faults = Vec::new();
    let mut fields = Fields::read(&body, &mut faults)?;
    let given = fields.take("external_id", &mut faults);
    let says_nothing = given.is_none();
    let external_id = external_id(given, &mut faults);
    fields.finish(&mut faults);
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    if says_nothing || external_id == account.external_id {
        return json(StatusCode::OK, &AccountBody::new(account));
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
    let request = Request::PatchAccount {
        id: account.id,
        tenant: caller.tenant,
        external_id: external_id.clone(),
        actor: caller.actor,
    };
    let again = match once.ask(&app, request).await? {
        Asked::Done(Aggregate::Account(_)) => false,
        Asked::Again(_) => true,
        Asked::Done(_) | Asked::State(_) => {
            return Err(Problem::internal("an account is no account"));
        }
    };
    let changed = present(&app, caller.tenant, account.id).await?;
    let changed = changed.ok_or_else(Problem::nothing)?;
    if again {
        return json(StatusCode::OK, &AccountBody::new(changed)).map(replayed);
    }
    let changed = Account {
        external_id,
        ..changed
    };
    json(StatusCode::OK, &AccountBody::new(changed))
}
