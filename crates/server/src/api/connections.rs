//! `/v1/accounts/{account}/connections`: what links accounts to sources.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::connection::FetchRecord;
use wellspring_core::schedule::{Schedule, SlowPlan};
use wellspring_core::{
    Account, Connection, ConnectionId, ConnectionState, Error, LastOutcome, OnQuestionExpired,
};
use wellspring_engine::StoreError;

use super::accounts;
use super::health::{HealthBody, Judge};
use super::sources::is_shown;
use crate::Caller;
use crate::body::json;
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

mod allowed;
pub(crate) mod create;
pub(crate) mod credentials;
pub(crate) mod delete;
pub(crate) mod fetch;
pub(crate) mod fetches;
mod fields;
pub(crate) mod interactions;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod response;

pub(crate) use fields::is_date;

/// One account's link to one source.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionBody {
    /// Its id.
    id: String,
    /// Whose it is.
    account_id: String,
    /// What it leads to.
    source: String,
    /// What the person calls it.
    label: Option<String>,
    /// Where the fetch is: `created`, `waiting`, `connecting`, `question`, `answered`, `uploading`, `completed`, `retrying`, `manual`, `error` or `disabled`.
    state: &'static str,
    /// Whether the credentials work: `unverified`, `pending`, `valid`, `expiring`, `reauth_required` or `revoked`.
    access: &'static str,
    /// How the last fetch ended.
    outcome: Option<OutcomeBody>,
    /// Failed fetches in a row.
    retries: u8,
    /// When the next fetch comes; nothing while one is under way or only a person can begin one.
    next_attempt_at: Option<String>,
    /// Why then: `schedule`, `retry`, `rate_limit`, `maintenance` or `user`.
    next_attempt_reason: Option<&'static str>,
    /// When the source may be called for it, where it waits for that: for a budget, for a pause of the source, or since it was throttled.
    next_allowed_at: Option<String>,
    /// Whether it is fetched at all.
    enabled: bool,
    /// Whether scheduled fetches rest.
    paused: bool,
    /// When it is fetched: `{"every": "24h"}`, `{"cron": "0 6 * * *", "timezone": "Europe/Berlin"}` or `{"manual": true}`.
    #[schema(value_type = Object)]
    schedule: Schedule,
    /// The gaps after failed fetches, such as `["2h", "24h"]`; nothing where they are the source's.
    #[schema(value_type = Option<Vec<String>>)]
    slow_plan: Option<SlowPlan>,
    /// What follows when nobody answers: `retry` or `fall_back`.
    #[schema(value_type = String)]
    on_question_expired: OnQuestionExpired,
    /// From which day on data is wanted.
    start_date: Option<String>,
    /// When a fetch last succeeded, documents or not.
    last_success_at: Option<String>,
    /// When it was made.
    created_at: String,
    /// Documents of the fetch under way or else of the last one; nothing before the first.
    documents: Option<u32>,
    /// The fetch under way.
    current_fetch_id: Option<String>,
    /// The question that waits for an answer.
    open_interaction_id: Option<String>,
    /// How it fares, and why.
    health: HealthBody,
    /// Counts its steps.
    version: u32,
}

/// How a fetch ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OutcomeBody {
    /// `success`, `partial`, `user_too_slow`, `user_needed`, `cancelled`, or the class of the error.
    kind: &'static str,
    /// When.
    at: String,
    /// The class of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    /// The code of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The error in words for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Shows a connection.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/connections/{connection}", tag = "connections", operation_id = "showConnection",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
    ),
    responses(
        (status = 200, description = "The connection", body = ConnectionBody),
        (status = 404, description = "There is no such connection"),
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
    answer(&app, StatusCode::OK, connection).await
}

/// Returns the connection that a path begins with, if it is the caller's to see.
pub(crate) async fn find(app: &App, caller: &Caller, place: &Place) -> Result<Connection, Problem> {
    let account = accounts::find(app, caller, place).await?;
    let id = place.id::<ConnectionId>(1)?;
    let held_to = caller.page.as_ref().and_then(|page| page.connection);
    if held_to.is_some_and(|only| only != id) {
        return Err(Problem::nothing());
    }
    let connection = of_account(app, &account, id).await?;
    let connection = connection.filter(|connection| is_shown(caller, &connection.source));
    connection.ok_or_else(Problem::nothing)
}

async fn of_account(
    app: &App,
    account: &Account,
    id: ConnectionId,
) -> Result<Option<Connection>, StoreError> {
    let connection = within(app.backend.connection(account.tenant, id)).await?;
    Ok(connection.filter(|connection| connection.account == account.id))
}

/// Returns a connection as it is after it was changed; as it was where it cannot be seen yet.
pub(crate) async fn afresh(app: &App, before: Connection) -> Result<Connection, StoreError> {
    let now = within(app.backend.connection(before.tenant, before.id)).await?;
    Ok(now.unwrap_or(before))
}

/// Answers with a connection.
pub(crate) async fn answer(
    app: &App,
    status: StatusCode,
    connection: Connection,
) -> Result<Response, Problem> {
    json(status, &body(app, connection).await?)
}

/// Returns what is shown of a connection.
pub(crate) async fn body(app: &App, connection: Connection) -> Result<ConnectionBody, StoreError> {
    let documents = match connection.fetch() {
        Some(fetch) => Some(fetch.documents),
        None => {
            let fetches = within(app.backend.fetches(connection.id, None, 1)).await?;
            fetches.first().map(|fetch: &FetchRecord| fetch.documents)
        }
    };
    let legacy_waiting = app.access.settings(connection.tenant).legacy_waiting;
    let judge = Judge::new(app);
    let health = HealthBody::new(&judge.report(&connection));
    let now = app.clock.now();
    let allowed = allowed::next_allowed_at(&connection, judge.lane(&connection), now);
    let shown = (documents, health, legacy_waiting);
    let mut body = ConnectionBody::new(connection, shown);
    body.next_allowed_at = allowed.map(|at| at.to_string());
    Ok(body)
}

impl ConnectionBody {
    fn new(
        connection: Connection,
        (documents, health, legacy_waiting): (Option<u32>, HealthBody, bool),
    ) -> Self {
        let next = connection.next();
        let state = connection.shown_state(legacy_waiting);
        Self {
            id: connection.id.to_string(),
            account_id: connection.account.to_string(),
            source: connection.source.to_string(),
            state: state.as_str(),
            access: connection.access.as_str(),
            retries: connection.retries,
            next_attempt_at: next.map(|next| next.at.to_string()),
            next_attempt_reason: next.map(|next| next.reason.as_str()),
            next_allowed_at: None,
            enabled: state != ConnectionState::Disabled,
            last_success_at: connection.last_success_at.map(|at| at.to_string()),
            created_at: connection.created_at.to_string(),
            documents,
            current_fetch_id: connection.fetch().map(|fetch| fetch.id.to_string()),
            open_interaction_id: connection.open_interaction().map(|id| id.to_string()),
            health,
            version: connection.version,
            outcome: connection.outcome.map(OutcomeBody::new),
            label: connection.config.label,
            paused: connection.config.paused,
            schedule: connection.config.schedule,
            slow_plan: connection.config.slow_plan,
            on_question_expired: connection.config.on_question_expired,
            start_date: connection.config.start_date,
        }
    }
}

impl OutcomeBody {
    fn new(outcome: LastOutcome) -> Self {
        let (class, code, message) = taken_apart(outcome.error);
        Self {
            kind: outcome.kind.as_str(),
            at: outcome.at.to_string(),
            class,
            code,
            message,
        }
    }
}

type Told = (Option<&'static str>, Option<String>, Option<String>);

/// Returns the class, the code and the words of an error.
fn taken_apart(error: Option<Error>) -> Told {
    error.map_or((None, None, None), |error| {
        let class = error.class.as_str();
        (Some(class), Some(error.code), Some(error.message))
    })
}
