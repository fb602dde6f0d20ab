//! `/v1/settings`: what a tenant has set.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wellspring_core::{format_duration, parse_duration};
use wellspring_engine::Settings;

use crate::body::{self, BodyError, Fields, json, pointer};
use crate::problem::{Fault, Problem};
use crate::router::App;
use crate::{AccessError, Caller};

/// What a tenant has set.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingsBody {
    /// How long what is kept, such as `720h`.
    retention: Retention,
    /// Whom to write to when the tenant cannot be reached otherwise.
    contact: Option<String>,
}

/// How long what is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Retention {
    /// Entries of the log.
    changes: String,
    /// Finished collections.
    collections: String,
    /// What was fetched, once its collection is finished.
    payloads: String,
    /// Attempts, once their collection is finished.
    attempts: String,
}

/// Why settings are not shown or changed.
#[derive(Debug)]
pub(crate) enum SettingsError {
    Body(BodyError),
    Invalid(Vec<Fault>),
    Access(AccessError),
    Answer(Problem),
}

/// Shows the settings.
#[utoipa::path(
    get, path = "/v1/settings", tag = "settings", operation_id = "showSettings",
    responses((status = 200, description = "The settings", body = SettingsBody)),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    _request: Request,
) -> Result<Response, SettingsError> {
    answer(app.access.settings(caller.tenant))
}

/// Changes the settings that the body names (RFC 7396).
///
/// `null` gives a setting its default again. Durations are at least an hour.
#[utoipa::path(
    patch, path = "/v1/settings", tag = "settings", operation_id = "changeSettings",
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({"retention": {"payloads": "48h"}, "contact": "ops@example.com"})),
    responses(
        (status = 200, description = "The settings as they are now", body = SettingsBody),
        (status = 400, description = "Not JSON"),
        (status = 413, description = "The body is larger than 1 MiB"),
        (status = 422, description = "The body is not valid, with an entry for each fault"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn patch(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, SettingsError> {
    let body = body::read(request.into_body()).await?;
    let patch = Patch::read(&body)?;
    let changed = app
        .access
        .change_settings(caller.tenant, |settings| patch.apply(settings))
        .await;
    answer(changed.map_err(SettingsError::Access)?)
}

fn answer(settings: Settings) -> Result<Response, SettingsError> {
    let body = SettingsBody {
        retention: Retention {
            changes: format_duration(settings.keep_changes),
            collections: format_duration(settings.keep_collections),
            payloads: format_duration(settings.keep_payloads),
            attempts: format_duration(settings.keep_attempts),
        },
        contact: settings.contact,
    };
    json(StatusCode::OK, &body).map_err(SettingsError::Answer)
}

/// What is to change; the inner `None` is the default.
#[derive(Debug, Default)]
struct Patch {
    keep: Vec<(&'static str, Option<Duration>)>,
    contact: Option<Option<String>>,
}

impl Patch {
    fn read(body: &[u8]) -> Result<Self, SettingsError> {
        let mut faults = Vec::new();
        let mut fields = Fields::read(body, &mut faults)?;
        let mut patch = Self::default();
        match fields.take("retention", &mut faults) {
            None => {}
            Some(Value::Null) => patch.keep = KINDS.map(|kind| (kind, None)).into(),
            Some(Value::Object(members)) => {
                for (name, value) in members {
                    patch.retention(&name, &value, &mut faults);
                }
            }
            Some(_other) => faults.push(Fault::at("/retention", "must be an object or null")),
        }
        match fields.take("contact", &mut faults) {
            None => {}
            Some(Value::Null) => patch.contact = Some(None),
            Some(Value::String(text)) if is_contact(&text) => patch.contact = Some(Some(text)),
            Some(_other) => faults.push(Fault::at(
                "/contact",
                "must be null or 1 to 320 characters without control characters",
            )),
        }
        fields.finish(&mut faults);
        if faults.is_empty() {
            Ok(patch)
        } else {
            Err(SettingsError::Invalid(faults))
        }
    }

    fn retention(&mut self, name: &str, value: &Value, faults: &mut Vec<Fault>) {
        let place = pointer("/retention", name);
        let Some(kind) = KINDS.into_iter().find(|kind| *kind == name) else {
            faults.push(Fault::at(place, "is not known here"));
            return;
        };
        let duration = match value {
            Value::Null => Ok(None),
            Value::String(text) => parse_duration(text).map(Some),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err("must be a duration such as 720h, or null".to_owned())
            }
        };
        match duration {
            Ok(Some(duration)) if duration < SHORTEST => {
                faults.push(Fault::at(place, "must be at least 1h"));
            }
            Ok(Some(duration)) if duration > LONGEST => {
                faults.push(Fault::at(place, "must be at most 87600h"));
            }
            Ok(duration) => self.keep.push((kind, duration)),
            Err(detail) => faults.push(Fault::at(place, detail)),
        }
    }

    fn apply(self, settings: &mut Settings) {
        let defaults = Settings::default();
        for (kind, duration) in self.keep {
            let (place, default) = match kind {
                CHANGES => (&mut settings.keep_changes, defaults.keep_changes),
                COLLECTIONS => (&mut settings.keep_collections, defaults.keep_collections),
                PAYLOADS => (&mut settings.keep_payloads, defaults.keep_payloads),
                _attempts => (&mut settings.keep_attempts, defaults.keep_attempts),
            };
            *place = duration.unwrap_or(default);
        }
        if let Some(contact) = self.contact {
            settings.contact = contact;
        }
    }
}

fn is_contact(text: &str) -> bool {
    (1..=320).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

impl From<BodyError> for SettingsError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Body(error) => error.into(),
            SettingsError::Invalid(faults) => Self::invalid(faults),
            SettingsError::Access(error) => error.into(),
            SettingsError::Answer(problem) => problem,
        }
    }
}

const CHANGES: &str = "changes";
const COLLECTIONS: &str = "collections";
const PAYLOADS: &str = "payloads";
const KINDS: [&str; 4] = [CHANGES, COLLECTIONS, PAYLOADS, "attempts"];
const SHORTEST: Duration = Duration::from_secs(3_600);
const LONGEST: Duration = Duration::from_secs(87_600 * 3_600);
