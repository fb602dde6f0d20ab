//! The fetch log.

use serde::{Deserialize, Serialize};
use wellspring_core::connection::{Attempt, FetchRecord, FetchStatus, Trigger};
use wellspring_core::{ConnectionId, Error, FetchId, OutcomeKind, Timestamp};
use wellspring_engine::StoreError;

use super::{duration, error_of, inconsistent, text};

/// What of a fetch is not in a column of its own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    trigger: Trigger,
    at: i64,
    status: FetchStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<OutcomeKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    attempts: u16,
    documents: u32,
    records: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// Returns what of a fetch is not in a column of its own: its ids and its end are.
pub(crate) fn fetch_body(fetch: &FetchRecord) -> Result<String, serde_json::Error> {
    let FetchRecord {
        id: _,
        connection: _,
        ended_at: _,
        trigger,
        started_at,
        status,
        outcome,
        error,
        attempts,
        documents,
        records,
        next_attempt_at,
    } = fetch;
    text(&Body {
        trigger: *trigger,
        at: started_at.as_millis(),
        status: *status,
        outcome: *outcome,
        error: error.clone(),
        attempts: *attempts,
        documents: *documents,
        records: *records,
        next: next_attempt_at.map(Timestamp::as_millis),
    })
}

/// Rebuilds a fetch from its columns.
pub(crate) fn fetch(
    id: FetchId,
    connection: ConnectionId,
    ended_at: Option<i64>,
    body: &str,
) -> Result<FetchRecord, StoreError> {
    let body: Body =
        serde_json::from_str(body).map_err(|_error| inconsistent("fetches", "body", &id))?;
    Ok(FetchRecord {
        id,
        connection,
        trigger: body.trigger,
        started_at: Timestamp::from_millis(body.at),
        ended_at: ended_at.map(Timestamp::from_millis),
        status: body.status,
        outcome: body.outcome,
        error: body.error,
        attempts: body.attempts,
        documents: body.documents,
        records: body.records,
        next_attempt_at: body.next.map(Timestamp::from_millis),
    })
}

/// Rebuilds an attempt from its columns.
pub(crate) fn fetch_attempt(
    fetch: FetchId,
    number: u16,
    (at, duration_ms, next_at): (i64, i64, Option<i64>),
    (documents, records): (u32, u32),
    error: Option<&str>,
) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        fetch,
        number,
        at: Timestamp::from_millis(at),
        duration: duration(duration_ms),
        error: error_of(error, "fetch_attempts", &fetch)?,
        documents,
        records,
        next_at: next_at.map(Timestamp::from_millis),
    })
}
