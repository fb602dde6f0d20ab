//! `/v1/accounts/{a}/notifications`: messages to people.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use wellspring_core::notification::{Channel, Contact, NotificationKind, Preferences};
use wellspring_core::{Account, NotificationId};
use wellspring_engine::{Notice, NoticeRequest, Notification, NotificationFilter, Person};

use crate::Caller;
use crate::body::{self, Fields, json, nothing};
use crate::idempotency::{Once, replayed};
use crate::list::{List, Wanted};
use crate::path::Place;
use crate::problem::{Fault, Problem};
use crate::query::Parameters;
use crate::router::{App, within};

use super::accounts::find;

pub(crate) mod contact;
pub(crate) mod mend;
pub(crate) mod preferences;
pub(crate) mod push;
pub(crate) mod sms;
pub(crate) mod stream;
pub(crate) mod unsubscribe;

/// A message to a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotificationBody {
    /// Its id.
    id: String,
    /// What it is about.
    #[serde(rename = "type")]
    kind: &'static str,
    /// When it was written.
    created_at: String,
    /// When the person read it in the application.
    read_at: Option<String>,
    /// What it is about, in the person's language.
    subject: String,
    /// What it says in words, in the person's language; paragraphs stand between empty lines.
    text: String,
    /// What it says: `state` (`open` or `mended`), `reason`, `source`, `connection_id` and what the tenant gave.
    data: Map<String, Value>,
}

/// A message that was sent, and the ways that it goes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SentBody {
    #[serde(flatten)]
    notification: NotificationBody,
    /// The ways that it goes; a channel that is missing is not configured, has no address or is switched off.
    deliveries: Vec<NoticeBody>,
}

/// A message on one of its ways.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NoticeBody {
    /// Over which channel.
    channel: &'static str,
    /// `planned`, `sending`, `sent`, `failed` or `unknown`.
    status: &'static str,
    /// How often it was tried.
    attempts: u16,
    /// When it is sent next, while it is `planned`.
    due_at: Option<String>,
    /// Why it was not taken.
    reason: Option<String>,
}

/// Lists messages to a person, newest first: those in the application's list.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/notifications", tag = "notifications", operation_id = "listNotifications",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("unread_only" = Option<bool>, Query, description = "`true`: those that are not read"),
        ("type" = Option<String>, Query, description = "Those of one type"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 100; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of messages", body = List<NotificationBody>),
        (status = 400, description = "A parameter is wrong"),
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
    let mut wanted = Wanted::read(&parts.uri, &["unread_only", "type"]);
    wanted.parameters.limit(1, MOST);
    let mut filter = filter(&mut wanted.parameters);
    let page = wanted.checked()?;
    filter.before = page.before.map(NotificationId::from_bytes);
    let rows = app.backend.notifications(account.id, filter, page.rows());
    let mut rows = within(rows).await?;
    let next = page.cut(&mut rows, |row| *row.id.as_bytes());
    let (_, contact) = person(&app, &account).await?;
    let data = rows.into_iter();
    let data = data.map(|row| NotificationBody::new(&app, row, &contact));
    List::response(data.collect(), next)
}

/// Reads which messages are wanted.
pub(crate) fn filter(parameters: &mut Parameters) -> NotificationFilter {
    let unread_only = match parameters.value("unread_only") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            parameters.fault("unread_only", "is `true` or `false`");
            false
        }
    };
    let kind = parameters.value("type").map(str::parse).transpose();
    let kind = kind.unwrap_or_else(|error: String| {
        parameters.fault("type", error);
        None
    });
    NotificationFilter {
        unread_only,
        kind,
        in_app_only: true,
        before: None,
    }
}

/// Sends a message to a person, over the channels that are configured and that the person wants.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/notifications", tag = "notifications", operation_id = "sendNotification",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "What is sent again under the same key is sent once"),
    ),
    request_body(content = Object, example = json!({"type": "account_update", "channels": ["email", "in_app"], "data": {"text": "Your plan has changed."}})),
    responses(
        (status = 202, description = "It is on its way", body = SentBody),
        (status = 400, description = "Not JSON"),
        (status = 404, description = "There is no such account"),
        (status = 422, description = "The body is not valid, with an entry for each fault, or `idempotency_key_reused`"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn send(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let account = find(&app, &caller, &place).await?;
    let body = body::read(body).await?;
    let said: [&[u8]; 3] = [b"notify", account.id.as_bytes(), &body];
    let once = Once::new(&app, &caller, &parts.headers, &said)?;
    let mut faults = Vec::new();
    let mut fields = Fields::read(&body, &mut faults)?;
    let kind = kind(&mut fields, &mut faults);
    let channels = channels(&mut fields, &mut faults);
    let data = match fields.take("data", &mut faults) {
        None => Map::new(),
        Some(Value::Object(data)) if data.len() <= MOST_DATA => data,
        Some(_) => {
            faults.push(Fault::at(
                "/data",
                "must be an object of at most 50 members",
            ));
            Map::new()
        }
    };
    fields.finish(&mut faults);
    let Some(kind) = kind.filter(|_| faults.is_empty()) else {
        return Err(Problem::invalid(faults));
    };
    let asked = NoticeRequest {
        tenant: caller.tenant,
        account: account.id,
        kind,
        event: data,
        over: channels,
        request: once.mark(),
    };
    let told = within(app.notifier.notify(asked)).await?;
    let again = once.is_again(&told)?;
    let (_, contact) = person(&app, &account).await?;
    let body = SentBody {
        notification: NotificationBody::new(&app, told.notification, &contact),
        deliveries: told.notices.iter().map(NoticeBody::new).collect(),
    };
    let response = json(StatusCode::ACCEPTED, &body)?;
    Ok(if again { replayed(response) } else { response })
}

/// Reads the type of a message.
pub(crate) fn kind(fields: &mut Fields, faults: &mut Vec<Fault>) -> Option<NotificationKind> {
    let named = match fields.take("type", faults) {
        Some(Value::String(text)) => text.parse(),
        Some(_) | None => Err("must be a type of notification".to_owned()),
    };
    named
        .map_err(|error| faults.push(Fault::at("/type", error)))
        .ok()
}

/// Reads the channels that a message may take; none named are all.
pub(crate) fn channels(fields: &mut Fields, faults: &mut Vec<Fault>) -> Vec<Channel> {
    let list = match fields.take("channels", faults) {
        None => return Vec::new(),
        Some(Value::Array(list)) if (1..=Channel::ALL.len()).contains(&list.len()) => list,
        Some(_) => {
            faults.push(Fault::at("/channels", "must be a list of 1 to 5 channels"));
            return Vec::new();
        }
    };
    let mut channels = Vec::new();
    for (place, value) in list.iter().enumerate() {
        match value.as_str().unwrap_or_default().parse() {
            Ok(channel) if !channels.contains(&channel) => channels.push(channel),
            Ok(_) => {}
            Err(error) => faults.push(Fault::at(format!("/channels/{place}"), error)),
        }
    }
    channels
}

/// Shows a message and how it stands over each channel.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/notifications/{notification}", tag = "notifications", operation_id = "showNotification",
    params(("account" = String, Path, description = "The account's id"), ("notification" = String, Path, description = "The message's id")),
    responses(
        (status = 200, description = "The message", body = SentBody),
        (status = 404, description = "There is no such message"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let account = find(&app, &caller, &place).await?;
    let id = place.id::<NotificationId>(1)?;
    let found = within(app.backend.notifications_of(vec![id])).await?;
    let found = found.into_iter().find(|one| one.account == account.id);
    let notification = found.ok_or_else(Problem::nothing)?;
    let notices = within(app.backend.notices(id)).await?;
    let (_, contact) = person(&app, &account).await?;
    let body = SentBody {
        notification: NotificationBody::new(&app, notification, &contact),
        deliveries: notices.iter().map(NoticeBody::new).collect(),
    };
    json(StatusCode::OK, &body)
}

/// Notes that the person has read a message.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/notifications/{notification}/read", tag = "notifications", operation_id = "readNotification",
    params(("account" = String, Path, description = "The account's id"), ("notification" = String, Path, description = "The message's id")),
    responses(
        (status = 204, description = "It is read"),
        (status = 404, description = "There is no such message"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn read(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let account = find(&app, &caller, &place).await?;
    let id = place.id::<NotificationId>(1)?;
    let read = app
        .backend
        .read_notification(account.id, id, app.clock.now());
    if within(read).await? {
        Ok(nothing())
    } else {
        Err(Problem::nothing())
    }
}

/// Returns how a person is reached and wants to be; version 0 where nothing is kept.
pub(crate) async fn person(app: &App, account: &Account) -> Result<(Person, Contact), Problem> {
    let people = within(app.backend.people(vec![account.id])).await?;
    let person = people.into_iter().next().unwrap_or_else(|| Person {
        account: account.id,
        tenant: account.tenant,
        version: 0,
        contact: None,
        preferences: Preferences::default(),
        phone: None,
        heard: Vec::new(),
    });
    let contact = app.notifier.addresses().open(&person).unwrap_or_default();
    Ok((person, contact))
}

/// Changes how a person is reached and wants to be; returns it as it is then.
pub(crate) async fn change(
    app: &App,
    account: &Account,
    apply: impl Fn(&mut Contact, &mut Preferences) -> Result<(), Problem>,
) -> Result<(Contact, Preferences), Problem> {
    for _ in 0..TRIES {
        let (mut person, mut contact) = person(app, account).await?;
        apply(&mut contact, &mut person.preferences)?;
        let version = person.version;
        person.version = version.saturating_add(1);
        person.contact = Some(app.notifier.addresses().seal(account.id, &contact));
        let mark = |phone: &str| app.notifier.addresses().mark(phone);
        person.phone = contact.phone.as_deref().map(mark);
        let preferences = person.preferences.clone();
        if within(app.backend.put_person(person, version)).await? {
            return Ok((contact, preferences));
        }
    }
    Err(Problem::new(
        StatusCode::CONFLICT,
        "changed_meanwhile",
        "Somebody else changes the same, or the account is being erased; nothing was stored",
    ))
}

impl NotificationBody {
    pub(crate) fn new(app: &App, row: Notification, contact: &Contact) -> Self {
        let words = app.notifier.words(&row, contact);
        Self {
            subject: words.subject,
            text: words.text,
            id: row.id.to_string(),
            kind: row.kind.as_str(),
            created_at: row.at.to_string(),
            read_at: row.read_at.map(|at| at.to_string()),
            data: row.event,
        }
    }
}

impl NoticeBody {
    fn new(row: &Notice) -> Self {
        let planned = row.status == wellspring_engine::NoticeStatus::Planned;
        Self {
            channel: row.channel.as_str(),
            status: row.status.as_str(),
            attempts: row.attempts,
            due_at: planned.then(|| row.due.to_string()),
            reason: row.reason.clone(),
        }
    }
}

/// Messages on a page at most.
pub(crate) const MOST: usize = 100;
const MOST_DATA: usize = 50;
const TRIES: usize = 5;
