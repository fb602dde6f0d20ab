//! `/unsubscribe/{token}`: no more of one type over one channel, by one click (RFC 8058).

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderValue, StatusCode};
use wellspring_core::Account;
use wellspring_core::notification::{Channel, NotificationKind};

use super::change;
use crate::address_book::unsubscribed;
use crate::body::bytes;
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

/// Shows a page with one button; showing it changes nothing.
#[utoipa::path(
    get, path = "/unsubscribe/{token}", tag = "notifications", operation_id = "unsubscribePage",
    params(("token" = String, Path, description = "The token of the link")),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 404, description = "There is no such link"),
    ),
)]
pub(crate) async fn show(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let (_, kind, channel) = token(&app, request).await?;
    let text = format!(
        "<p>You get no more messages about {} by {}.</p>\
         <form method=\"post\"><button>Confirm</button></form>",
        words(kind),
        words_of(channel),
    );
    Ok(page("Unsubscribe?", &text))
}

/// Switches one type off over one channel.
#[utoipa::path(
    post, path = "/unsubscribe/{token}", tag = "notifications", operation_id = "unsubscribe",
    params(("token" = String, Path, description = "The token of the link")),
    responses(
        (status = 200, description = "It is off", body = String, content_type = "text/html"),
        (status = 404, description = "There is no such link"),
    ),
)]
pub(crate) async fn confirm(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let (id, kind, channel) = token(&app, request).await?;
    // An account that is being erased, or is gone, gets nothing anyway.
    let account = present(&app, id).await?;
    change(&app, &account, |_, preferences| {
        preferences.unsubscribe(kind, channel);
        Ok(())
    })
    .await?;
    Ok(page(
        "Unsubscribed",
        "<p>You get no more of these messages.</p>",
    ))
}

async fn token(
    app: &App,
    request: Request,
) -> Result<(wellspring_core::AccountId, NotificationKind, Channel), Problem> {
    let (mut parts, _body) = request.into_parts();
    let text: String = Place::of(&mut parts).await.id(0)?;
    unsubscribed(app.access.vault(), &text).ok_or_else(Problem::nothing)
}

async fn present(app: &App, id: wellspring_core::AccountId) -> Result<Account, Problem> {
    let found = within(app.backend.load(vec![id.into()])).await?;
    let account = found.into_iter().find_map(|loaded| match loaded {
        wellspring_engine::Loaded::Account(account) => Some(account),
        wellspring_engine::Loaded::Collection(_)
        | wellspring_engine::Loaded::Connection(_)
        | wellspring_engine::Loaded::Source(_) => None,
    });
    let account = account.filter(|account| account.erasing.is_none());
    account.ok_or_else(Problem::nothing)
}

/// Makes a page of a few words.
pub(super) fn page(title: &str, text: &str) -> Response {
    let html = format!(
        "<!doctype html><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><h1>{title}</h1>{text}"
    );
    let mut response = bytes(
        StatusCode::OK,
        "text/html; charset=utf-8",
        Bytes::from(html),
    );
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn words(kind: NotificationKind) -> String {
    match kind {
        NotificationKind::PlaidConnectionIssue => "connections".to_owned(),
        other @ (NotificationKind::BankMaintenance
        | NotificationKind::DataSyncStatus
        | NotificationKind::SecurityAlert
        | NotificationKind::ComplianceUpdate
        | NotificationKind::SystemMaintenance
        | NotificationKind::FeatureUpdate
        | NotificationKind::AccountUpdate) => other.as_str().replace('_', " "),
    }
}

const fn words_of(channel: Channel) -> &'static str {
    match channel {
        Channel::Email => "e-mail",
        Channel::InApp => "the application's list",
        Channel::Push => "push",
        Channel::Sms => "SMS",
        Channel::Webhook => "webhook",
    }
}

const POLICY: &str = "default-src 'none'; form-action 'self'; frame-ancestors 'none'";
