//! `/v1/accounts/{a}/push-subscriptions`: a person's browsers.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wellspring_core::notification::PushSubscription;

use super::{change, person};
use crate::Caller;
use crate::api::accounts::find;
use crate::body::{self, Fields, json, nothing};
use crate::list::List;
use crate::path::Place;
use crate::problem::{Fault, Problem};
use crate::router::App;

/// A browser that takes messages; its keys are not shown.
#[derive(Serialize, ToSchema)]
pub(crate) struct PushBody {
    /// Its id.
    id: String,
    /// Where the push service takes messages.
    endpoint: String,
}

/// Lists a person's browsers.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/push-subscriptions", tag = "notifications", operation_id = "listPushSubscriptions",
    params(("account" = String, Path, description = "The account's id")),
    responses(
        (status = 200, description = "The browsers", body = List<PushBody>),
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
    let account = find(&app, &caller, &place).await?;
    let (_, contact) = person(&app, &account).await?;
    List::response(contact.push.iter().map(PushBody::new).collect(), None)
}

/// The key of this installation towards push services.
#[derive(Serialize, ToSchema)]
pub(crate) struct PushKeyBody {
    /// The `applicationServerKey` of `PushManager.subscribe()`, base64url without padding.
    public_key: String,
}

/// Shows the public key that browsers subscribe with (VAPID).
#[utoipa::path(
    get, path = "/v1/push/key", tag = "notifications", operation_id = "showPushKey",
    responses(
        (status = 200, description = "The key", body = PushKeyBody),
        (status = 404, description = "Web Push is not configured"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn key(
    app: Arc<App>,
    _caller: Caller,
    _request: Request,
) -> Result<Response, Problem> {
    let public_key = app.notifier.push_key().ok_or_else(Problem::nothing)?;
    json(StatusCode::OK, &PushKeyBody { public_key })
}

/// Adds a browser, in the form that `PushSubscription.toJSON()` gives; the same one again is the same.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/push-subscriptions", tag = "notifications", operation_id = "addPushSubscription",
    params(("account" = String, Path, description = "The account's id")),
    request_body(content = Object, example = json!({"endpoint": "https://push.example.com/abc", "keys": {"p256dh": "BNcR…", "auth": "tBHI…"}})),
    responses(
        (status = 201, description = "The browser", body = PushBody),
        (status = 400, description = "Not JSON"),
        (status = 404, description = "There is no such account"),
        (status = 409, description = "The person has as many browsers as are kept"),
        (status = 422, description = "The body is not valid, with an entry for each fault"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn add(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let account = find(&app, &caller, &place).await?;
    let body = body::read(body).await?;
    let mut faults = Vec::new();
    let mut fields = Fields::read(&body, &mut faults)?;
    let endpoint = match fields.take("endpoint", &mut faults) {
        Some(Value::String(url)) if url.len() <= 2_048 => url,
        Some(_) | None => {
            faults.push(Fault::at("/endpoint", "must be a URL"));
            String::new()
        }
    };
    if !endpoint.is_empty()
        && let Err(why) = app.intake.check_url(&endpoint).await
    {
        faults.push(Fault::at("/endpoint", why));
    }
    let keys = fields.take("keys", &mut faults).unwrap_or_default();
    let mut key = |name: &str, size: usize| {
        let text = keys.get(name).and_then(Value::as_str).unwrap_or_default();
        let text = text.trim_end_matches('=');
        if URL_SAFE_NO_PAD
            .decode(text)
            .is_ok_and(|key| key.len() == size)
        {
            return text.to_owned();
        }
        let must = format!("must be {size} bytes as base64url");
        faults.push(Fault::at(format!("/keys/{name}"), must));
        String::new()
    };
    let (p256dh, auth) = (key("p256dh", 65), key("auth", 16));
    // Browsers say it and mean nothing by it.
    fields.take("expirationTime", &mut faults);
    fields.finish(&mut faults);
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let added = PushSubscription {
        endpoint,
        p256dh,
        auth,
    };
    change(&app, &account, |contact, _| {
        contact.push.retain(|one| one.slot() != added.slot());
        if contact.push.len() >= MOST {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "too_many_push_subscriptions",
                "A person has at most 20 browsers",
            ));
        }
        contact.push.push(added.clone());
        Ok(())
    })
    .await?;
    json(StatusCode::CREATED, &PushBody::new(&added))
}

/// Removes a browser.
#[utoipa::path(
    delete, path = "/v1/accounts/{account}/push-subscriptions/{push}", tag = "notifications", operation_id = "removePushSubscription",
    params(("account" = String, Path, description = "The account's id"), ("push" = String, Path, description = "The browser's id")),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "There is no such browser"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn remove(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let account = find(&app, &caller, &place).await?;
    let id: String = place.id(1)?;
    change(&app, &account, |contact, _| {
        let before = contact.push.len();
        contact.push.retain(|one| name(one) != id);
        if contact.push.len() < before {
            Ok(())
        } else {
            Err(Problem::nothing())
        }
    })
    .await?;
    Ok(nothing())
}

impl PushBody {
    fn new(one: &PushSubscription) -> Self {
        Self {
            id: name(one),
            endpoint: one.endpoint.clone(),
        }
    }
}

fn name(one: &PushSubscription) -> String {
    format!("push_{:016x}", one.slot())
}

const MOST: usize = 20;
