//! `GET /v1/subscriptions`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::SubscriptionId;

use super::SubscriptionBody;
use crate::Caller;
use crate::body::json;
use crate::problem::Problem;
use crate::query::Parameters;
use crate::router::App;

/// A page of subscriptions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubscriptionList {
    /// The subscriptions, newest first.
    data: Vec<SubscriptionBody>,
    /// Where the next page begins.
    next_cursor: Option<String>,
    /// Whether there is one.
    has_more: bool,
}

/// Lists the subscriptions, newest first.
#[utoipa::path(
    get, path = "/v1/subscriptions", tag = "subscriptions", operation_id = "listSubscriptions",
    params(
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page of subscriptions", body = SubscriptionList),
        (status = 400, description = "A parameter is wrong"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::read(request.uri(), &["limit", "cursor"], &[]);
    let limit = parameters.limit(50, 200);
    let before = parameters.value("cursor").map(cursor);
    if before == Some(None) {
        parameters.fault("cursor", "is not a cursor of this list");
    }
    parameters.finish()?;
    let before = before.flatten();
    let mut rows = app.subscriptions.list(caller.tenant).await?;
    rows.retain(|row| before.is_none_or(|before| row.id < before));
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| has_more);
    let next_cursor = last.map(|row| URL_SAFE_NO_PAD.encode(row.id.as_bytes()));
    let mut data = Vec::with_capacity(rows.len());
    for row in rows {
        let secrets = app.subscriptions.secrets(&row)?;
        data.push(SubscriptionBody::new(&app, &row, &secrets));
    }
    let list = SubscriptionList {
        data,
        next_cursor,
        has_more,
    };
    json(StatusCode::OK, &list)
}

fn cursor(text: &str) -> Option<SubscriptionId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(SubscriptionId::from_bytes(bytes.try_into().ok()?))
}
