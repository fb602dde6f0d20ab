//! `POST /collect`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;
use wellspring_core::{CollectionStatus, SourceName, TenantId};
use wellspring_engine::{Aggregate, Key, Request, StoreError};

use super::{Accepted, accepted};
use crate::ask::{Refused, ask};
use crate::body::{self, BodyError, Fields};
use crate::idempotency::{self, Malformed, Refusal};
use crate::problem::{Fault, Problem, ProblemBody};
use crate::router::App;
use crate::{Caller, Intake, traced};

/// What is to be collected.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CollectRequest<'a> {
    /// The name of the source.
    #[serde(borrow)]
    provider: Cow<'a, str>,
    /// Where the data goes: http or https, without credentials.
    #[serde(borrow)]
    callback_url: Cow<'a, str>,
}

/// Why a collection was not accepted.
#[derive(Debug)]
pub(crate) enum CreateError {
    Body(BodyError),
    MalformedKey(Malformed),
    Invalid(Vec<Fault>),
    Key(Refusal),
    Refused(Refused),
    Store(StoreError),
}

/// Collects once from a source and sends what it gives to a callback.
///
/// The collection is durable before it is answered.
/// It is tried until it succeeds or its source's policy gives it up, and the callback is told either way.
#[utoipa::path(
    post, path = "/collect", tag = "collect", operation_id = "createCollection",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours gives the same answer and does nothing again")),
    request_body(content = inline(CollectRequest<'static>), example = json!({"provider": "gas", "callbackUrl": "https://example.com/hooks/gas"})),
    responses(
        (status = 202, description = "Accepted", body = Accepted, headers(("Location" = String, description = "Its `statusUrl`"), ("Idempotent-Replayed" = String, description = "`true` where the key was used before"))),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 409, description = "A request with this Idempotency-Key is under way"),
        (status = 413, description = "The body is larger than 1 MiB"),
        (status = 422, description = "The body is not valid, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
        (status = 503, description = "Not now; come back after `Retry-After`"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn create(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, CreateError> {
    let (parts, body) = request.into_parts();
    let came = Instant::now();
    let hash = idempotency::hash(&parts.headers)?;
    let body = body::read(body).await?;
    let key = hash.map(|hash| idempotency::key(hash, &[b"POST /collect\0", &body]));
    if let Some(key) = key
        && let Some(response) = replay(&app, caller.tenant, key).await?
    {
        return Ok(response);
    }
    let (source, callback_url) = judge(app.intake.as_ref(), &body).await?;
    let request = Request::Collect {
        id: None,
        tenant: caller.tenant,
        source,
        callback_url,
        actor: caller.actor,
    };
    match (ask(&app, request, key).await, key) {
        (Ok(id), _) => {
            traced::accepted(&id, came, &parts.headers);
            answer(&app, id, false)
        }
        (Err(Refused::KeyTaken), Some(key)) => replay(&app, caller.tenant, key)
            .await?
            .ok_or(CreateError::Key(Refusal::InUse)),
        (Err(refused), _) => Err(CreateError::Refused(refused)),
    }
}

/// Answers as before if the key was used before.
async fn replay(app: &App, tenant: TenantId, key: Key) -> Result<Option<Response>, CreateError> {
    let Some(row) = idempotency::used_for(app, tenant, key.hash).await? else {
        return Ok(None);
    };
    if row.fingerprint != key.fingerprint {
        return Err(CreateError::Key(Refusal::Reused));
    }
    answer(app, row.id, true).map(Some)
}

fn answer(app: &App, id: Aggregate, replayed: bool) -> Result<Response, CreateError> {
    match id {
        Aggregate::Collection(id) => {
            let status = CollectionStatus::Requested;
            Ok(accepted(app, id, status, replayed))
        }
        Aggregate::Account(_) | Aggregate::Connection(_) | Aggregate::Source(_) => {
            Err(CreateError::Key(Refusal::Reused))
        }
    }
}

/// Reads the body and returns what it names, or every fault it has.
async fn judge(intake: &dyn Intake, body: &Bytes) -> Result<(SourceName, Arc<str>), CreateError> {
    let mut faults = Vec::new();
    let (provider, callback_url) = read(body, &mut faults)?;
    let mut source = None;
    if let Some(provider) = provider {
        match provider.parse::<SourceName>() {
            Ok(name) if intake.knows(&name) => source = Some(name),
            Ok(_) | Err(_) => faults.push(Fault::at("/provider", unknown_provider(intake))),
        }
    }
    if let Some(url) = &callback_url {
        let judged = if url.len() > LONGEST_URL {
            Err(format!("is longer than {LONGEST_URL} bytes"))
        } else {
            intake.check_url(url).await
        };
        if let Err(detail) = judged {
            faults.push(Fault::at("/callbackUrl", detail));
        }
    }
    match (source, callback_url) {
        (Some(source), Some(url)) if faults.is_empty() => Ok((source, url.into())),
        (Some(_) | None, Some(_) | None) => Err(CreateError::Invalid(faults)),
    }
}

type Named<'a> = (Option<Cow<'a, str>>, Option<Cow<'a, str>>);

fn read<'a>(body: &'a [u8], faults: &mut Vec<Fault>) -> Result<Named<'a>, BodyError> {
    // An array would pass for the struct as well.
    if body::is_object(body)
        && let Ok(request) = serde_json::from_slice::<CollectRequest<'a>>(body)
    {
        return Ok((Some(request.provider), Some(request.callback_url)));
    }
    let mut fields = Fields::read(body, faults)?;
    if !faults.is_empty() {
        return Ok((None, None));
    }
    let provider = text(&mut fields, "provider", faults);
    let callback_url = text(&mut fields, "callbackUrl", faults);
    fields.finish(faults);
    Ok((provider, callback_url))
}

fn text<'a>(fields: &mut Fields, name: &str, faults: &mut Vec<Fault>) -> Option<Cow<'a, str>> {
    match fields.take(name, faults) {
        Some(Value::String(text)) => Some(Cow::Owned(text)),
        Some(_other) => {
            faults.push(Fault::at(body::pointer("", name), "must be a string"));
            None
        }
        None => {
            faults.push(Fault::at(body::pointer("", name), "is required"));
            None
        }
    }
}

fn unknown_provider(intake: &dyn Intake) -> String {
    let names = intake.source_names();
    if names.is_empty() {
        return "is not a configured source; there are none".to_owned();
    }
    let named = names[..names.len().min(MOST_NAMES)].join(", ");
    match names.len().saturating_sub(MOST_NAMES) {
        0 => format!("is not a configured source; there are {named}"),
        more => format!("is not a configured source; there are {named} and {more} more"),
    }
}

impl From<BodyError> for CreateError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<Malformed> for CreateError {
    fn from(error: Malformed) -> Self {
        Self::MalformedKey(error)
    }
}

impl From<StoreError> for CreateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Body(error) => error.into(),
            CreateError::MalformedKey(error) => error.into(),
            CreateError::Invalid(faults) => Self::invalid(faults),
            CreateError::Key(refusal) => refusal.into(),
            CreateError::Refused(refused) => refused.into(),
            CreateError::Store(error) => error.into(),
        }
    }
}

const LONGEST_URL: usize = 2_048;
/// How many sources the fault of an unknown one names.
const MOST_NAMES: usize = 20;
