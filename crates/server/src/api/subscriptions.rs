//! `/v1/subscriptions`: changes pushed as webhooks.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wellspring_core::{Pattern, SubscriptionId, Timestamp};
use wellspring_engine::{Answer, Busy, DisabledReason, Request, Subscription, SubscriptionWish};
use wellspring_vault::{SecretKind, SubscriptionSecrets};

use crate::Caller;
use crate::ask::Refused;
use crate::body::{json, pointer};
use crate::idempotency::REPLAYED;
use crate::problem::{Fault, Problem};
use crate::router::{App, within};
use crate::subscriptions::Opened;

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod remove;
pub(crate) mod replay;
pub(crate) mod rotate;
pub(crate) mod show;
pub(crate) mod test;

/// A subscription.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubscriptionBody {
    /// Its id.
    id: String,
    /// Which changes are sent.
    patterns: Vec<String>,
    /// Where to.
    url: String,
    /// What its owner says of it.
    description: Option<String>,
    /// `hmac` or `ed25519`.
    #[schema(value_type = String)]
    signing: SecretKind,
    /// What verifies an `ed25519` signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// Until when messages are signed with the secret before as well.
    previous_secret_ends_at: Option<String>,
    /// Whether its owner wants anything sent.
    enabled: bool,
    /// `active`, `failing`, `disabled` by the server, or `paused` by its owner; in lists a failing one is `active`.
    state: &'static str,
    /// Why nothing is sent any more: `gone`, for the endpoint answered 410, or `failing`, for days.
    #[schema(value_type = Option<String>)]
    disabled_reason: Option<DisabledReason>,
    /// Since when.
    disabled_at: Option<String>,
    /// When it was made.
    created_at: String,
    /// How its endpoint does; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    /// What signs (`hmac`), or the public key that verifies (`ed25519`); shown only when it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// How the endpoint of a subscription does.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Since when the endpoint as a whole fails.
    #[schema(value_type = Option<String>)]
    failing_since: Option<Timestamp>,
    /// Whether there are changes that have not been tried yet.
    behind: bool,
    /// Messages that were tried and not taken, and those that wait behind them.
    open: usize,
}

/// Returns the subscription that the path names.
pub(super) async fn find(
    app: &App,
    caller: &Caller,
    parts: &mut Parts,
) -> Result<Arc<Subscription>, Problem> {
    let text = Path::<String>::from_request_parts(parts, &()).await;
    let id = text.ok().and_then(|Path(text)| text.parse().ok());
    let id: SubscriptionId = id.ok_or_else(unknown)?;
    Ok(app.subscriptions.find(caller.tenant, id).await?)
}

/// Has the engine do something to a subscription in one shard.
pub(super) async fn wish(
    app: &App,
    request: Request,
) -> Result<Option<wellspring_engine::SendResult>, Problem> {
    match app.engine.request(request, None).await {
        Answer::Dispatched | Answer::Done(_) => Ok(None),
        Answer::Tried(result) => Ok(Some(*result)),
        Answer::NotFound => Err(unknown()),
        Answer::KeyTaken
        | Answer::KeyBusy
        | Answer::Rejected(_)
        | Answer::Refused(_)
        | Answer::Ended
        | Answer::Leave(_)
        | Answer::Elsewhere => Err(Refused::Busy(Busy::NotReady).into()),
        Answer::Busy(busy) => Err(Refused::Busy(busy).into()),
        Answer::Unknown => Err(Refused::Timeout.into()),
    }
}

/// Returns the request for something to be done to a subscription in a shard.
pub(super) fn request(
    row: &Subscription,
    shard: wellspring_core::Shard,
    wish: SubscriptionWish,
) -> Request {
    Request::Subscription {
        shard,
        tenant: row.tenant,
        subscription: row.id,
        wish,
    }
}

/// Asks every shard how far the subscription has come there.
pub(super) async fn health(app: &App, id: SubscriptionId) -> Result<Health, Problem> {
    let mut health = Health::default();
    for shard in app.backend.shards() {
        let state = within(app.backend.subscription_state(id, shard)).await?;
        health.open = health.open.saturating_add(state.open.len());
        let Some(position) = state.position else {
            continue;
        };
        let since = position.failing_since.into_iter();
        health.failing_since = since.chain(health.failing_since).min();
        if !health.behind {
            let read = app.backend.log(shard, position.seen, None, 1);
            health.behind = !within(read).await?.entries.is_empty();
        }
    }
    Ok(health)
}

/// Answers with a subscription, and with its secret where that is new.
pub(super) fn answer(app: &App, status: StatusCode, opened: &Opened) -> Result<Response, Problem> {
    let mut body = SubscriptionBody::new(app, &opened.row, &opened.secrets);
    let secret = &opened.secrets.current().secret;
    body.secret = Some(secret.public().unwrap_or_else(|| secret.expose()));
    let mut response = json(status, &body)?;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if opened.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

impl SubscriptionBody {
    pub(super) fn new(app: &App, row: &Subscription, secrets: &SubscriptionSecrets) -> Self {
        let now = app.clock.now().as_millis();
        let current = secrets.current();
        let ends = secrets.live(now).filter_map(|key| key.ends_at).max();
        let state = match (row.enabled, row.disabled) {
            (false, _) => "paused",
            (true, Some(_)) => "disabled",
            (true, None) => "active",
        };
        Self {
            id: row.id.to_string(),
            patterns: row.patterns.iter().map(ToString::to_string).collect(),
            url: row.url.to_string(),
            description: row.description.clone(),
            signing: current.secret.kind(),
            public_key: current.secret.public(),
            previous_secret_ends_at: ends.map(|end| Timestamp::from_millis(end).to_string()),
            enabled: row.enabled,
            state,
            disabled_reason: row.disabled.map(|disabled| disabled.reason),
            disabled_at: row.disabled.map(|disabled| disabled.at.to_string()),
            created_at: row.created_at.to_string(),
            health: None,
            secret: None,
        }
    }

    /// Adds how the endpoint does.
    pub(super) const fn with_health(mut self, health: Health) -> Self {
        if health.failing_since.is_some() && self.enabled && self.disabled_reason.is_none() {
            self.state = "failing";
        }
        self.health = Some(health);
        self
    }
}

/// Takes the patterns of a body apart.
pub(super) fn patterns(value: Option<Value>, faults: &mut Vec<Fault>) -> Vec<Pattern> {
    let Some(Value::Array(texts)) = value else {
        faults.push(Fault::at("/patterns", "must be an array of patterns"));
        return Vec::new();
    };
    if texts.is_empty() || texts.len() > MOST_PATTERNS {
        let detail = format!("must have 1 to {MOST_PATTERNS} patterns");
        faults.push(Fault::at("/patterns", detail));
        return Vec::new();
    }
    let mut patterns = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let place = pointer("/patterns", &at.to_string());
        match text.as_str().map(str::parse) {
            Some(Ok(pattern)) => patterns.push(pattern),
            Some(Err(error)) => {
                let error: wellspring_core::PatternError = error;
                faults.push(Fault::at(place, error.to_string()));
            }
            None => faults.push(Fault::at(place, "must be a string")),
        }
    }
    patterns
}

/// Judges where messages are to go, as collections are judged.
pub(super) async fn url(
    app: &App,
    value: Option<Value>,
    faults: &mut Vec<Fault>,
) -> Option<Arc<str>> {
    let Some(Value::String(url)) = value else {
        faults.push(Fault::at("/url", "must be a URL"));
        return None;
    };
    let judged = if url.len() > LONGEST_URL {
        Err(format!("is longer than {LONGEST_URL} bytes"))
    } else {
        app.intake.check_url(&url).await
    };
    match judged {
        Ok(()) => Some(url.into()),
        Err(detail) => {
            faults.push(Fault::at("/url", detail));
            None
        }
    }
}

/// Reads what the owner says of a subscription; null is nothing.
pub(super) fn description(value: Value, faults: &mut Vec<Fault>) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.chars().count() <= LONGEST_DESCRIPTION => Some(text),
        Value::String(_)
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_) => {
            let detail = format!("must be null or at most {LONGEST_DESCRIPTION} characters");
            faults.push(Fault::at("/description", detail));
            None
        }
    }
}

fn unknown() -> Problem {
    Problem::not_found("There is no such subscription")
}

const MOST_PATTERNS: usize = 50;
const LONGEST_URL: usize = 2_048;
const LONGEST_DESCRIPTION: usize = 500;
