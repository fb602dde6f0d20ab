//! `/v1/accounts/{account}/connections/{connection}/fetches`: the fetch log.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::connection::{Attempt, FetchRecord, FetchStatus};
use wellspring_core::{Disposition, Error, FetchId};

use super::{find, taken_apart};
use crate::Caller;
use crate::body::json;
use crate::list::{List, Wanted};
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

/// A fetch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FetchBody {
    /// Its id.
    id: String,
    /// On which connection.
    connection_id: String,
    /// What began it: `created`, `schedule`, `retry`, `wait` or `user`.
    trigger: &'static str,
    /// How it stands: `running`, `retrying`, `success`, `partial`, `failed`, `rate_limited`, `maintenance` or `cancelled`.
    status: &'static str,
    /// How it ended, in the words of a connection's `outcome`.
    outcome: Option<&'static str>,
    /// What went wrong.
    error: Option<FailureBody>,
    /// When it began.
    started_at: String,
    /// When it ended.
    ended_at: Option<String>,
    /// How long it took, waits in between included.
    duration_ms: Option<u64>,
    /// When the connection is tried again.
    next_attempt_at: Option<String>,
    /// Documents that came in.
    documents: u32,
    /// Records that came in.
    records: u32,
    /// Attempts that ended.
    attempt_count: u16,
    /// The attempts, oldest first; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<FetchAttempt>>,
}

/// One attempt of a fetch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FetchAttempt {
    /// Which one, from 1.
    number: u16,
    /// How it ended: `success`, `partial`, `failed`, `rate_limited`, `maintenance`, `retrying` (it
    /// failed and another followed), `question` (the source asked something) or `cancelled`.
    status: &'static str,
    /// When it began.
    at: String,
    /// When it ended.
    ended_at: String,
    /// How long it took.
    duration_ms: u64,
    /// Documents that it brought.
    documents: u32,
    /// Records that it brought.
    records: u32,
    /// When the connection is tried again after it.
    next_attempt_at: Option<String>,
    /// What went wrong; nothing where it succeeded or led to a question.
    error: Option<FailureBody>,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailureBody {
    /// The class.
    class: Option<&'static str>,
    /// The code.
    code: Option<String>,
    /// In words.
    message: Option<String>,
}

/// Lists the fetches of a connection, newest first.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/connections/{connection}/fetches", tag = "connections", operation_id = "listFetches",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page", body = List<FetchBody>),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "There is no such connection"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let connection = find(&app, &caller, &place).await?;
    let page = Wanted::read(&parts.uri, &[]).checked()?;
    let before = page.before.map(FetchId::from_bytes);
    let read = app.backend.fetches(connection.id, before, page.rows());
    let mut fetches = within(read).await?;
    let next = page.cut(&mut fetches, |fetch| *fetch.id.as_bytes());
    let bodies = fetches.into_iter().map(|fetch| FetchBody::new(fetch, None));
    List::response(bodies.collect(), next)
}

/// Shows a fetch with its attempts.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/connections/{connection}/fetches/{fetch}", tag = "connections", operation_id = "showFetch",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("fetch" = String, Path, description = "The fetch's id"),
    ),
    responses(
        (status = 200, description = "The fetch", body = FetchBody),
        (status = 404, description = "There is no such fetch"),
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
    let connection = find(&app, &caller, &place).await?;
    let id = place.id::<FetchId>(2)?;
    let found = within(app.backend.fetch(connection.id, id)).await?;
    let fetch = found.ok_or_else(Problem::nothing)?;
    let body = FetchBody::new(fetch.record, Some(fetch.attempts));
    json(StatusCode::OK, &body)
}

impl FetchBody {
    fn new(record: FetchRecord, attempts: Option<Vec<Attempt>>) -> Self {
        let attempts = attempts.map(|attempts| FetchAttempt::all(&record, attempts));
        let took = record.ended_at.map(|at| at.since(record.started_at));
        Self {
            id: record.id.to_string(),
            connection_id: record.connection.to_string(),
            trigger: record.trigger.as_str(),
            status: record.status.as_str(),
            outcome: record.outcome.map(|outcome| outcome.as_str()),
            error: record.error.map(FailureBody::new),
            started_at: record.started_at.to_string(),
            ended_at: record.ended_at.map(|at| at.to_string()),
            duration_ms: took.map(millis),
            next_attempt_at: record.next_attempt_at.map(|at| at.to_string()),
            documents: record.documents,
            records: record.records,
            attempt_count: record.attempts,
            attempts,
        }
    }
}

impl FetchAttempt {
    /// Returns what is shown of the attempts of a fetch; what one brought is what came in since
    /// the one before.
    fn all(fetch: &FetchRecord, attempts: Vec<Attempt>) -> Vec<Self> {
        let mut had = (0, 0);
        let mut all = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            let has = (attempt.documents, attempt.records);
            all.push(Self::new(fetch, attempt, had));
            had = has;
        }
        all
    }

    fn new(fetch: &FetchRecord, attempt: Attempt, (documents, records): (u32, u32)) -> Self {
        Self {
            number: attempt.number,
            status: status(fetch, &attempt),
            at: attempt.at.to_string(),
            ended_at: attempt.at.after(attempt.duration).to_string(),
            duration_ms: millis(attempt.duration),
            documents: attempt.documents.saturating_sub(documents),
            records: attempt.records.saturating_sub(records),
            next_attempt_at: attempt.next_at.map(|at| at.to_string()),
            error: attempt.error.map(FailureBody::new),
        }
    }
}

/// Returns how an attempt ended: the last one of a fetch that is over as the fetch did.
fn status(fetch: &FetchRecord, attempt: &Attempt) -> &'static str {
    let was_last = attempt.number == fetch.attempts && fetch.ended_at.is_some();
    match &attempt.error {
        None if was_last => fetch.status.as_str(),
        None => "question",
        Some(_) if was_last && fetch.status != FetchStatus::Cancelled => fetch.status.as_str(),
        // The fetch went on: by another attempt, or by a question for other credentials.
        Some(error) if error.class.disposition() == Disposition::Stop => "failed",
        Some(_) => FetchStatus::Retrying.as_str(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl FailureBody {
    fn new(error: Error) -> Self {
        let (class, code, message) = taken_apart(Some(error));
        Self {
            class,
            code,
            message,
        }
    }
}
