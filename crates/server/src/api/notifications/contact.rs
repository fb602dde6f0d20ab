//! `/v1/accounts/{a}/contact`: what a person is reached by.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wellspring_core::AccountId;
use wellspring_core::notification::Contact;
use wellspring_engine::Allowance;

use super::{change, person};
use crate::Caller;
use crate::api::accounts::{find, is_name};
use crate::body::{self, Fields, json};
use crate::path::Place;
use crate::problem::{Fault, Problem};
use crate::router::{App, within};

/// What a person is reached by; it is kept encrypted.
#[derive(Serialize, ToSchema)]
pub(crate) struct ContactBody {
    /// What they are called.
    name: Option<String>,
    /// Their e-mail address.
    email: Option<String>,
    /// Their telephone number, such as `+4915112345678`.
    phone: Option<String>,
    /// Where the tenant takes notifications for them; set with an API key only.
    webhook: Option<String>,
    /// Their language, such as `de`.
    language: Option<String>,
}

/// Shows what a person is reached by.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/contact", tag = "notifications", operation_id = "showContact",
    params(("account" = String, Path, description = "The account's id")),
    responses(
        (status = 200, description = "The contact", body = ContactBody),
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
    let (_, contact) = person(&app, &account).await?;
    json(StatusCode::OK, &ContactBody::new(contact))
}

/// Sets what a person is reached by; what is left out is gone.
#[utoipa::path(
    put, path = "/v1/accounts/{account}/contact", tag = "notifications", operation_id = "putContact",
    params(("account" = String, Path, description = "The account's id")),
    request_body(content = ContactBody, example = json!({"name": "Ann", "email": "ann@example.com", "language": "de"})),
    responses(
        (status = 200, description = "The contact as it is now", body = ContactBody),
        (status = 400, description = "Not JSON"),
        (status = 404, description = "There is no such account"),
        (status = 409, description = "Somebody else changes it at the same time"),
        (status = 422, description = "The body is not valid, with an entry for each fault"),
        (status = 429, description = "`too_many_changes`: a client has changed the address or the number 10 times within a day"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn put(
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
    let mut take =
        |name: &str, fits: fn(&str) -> bool, must: &str| match fields.take(name, &mut faults) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if fits(&text) => Some(text),
            Some(_) => {
                faults.push(Fault::at(
                    format!("/{name}"),
                    format!("must be null or {must}"),
                ));
                None
            }
        };
    let name = take("name", |text| is_name(text, 200), "1 to 200 characters");
    let email = take("email", is_email, "an e-mail address");
    let phone = take("phone", is_phone, "a number such as +4915112345678");
    let language = take(
        "language",
        is_language,
        "a language such as `de` or `pt-BR`",
    );
    let webhook = take("webhook", |text| text.len() <= 2_048, "a URL");
    fields.finish(&mut faults);
    if let Some(url) = &webhook {
        if !caller.is_tenant() {
            faults.push(Fault::at("/webhook", "is set with an API key only"));
        } else if let Err(why) = app.intake.check_url(url).await {
            faults.push(Fault::at("/webhook", why));
        }
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let by_tenant = caller.is_tenant();
    if !by_tenant {
        let (_, now) = person(&app, &account).await?;
        if (&now.email, &now.phone) != (&email, &phone) {
            allow(&app, account.id).await?;
        }
    }
    let (contact, _) = change(&app, &account, |contact, _| {
        *contact = Contact {
            name: name.clone(),
            email: email.clone(),
            phone: phone.clone(),
            language: language.clone(),
            // A person's own client leaves the tenant's receiver alone.
            webhook: if by_tenant {
                webhook.clone()
            } else {
                contact.webhook.take()
            },
            push: std::mem::take(&mut contact.push),
        };
        Ok(())
    })
    .await?;
    json(StatusCode::OK, &ContactBody::new(contact))
}

/// Takes one of the changes that a person's own client may make a day.
async fn allow(app: &App, account: AccountId) -> Result<(), Problem> {
    let now = app.clock.now();
    let spent = app.backend.spend(account, Allowance::ContactChanges, now);
    let Some(next) = within(spent).await? else {
        return Ok(());
    };
    let detail = "A client changes where its person is reached 10 times a day, and has done so";
    Err(Problem::too_many("too_many_changes", detail).with_next_allowed(now, next))
}

impl ContactBody {
    fn new(contact: Contact) -> Self {
        Self {
            name: contact.name,
            email: contact.email,
            phone: contact.phone,
            webhook: contact.webhook,
            language: contact.language,
        }
    }
}

fn is_email(text: &str) -> bool {
    let parts = text.split_once('@');
    let odd = |c: char| c.is_whitespace() || c.is_control() || "<>,;\"\\()[]:".contains(c);
    text.len() <= 254
        && !text.contains(odd)
        && parts.is_some_and(|(user, host)| {
            let whole =
                |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.');
            whole(user) && whole(host) && !host.contains('@')
        })
}

fn is_phone(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_language(text: &str) -> bool {
    let part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    text.len() <= 35 && text.split('-').all(part)
}
