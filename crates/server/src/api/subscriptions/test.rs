//! `POST /v1/subscriptions/{s}/test`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::Shard;
use wellspring_engine::SubscriptionWish;

use super::{find, request, wish};
use crate::Caller;
use crate::ask::Refused;
use crate::body::{self, json};
use crate::problem::Problem;
use crate::router::App;

/// What an endpoint answered to a test message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestBody {
    /// Whether it took the message.
    delivered: bool,
    /// The status of its answer, if one came.
    status: Option<u16>,
    /// The beginning of its answer.
    response: String,
    /// How long it took.
    duration_ms: u64,
    /// Why the message was not taken.
    error: Option<super::super::deliveries::ErrorBody>,
}

/// Sends a test message at once and tells what the endpoint answered.
#[utoipa::path(
    post, path = "/v1/subscriptions/{subscription}/test", tag = "subscriptions", operation_id = "testSubscription",
    params(("subscription" = String, Path, description = "The subscription's id")),
    responses(
        (status = 200, description = "What the endpoint answered", body = TestBody),
        (status = 404, description = "There is no such subscription"),
        (status = 422, description = "The body says something"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn test(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let row = find(&app, &caller, &mut parts).await?;
    body::expect_nothing(&body::read(body).await?)?;
    let shard = app.backend.shards().first().copied().unwrap_or(Shard(0));
    let sent = self::request(&row, shard, SubscriptionWish::Test);
    let result = wish(&app, sent).await?.ok_or(Refused::Timeout)?;
    let body = TestBody {
        delivered: result.failure.is_none(),
        status: result.status,
        response: result.snippet,
        duration_ms: u64::try_from(result.duration.as_millis()).unwrap_or(u64::MAX),
        error: result.failure.map(|failure| failure.error.into()),
    };
    json(StatusCode::OK, &body)
}
