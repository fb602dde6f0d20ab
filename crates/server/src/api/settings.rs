//! `/v1/settings`: what a tenant has set.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::{Ask, format_duration};
use wellspring_engine::Settings;

use crate::body::{self, BodyError, json};
use crate::problem::{Fault, Problem};
use crate::router::App;
use crate::{AccessError, Caller};

mod patch;

use patch::Patch;

/// What a tenant has set.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingsBody {
    /// How long what is kept, such as `720h`.
    retention: Retention,
    /// Whom to write to when the tenant cannot be reached otherwise.
    contact: Option<String>,
    /// Whether the state `retrying` is shown as `waiting` with `retries` above 0.
    legacy_waiting: bool,
    /// When sources may ask people something: `"user_present"`, `"always"` or `{"hours": {"from": 8, "to": 20}}` (UTC).
    #[schema(value_type = Object)]
    ask: Ask,
    /// Which origins may frame the connect page.
    frame_origins: Vec<String>,
    /// Where the connect page may send people back to.
    return_urls: Vec<String>,
    /// Where documents go as they come in.
    document_receiver: Option<String>,
}

/// How long what is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Retention {
    /// Entries of the log.
    changes: String,
    /// Finished collections and the fetch log.
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
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({"retention": {"payloads": "48h"}, "contact": "ops@example.com", "ask": {"hours": {"from": 8, "to": 20}}, "frame_origins": ["https://app.example.com"], "return_urls": ["https://app.example.com/connected"]})),
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
    let patch = Patch::read(&body, app.intake.as_ref()).await?;
    let changed = app
        .access
        .change_settings(caller.tenant, |settings| patch.apply(settings))
        .await;
    let changed = changed.map_err(SettingsError::Access)?;
    let told = app.go_by_settings(caller.tenant).await;
    told.map_err(|error| SettingsError::Answer(error.into()))?;
    answer(changed)
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
        legacy_waiting: settings.legacy_waiting,
        ask: settings.ask,
        frame_origins: settings.frame_origins,
        return_urls: settings.return_urls,
        document_receiver: settings.document_receiver,
    };
    json(StatusCode::OK, &body).map_err(SettingsError::Answer)
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
