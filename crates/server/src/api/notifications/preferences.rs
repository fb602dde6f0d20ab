//! `/v1/accounts/{a}/preferences`: how a person wants to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use wellspring_core::notification::{
    Channel, Contact, Digest, NotificationKind, Preferences, QuietHours,
};

use super::{change, person};
use crate::Caller;
use crate::api::accounts::find;
use crate::body::{self, json, pointer};
use crate::path::Place;
use crate::problem::{Fault, Problem};
use crate::router::{App, within};

/// How a person wants to be told: all of it, defaults included.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PreferencesBody {
    /// Whether each channel is on at all; SMS is off as well while the number is stopped.
    #[schema(value_type = BTreeMap<String, bool>)]
    channels: BTreeMap<Channel, bool>,
    /// Whether messages of each type come over each channel.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, bool>>)]
    types: BTreeMap<NotificationKind, BTreeMap<Channel, bool>>,
    /// When e-mail, push and SMS wait, `{"from": "22:00", "to": "07:00"}`; a security alert does not.
    #[schema(value_type = Option<Object>)]
    quiet_hours: Option<QuietHours>,
    /// The person's time zone, such as `Europe/Berlin`.
    time_zone: String,
    /// `"off"`, `"hourly"` or `{"daily": "18:00"}`.
    #[schema(value_type = Object)]
    digest: Digest,
    /// Whether the number has answered STOP; only START from it undoes that, and what is set here is ignored.
    sms_stopped: bool,
}

/// What is to be set; what is missing has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    channels: BTreeMap<Channel, bool>,
    types: BTreeMap<NotificationKind, BTreeMap<Channel, bool>>,
    quiet_hours: Option<QuietHours>,
    time_zone: Option<String>,
    digest: Digest,
}

/// Shows how a person wants to be told.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/preferences", tag = "notifications", operation_id = "showPreferences",
    params(("account" = String, Path, description = "The account's id")),
    responses(
        (status = 200, description = "The preferences", body = PreferencesBody),
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
    let (person, contact) = person(&app, &account).await?;
    let stopped = is_stopped(&app, &contact).await?;
    let body = PreferencesBody::new(&person.preferences, stopped);
    json(StatusCode::OK, &body)
}

/// Sets how a person wants to be told; what is left out has its default again.
///
/// What the person switched off by one click stays off unless it is switched on by name, and a
/// number that has answered STOP gets nothing whatever is set.
#[utoipa::path(
    put, path = "/v1/accounts/{account}/preferences", tag = "notifications", operation_id = "putPreferences",
    params(("account" = String, Path, description = "The account's id")),
    request_body(content = PreferencesBody, example = json!({"types": {"bank_maintenance": {"email": false}}, "quiet_hours": {"from": "22:00", "to": "07:00"}, "time_zone": "Europe/Berlin", "digest": {"daily": "18:00"}})),
    responses(
        (status = 200, description = "The preferences as they are now", body = PreferencesBody),
        (status = 400, description = "Not JSON"),
        (status = 404, description = "There is no such account"),
        (status = 409, description = "Somebody else changes them at the same time"),
        (status = 422, description = "The body is not valid, with an entry for each fault"),
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
    let (wanted, on) = read(&body)?;
    let (contact, preferences) = change(&app, &account, |_, preferences| {
        let mut next = wanted.clone();
        next.keep_unsubscribed(preferences, &on);
        *preferences = next;
        Ok(())
    })
    .await?;
    let stopped = is_stopped(&app, &contact).await?;
    json(StatusCode::OK, &PreferencesBody::new(&preferences, stopped))
}

async fn is_stopped(app: &App, contact: &Contact) -> Result<bool, Problem> {
    let Some(phone) = &contact.phone else {
        return Ok(false);
    };
    let mark = app.notifier.addresses().mark(phone);
    let stopped = within(app.backend.stopped_phones(vec![mark])).await?;
    Ok(!stopped.is_empty())
}

/// Reads the fields one by one, so that each fault is named; returns also what is switched on by name.
fn read(body: &[u8]) -> Result<(Preferences, BTreeSet<(NotificationKind, Channel)>), Problem> {
    let mut faults = Vec::new();
    let mut fields = body::Fields::read(body, &mut faults)?;
    let mut wish = Wish::default();
    for name in ["channels", "types", "quiet_hours", "time_zone", "digest"] {
        let Some(value) = fields.take(name, &mut faults) else {
            continue;
        };
        if value.is_null() {
            continue;
        }
        let one: Value = [(name.to_owned(), value)].into_iter().collect();
        match serde_json::from_value::<Wish>(one) {
            Ok(read) if name == "channels" => wish.channels = read.channels,
            Ok(read) if name == "types" => wish.types = read.types,
            Ok(read) if name == "quiet_hours" => wish.quiet_hours = read.quiet_hours,
            Ok(read) if name == "time_zone" => wish.time_zone = read.time_zone,
            Ok(read) => wish.digest = read.digest,
            Err(error) => faults.push(Fault::at(pointer("", name), error.to_string())),
        }
    }
    // Who sends back what was shown is not refused for it.
    fields.take("sms_stopped", &mut faults);
    fields.finish(&mut faults);
    let mut on = BTreeSet::new();
    let mut wanted = Preferences {
        quiet_hours: wish.quiet_hours,
        digest: wish.digest,
        ..Preferences::default()
    };
    if let Some(zone) = wish.time_zone {
        wanted.time_zone = zone;
    }
    if let Err(error) = wanted.zone() {
        faults.push(Fault::at("/time_zone", error.to_string()));
    }
    for (channel, on) in wish.channels {
        if !on {
            wanted.channels_off.insert(channel);
        }
    }
    for (kind, channels) in wish.types {
        for (channel, is_on) in channels {
            wanted.set(kind, channel, is_on);
            if is_on {
                on.insert((kind, channel));
            }
        }
    }
    if faults.is_empty() {
        Ok((wanted, on))
    } else {
        Err(Problem::invalid(faults))
    }
}

impl PreferencesBody {
    fn new(preferences: &Preferences, sms_stopped: bool) -> Self {
        let on = |channel| {
            let is_stopped = channel == Channel::Sms && sms_stopped;
            let is_off = preferences.channels_off.contains(&channel);
            (channel, !is_off && !is_stopped)
        };
        let of = |kind| {
            let said = preferences.kinds.get(&kind);
            let by = |channel| {
                let set = said.and_then(|channels| channels.get(&channel)).copied();
                (
                    channel,
                    set.unwrap_or_else(|| Preferences::default_for(kind, channel)),
                )
            };
            (kind, Channel::ALL.map(by).into_iter().collect())
        };
        Self {
            channels: Channel::ALL.map(on).into_iter().collect(),
            types: NotificationKind::ALL.map(of).into_iter().collect(),
            quiet_hours: preferences.quiet_hours.clone(),
            time_zone: preferences.time_zone.clone(),
            digest: preferences.digest,
            sms_stopped,
        }
    }
}
