//! `POST /v1/subscriptions/{s}/replay`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wellspring_core::{Shard, Timestamp};
use wellspring_engine::{Redelivery, Subscription, SubscriptionWish};

use super::{find, request, wish};
use crate::Caller;
use crate::body::{self, Fields, pointer};
use crate::idempotency;
use crate::problem::{Fault, Problem, ProblemBody};
use crate::router::{App, within};

/// What is to be sent again: one of both.
// `read` reads it by hand, so that every fault is found; this describes it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayRequest {
    /// The ids of changes, at most 500.
    ids: Option<Vec<String>>,
    /// Everything that the subscription wants and that was written from this moment on.
    since: Option<String>,
}

enum Wanted {
    Ids(Vec<(Shard, u64, String)>),
    Since(Timestamp),
}

/// Sends changes again, with the `webhook-id` that they had.
#[utoipa::path(
    post, path = "/v1/subscriptions/{subscription}/replay", tag = "subscriptions", operation_id = "replaySubscription",
    params(
        ("subscription" = String, Path, description = "The subscription's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Accepted; a replay that is asked for twice may send twice"),
    ),
    request_body(content = ReplayRequest, example = json!({"since": "2026-11-21T08:00:00Z"})),
    responses(
        (status = 202, description = "They will be sent"),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 404, description = "There is no such subscription"),
        (status = 422, description = "The body is not valid, with an entry for each fault", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn replay(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let row = find(&app, &caller, &mut parts).await?;
    idempotency::hash(&parts.headers)?;
    match read(&body::read(body).await?)? {
        Wanted::Since(at) => {
            for shard in app.backend.shards() {
                let again = SubscriptionWish::ReplaySince(at);
                wish(&app, self::request(&row, shard, again)).await?;
            }
        }
        Wanted::Ids(ids) => {
            for (shard, again) in gather(&app, &row, ids).await? {
                let again = SubscriptionWish::Replay(again);
                wish(&app, self::request(&row, shard, again)).await?;
            }
        }
    }
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Looks the changes up; all of them must be there before any is sent.
async fn gather(
    app: &App,
    row: &Subscription,
    ids: Vec<(Shard, u64, String)>,
) -> Result<BTreeMap<Shard, Vec<Redelivery>>, Problem> {
    let mut found: BTreeMap<Shard, Vec<Redelivery>> = BTreeMap::new();
    let mut faults = Vec::new();
    for (at, (shard, seq, id)) in ids.into_iter().enumerate() {
        let entry = within(app.backend.entry(row.tenant, (shard, seq))).await?;
        let Some(entry) = entry.filter(|entry| entry.view.id() == id) else {
            let place = pointer("/ids", &at.to_string());
            faults.push(Fault::at(place, "is no change that is still kept"));
            continue;
        };
        let delivery = app.backend.delivery(row.tenant, row.id, (shard, seq));
        let attempts = within(delivery).await?.map_or(0, |view| view.row.attempts);
        found.entry(shard).or_default().push(Redelivery {
            seq,
            line: entry.line,
            message_id: id,
            attempts,
            created_at: entry.view.at,
        });
    }
    if faults.is_empty() {
        Ok(found)
    } else {
        Err(Problem::invalid(faults))
    }
}

fn read(body: &[u8]) -> Result<Wanted, Problem> {
    let mut faults = Vec::new();
    let mut fields = Fields::read(body, &mut faults)?;
    let (ids, since) = (
        fields.take("ids", &mut faults),
        fields.take("since", &mut faults),
    );
    fields.finish(&mut faults);
    let wanted = match (ids, since) {
        (Some(ids), None) => Some(Wanted::Ids(places(&ids, &mut faults))),
        (None, Some(since)) => {
            let at = since.as_str().and_then(|text| text.parse().ok());
            if at.is_none() {
                let detail = "must be a time such as 2026-11-21T08:00:00Z";
                faults.push(Fault::at("/since", detail));
            }
            at.map(Wanted::Since)
        }
        (None, None) | (Some(_), Some(_)) => {
            faults.push(Fault::at("", "must have either `ids` or `since`"));
            None
        }
    };
    match wanted {
        Some(wanted) if faults.is_empty() => Ok(wanted),
        Some(_) | None => Err(Problem::invalid(faults)),
    }
}

fn places(ids: &Value, faults: &mut Vec<Fault>) -> Vec<(Shard, u64, String)> {
    let texts = ids.as_array().map(Vec::as_slice).unwrap_or_default();
    if texts.is_empty() || texts.len() > MOST_IDS {
        let detail = format!("must be an array of 1 to {MOST_IDS} ids of changes");
        faults.push(Fault::at("/ids", detail));
        return Vec::new();
    }
    let mut places = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        match text.as_str().and_then(place) {
            Some((shard, seq)) => {
                let id = text.as_str().unwrap_or_default().to_owned();
                places.push((shard, seq, id));
            }
            None => {
                let place = pointer("/ids", &at.to_string());
                faults.push(Fault::at(place, "is not the id of a change"));
            }
        }
    }
    places
}

/// Returns the place that the id of a change is made of; see `ChangeView::id`.
fn place(id: &str) -> Option<(Shard, u64)> {
    let bytes = hex::decode(id.strip_prefix("chg_")?).ok()?;
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let [.., shard, _, _, _, _, _, _, _, _] = bytes;
    let (_, seq) = bytes.split_last_chunk::<8>()?;
    // The two highest bits are the UUID's own.
    let seq = u64::from_be_bytes(*seq) & (u64::MAX >> 2);
    (shard < Shard::COUNT).then_some((Shard(shard), seq))
}

const MOST_IDS: usize = 500;
