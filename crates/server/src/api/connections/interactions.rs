//! `/v1/accounts/{account}/connections/{connection}/interactions`: what sources ask people.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::interaction::{Closed, Code, Part};
use wellspring_core::{Connection, InteractionId, Timestamp};
use wellspring_engine::{InteractionView, Request, Wish};

use super::find;
use crate::Caller;
use crate::ask::{Refused, ask};
use crate::body::{self, json};
use crate::list::List;
use crate::path::Place;
use crate::problem::Problem;
use crate::query::Parameters;
use crate::router::{App, within};

/// What a source asks a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InteractionBody {
    /// Its id.
    id: String,
    /// Of which connection.
    connection_id: String,
    /// What a response names; a question that is posed afresh is another interaction.
    version: u32,
    /// What kind of question it is, such as `one_time_code`, or which notice.
    #[schema(value_type = String)]
    code: Code,
    /// A heading.
    title: Option<String>,
    /// What is shown and asked, in order; `kind` tells what each is.
    #[schema(value_type = Vec<Object>)]
    parts: Vec<Part>,
    /// Whether it can be answered at any time.
    persistent: bool,
    /// When it can no longer be answered.
    expires_at: Option<String>,
    /// When it was posed.
    created_at: String,
    /// `open` or `closed`.
    status: &'static str,
    /// When it was closed.
    closed_at: Option<String>,
    /// Why it is closed: `answered`, `expired`, `cancelled`, `superseded` or `connection_deleted`.
    #[schema(value_type = Option<String>)]
    reason: Option<Closed>,
}

/// Lists what was asked on a connection: what is open first, then the newest.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/connections/{connection}/interactions", tag = "interactions", operation_id = "listInteractions",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
    ),
    responses(
        (status = 200, description = "The latest, on one page", body = List<InteractionBody>),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "There is no such connection"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let connection = find(&app, &caller, &place).await?;
    let mut parameters = Parameters::read(&parts.uri, &["limit"], &[]);
    let limit = parameters.limit(50, 200);
    parameters.finish()?;
    let mut views = within(app.backend.interactions(connection.id, limit)).await?;
    // A stable sort: each of the two halves stays newest first.
    views.sort_by_key(|view| view.closed.is_some());
    let now = app.clock.now();
    let bodies = views
        .into_iter()
        .map(|view| InteractionBody::new(view, now));
    List::response(bodies.collect(), None)
}

/// Shows a question or a notice.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/connections/{connection}/interactions/{interaction}", tag = "interactions", operation_id = "showInteraction",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("interaction" = String, Path, description = "The interaction's id"),
    ),
    responses(
        (status = 200, description = "What is asked", body = InteractionBody, example = json!({"id": "int_0193b8a1c2d37a4b9e0f1a2b3c4d5e6f", "connection_id": "conn_0193b8a1c2d37a4b9e0f1a2b3c4d5e6f", "version": 1, "code": "one_time_code", "title": "We sent you a code", "parts": [{"kind": "text_input", "id": "code", "label": "Code", "sensitive": true, "max_length": 6}], "persistent": false, "expires_at": "2026-11-21T09:40:00.000Z", "created_at": "2026-11-21T09:30:00.000Z", "status": "open", "closed_at": null, "reason": null})),
        (status = 404, description = "There is no such interaction"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let (_, view) = interaction(&app, &caller, &place).await?;
    json(StatusCode::OK, &InteractionBody::new(view, app.clock.now()))
}

/// Calls a question off, and with it the fetch that waits for the answer.
#[utoipa::path(
    delete, path = "/v1/accounts/{account}/connections/{connection}/interactions/{interaction}", tag = "interactions", operation_id = "cancelInteraction",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("interaction" = String, Path, description = "The interaction's id"),
    ),
    responses(
        (status = 204, description = "Cancelled, now or before"),
        (status = 404, description = "There is no such interaction"),
        (status = 409, description = "It was answered (`already_answered`)"),
        (status = 410, description = "It expired (`interaction_expired`), or was closed by something else (`interaction_closed`)"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn cancel(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let (connection, view) = interaction(&app, &caller, &place).await?;
    if let Some(closed) = closed(&view, app.clock.now()) {
        return cancelled(closed);
    }
    let request = Request::Connection {
        id: connection.id,
        tenant: connection.tenant,
        wish: Wish::CancelQuestion(view.id),
        actor: caller.actor,
    };
    match ask(&app, request, None).await {
        Ok(_) => Ok(body::nothing()),
        Err(Refused::State(rejected)) => {
            // It was closed in this very moment.
            let view = within(app.backend.interaction(connection.id, view.id)).await?;
            let closed = view.and_then(|view| view.closed);
            closed.map_or_else(
                || Err(Refused::State(rejected).into()),
                |(reason, _)| cancelled(reason),
            )
        }
        Err(refused) => Err(refused.into()),
    }
}

fn cancelled(closed: Closed) -> Result<Response, Problem> {
    match closed {
        Closed::Cancelled => Ok(body::nothing()),
        Closed::Answered | Closed::Expired | Closed::Superseded | Closed::ConnectionDeleted => {
            Err(over(closed))
        }
    }
}

/// Returns the interaction that the path names, and its connection.
pub(super) async fn interaction(
    app: &App,
    caller: &Caller,
    place: &Place,
) -> Result<(Connection, InteractionView), Problem> {
    let connection = find(app, caller, place).await?;
    let id = place.id::<InteractionId>(2)?;
    let found = within(app.backend.interaction(connection.id, id)).await?;
    let view = found.ok_or_else(Problem::nothing)?;
    Ok((connection, view))
}

/// Returns why it is closed; one whose time has passed is, even before the engine has come to it.
pub(super) fn closed(view: &InteractionView, now: Timestamp) -> Option<Closed> {
    match view.closed {
        Some((reason, _)) => Some(reason),
        None => {
            let expired = view.expires_at.is_some_and(|at| at <= now);
            expired.then_some(Closed::Expired)
        }
    }
}

/// Returns what is said of a question that is closed for this reason.
pub(super) fn over(closed: Closed) -> Problem {
    let (status, code, detail) = match closed {
        Closed::Answered => (
            StatusCode::CONFLICT,
            "already_answered",
            "This question was answered before, and not with this",
        ),
        Closed::Expired => (
            StatusCode::GONE,
            "interaction_expired",
            "This question can no longer be answered: its time has passed",
        ),
        Closed::Cancelled => (
            StatusCode::GONE,
            "interaction_closed",
            "This question was cancelled",
        ),
        Closed::Superseded => (
            StatusCode::GONE,
            "interaction_closed",
            "Something else took the place of this question",
        ),
        Closed::ConnectionDeleted => (
            StatusCode::GONE,
            "interaction_closed",
            "The connection of this question was deleted",
        ),
    };
    Problem::new(status, code, detail)
}

impl InteractionBody {
    pub(super) fn new(view: InteractionView, now: Timestamp) -> Self {
        let reason = closed(&view, now);
        let closed_at = view.closed.map(|(_, at)| at);
        Self {
            id: view.id.to_string(),
            connection_id: view.connection.to_string(),
            version: VERSION,
            code: view.question.code,
            title: view.question.title,
            parts: view.question.parts,
            persistent: view.expires_at.is_none(),
            expires_at: view.expires_at.map(|at| at.to_string()),
            created_at: view.created_at.to_string(),
            status: if reason.is_some() { "closed" } else { "open" },
            closed_at: closed_at
                .or_else(|| view.expires_at.filter(|_| reason.is_some()))
                .map(|at| at.to_string()),
            reason,
        }
    }
}

/// A question never changes: what is posed afresh is an interaction of its own.
pub(super) const VERSION: u32 = 1;
