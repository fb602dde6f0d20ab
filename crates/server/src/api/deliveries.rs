//! `/v1/deliveries`: what was sent to subscriptions, and what became of it.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::{Error, Shard, Stored, SubscriptionId, Timestamp};
use wellspring_engine::{
    DeliveryAttempt, DeliveryFilter, DeliveryRow, DeliveryStatus, DeliveryView, Redelivery,
    SubscriptionWish,
};

use super::subscriptions;
use crate::Caller;
use crate::body::{self, json};
use crate::problem::Problem;
use crate::query::Parameters;
use crate::router::{App, within};

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryList {
    /// The deliveries, those of the newest changes first.
    data: Vec<DeliveryBody>,
    /// Where the next page begins.
    next_cursor: Option<String>,
    /// Whether there is one.
    has_more: bool,
}

/// A change on its way to a subscription.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryBody {
    /// Its id.
    id: String,
    /// The subscription.
    subscription: String,
    /// The change, and the `webhook-id` of the message.
    message_id: String,
    /// `waiting` behind another, `retrying`, `delivered` or `exhausted`.
    status: &'static str,
    /// How often it was tried.
    attempt_count: u16,
    /// When the change was written.
    created_at: String,
    /// When it is tried again.
    next_attempt_at: Option<String>,
    /// When it was delivered or given up.
    ended_at: Option<String>,
    /// The attempts, oldest first; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<AttemptBody>>,
}

/// One try to deliver.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptBody {
    /// Which, from 1.
    number: u16,
    /// When it began.
    at: String,
    /// How long it took.
    duration_ms: u64,
    /// The status of the answer, if one came.
    status: Option<u16>,
    /// The beginning of the answer.
    response: String,
    /// Why the message was not taken.
    error: Option<ErrorBody>,
}

/// Why a message was not taken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryError)]
pub(crate) struct ErrorBody {
    /// The class.
    class: &'static str,
    /// The code.
    code: String,
    /// In words.
    message: String,
}

/// Lists deliveries, those of the newest changes first.
///
/// They are kept as long as their attempts.
#[utoipa::path(
    get, path = "/v1/deliveries", tag = "subscriptions", operation_id = "listDeliveries",
    params(
        ("subscription" = Option<String>, Query, description = "Only those to this one"),
        ("status" = Option<String>, Query, description = "Only those that stand so"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page of deliveries", body = DeliveryList),
        (status = 400, description = "A parameter is wrong"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let known = ["subscription", "status", "limit", "cursor"];
    let mut parameters = Parameters::read(request.uri(), &known, &[]);
    let limit = parameters.limit(50, 200);
    let subscription = parameters.value("subscription").map(str::parse);
    let subscription: Result<Option<SubscriptionId>, _> = subscription.transpose();
    if let Err(error) = &subscription {
        parameters.fault("subscription", error.to_string());
    }
    let status = parameters.value("status").map(status);
    if status == Some(None) {
        parameters.fault("status", format!("is one of {}", names()));
    }
    let before = parameters.value("cursor").map(cursor);
    if before == Some(None) {
        parameters.fault("cursor", "is not a cursor of this list");
    }
    parameters.finish()?;
    let filter = DeliveryFilter {
        subscription: subscription.ok().flatten(),
        status: status.flatten(),
        before: before.flatten(),
    };
    let rows = app.backend.deliveries(caller.tenant, filter, limit + 1);
    let mut rows = within(rows).await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let list = DeliveryList {
        next_cursor: rows.last().filter(|_| has_more).map(next),
        data: rows.into_iter().map(DeliveryBody::listed).collect(),
        has_more,
    };
    json(StatusCode::OK, &list)
}

/// Shows a delivery with its attempts.
#[utoipa::path(
    get, path = "/v1/deliveries/{delivery}", tag = "subscriptions", operation_id = "showDelivery",
    params(("delivery" = String, Path, description = "The delivery's id")),
    responses(
        (status = 200, description = "The delivery", body = DeliveryBody),
        (status = 404, description = "There is no such delivery"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let view = find(&app, &caller, &mut parts).await?;
    let attempts = view.attempts.into_iter().map(AttemptBody::new).collect();
    let body = DeliveryBody {
        attempts: Some(attempts),
        ..DeliveryBody::listed(view.row)
    };
    json(StatusCode::OK, &body)
}

/// Sends a message again, whatever became of it, with a fresh plan of tries.
#[utoipa::path(
    post, path = "/v1/deliveries/{delivery}/retry", tag = "subscriptions", operation_id = "retryDelivery",
    params(("delivery" = String, Path, description = "The delivery's id")),
    responses(
        (status = 202, description = "It will be sent"),
        (status = 404, description = "There is no such delivery, or no such change any more"),
        (status = 422, description = "The body says something"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn retry(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let view = find(&app, &caller, &mut parts).await?;
    body::expect_nothing(&body::read(body).await?)?;
    let place = (view.row.shard, view.row.seq);
    let entry = within(app.backend.entry(caller.tenant, place)).await?;
    if entry.is_none() {
        return Err(Problem::not_found("The change is no longer kept"));
    }
    let again = SubscriptionWish::Replay(vec![Redelivery::from(&view.row)]);
    let request = wellspring_engine::Request::Subscription {
        shard: view.row.shard,
        tenant: caller.tenant,
        subscription: view.row.subscription,
        wish: again,
    };
    subscriptions::wish(&app, request).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn find(app: &App, caller: &Caller, parts: &mut Parts) -> Result<DeliveryView, Problem> {
    let text = Path::<String>::from_request_parts(parts, &()).await;
    let place = text.ok().and_then(|Path(text)| place(&text));
    let (subscription, place) = place.ok_or_else(unknown)?;
    let delivery = app.backend.delivery(caller.tenant, subscription, place);
    within(delivery).await?.ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::not_found("There is no such delivery")
}

impl DeliveryBody {
    fn listed(row: DeliveryRow) -> Self {
        Self {
            id: id(&row),
            subscription: row.subscription.to_string(),
            message_id: row.message_id,
            status: row.status.as_str(),
            attempt_count: row.attempts,
            created_at: row.created_at.to_string(),
            next_attempt_at: row.next_attempt_at.map(|at| at.to_string()),
            ended_at: row.ended_at.map(|at| at.to_string()),
            attempts: None,
        }
    }
}

impl AttemptBody {
    fn new(attempt: DeliveryAttempt) -> Self {
        Self {
            number: attempt.number,
            at: attempt.at.to_string(),
            duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            status: attempt.status,
            response: attempt.snippet,
            error: attempt.error.map(Into::into),
        }
    }
}

impl From<Error> for ErrorBody {
    fn from(error: Error) -> Self {
        Self {
            class: error.class.as_str(),
            code: error.code,
            message: error.message,
        }
    }
}

fn status(text: &str) -> Option<DeliveryStatus> {
    let mut all = DeliveryStatus::MEMBERS.iter().copied();
    all.find(|status| status.as_str() == text)
}

fn names() -> String {
    let names: Vec<_> = DeliveryStatus::MEMBERS
        .iter()
        .map(|status| status.as_str())
        .collect();
    names.join(", ")
}

/// A delivery is named by what it is: a place of the log, and where it goes.
fn id(row: &DeliveryRow) -> String {
    let mut bytes = row.subscription.as_bytes().to_vec();
    bytes.push(row.shard.0);
    bytes.extend_from_slice(&row.seq.to_be_bytes());
    format!("{PREFIX}{}", hex::encode(bytes))
}

fn place(id: &str) -> Option<(SubscriptionId, (Shard, u64))> {
    let bytes = hex::decode(id.strip_prefix(PREFIX)?).ok()?;
    let (subscription, rest) = bytes.split_first_chunk::<16>()?;
    let (shard, seq) = rest.split_first()?;
    let seq = u64::from_be_bytes(seq.try_into().ok()?);
    Some((
        SubscriptionId::from_bytes(*subscription),
        (Shard(*shard), seq),
    ))
}

fn next(row: &DeliveryRow) -> String {
    let mut bytes = row.created_at.as_millis().to_be_bytes().to_vec();
    bytes.push(row.shard.0);
    bytes.extend_from_slice(&row.seq.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn cursor(text: &str) -> Option<(Timestamp, Shard, u64)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (millis, rest) = bytes.split_first_chunk::<8>()?;
    let (shard, seq) = rest.split_first()?;
    let at = Timestamp::from_millis(i64::from_be_bytes(*millis));
    Some((at, Shard(*shard), u64::from_be_bytes(seq.try_into().ok()?)))
}

const PREFIX: &str = "dlv_";
