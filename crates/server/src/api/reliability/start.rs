//! `POST /api/reliability/connections/{connection}/retry` and `…/sync-now`: a fetch, really begun.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::Connection;
use wellspring_engine::Request;

use super::{Asked as Query, gate};
use crate::Caller;
use crate::api::connections::{afresh, fetch::refusal};
use crate::body::{self, json};
use crate::idempotency::{Asked, Once, replayed};
use crate::path::Place;
use crate::problem::Problem;
use crate::router::App;
use crate::traced;

/// A retry that was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RetryBody {
    success: bool,
    message: &'static str,
    connection_id: String,
    /// Which retry in a row it is.
    retry_count: u8,
    /// When it was begun.
    last_retry_attempt: String,
    /// Where the fetch is.
    state: &'static str,
    /// The fetch under way, once it has begun.
    sync_id: Option<String>,
}

/// A fetch that was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SyncBody {
    success: bool,
    message: &'static str,
    connection_id: String,
    institution_name: String,
    /// When it was begun.
    started_at: String,
    /// Where the fetch is.
    state: &'static str,
    /// The fetch under way, once it has begun.
    sync_id: Option<String>,
}

/// Has a connection that failed fetched again, now.
///
/// What comes of it stands in the sync status; where a fetch is under way that one is meant.
#[utoipa::path(
    post, path = "/api/reliability/connections/{connection}/retry", tag = "reliability", operation_id = "retryConnection",
    params(
        ("connection" = String, Path, description = "The connection's id"),
        ("account" = Option<String>, Query, description = "With an API key: whose connection it must be"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours begins nothing again"),
    ),
    responses(
        (status = 202, description = "It is fetched", body = RetryBody),
        (status = 404, description = "There is no such connection"),
        (status = 409, description = "Not at present, with the reason: `connection_disabled`, `reauth_required`, `question_open`, `source_in_maintenance` or `rate_limited`, the last two with `next_allowed_at`"),
        (status = 422, description = "A parameter is wrong, or the body says something"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn retry(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let begun = Begun::ask(&app, &caller, request, b"POST reliability retry").await?;
    let body = RetryBody {
        success: true,
        message: begun.message("Connection retry started"),
        connection_id: begun.connection.id.to_string(),
        retry_count: begun.failures.max(1),
        last_retry_attempt: begun.at(&app),
        state: begun.connection.state().as_str(),
        sync_id: begun.fetch_id(),
    };
    begun.answer(&body)
}

/// Has a connection fetched now.
///
/// What comes of it stands in the sync status; where a fetch is under way that one is meant.
#[utoipa::path(
    post, path = "/api/reliability/connections/{connection}/sync-now", tag = "reliability", operation_id = "syncNow",
    params(
        ("connection" = String, Path, description = "The connection's id"),
        ("account" = Option<String>, Query, description = "With an API key: whose connection it must be"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours begins nothing again"),
    ),
    responses(
        (status = 202, description = "It is fetched", body = SyncBody),
        (status = 404, description = "There is no such connection"),
        (status = 409, description = "Not at present, with the reason: `connection_disabled`, `reauth_required`, `question_open`, `source_in_maintenance` or `rate_limited`, the last two with `next_allowed_at`"),
        (status = 422, description = "A parameter is wrong, or the body says something"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn sync_now(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let begun = Begun::ask(&app, &caller, request, b"POST reliability sync-now").await?;
    let body = SyncBody {
        success: true,
        message: begun.message("Sync started"),
        connection_id: begun.connection.id.to_string(),
        institution_name: begun.connection.source.to_string(),
        started_at: begun.at(&app),
        state: begun.connection.state().as_str(),
        sync_id: begun.fetch_id(),
    };
    begun.answer(&body)
}

/// A fetch that was begun, or was under way.
struct Begun {
    connection: Connection,
    /// Fetches that had failed in a row before.
    failures: u8,
    /// The fetch was not begun by this request.
    already: bool,
    replayed: bool,
}

impl Begun {
    async fn ask(
        app: &App,
        caller: &Caller,
        request: HttpRequest,
        operation: &[u8],
    ) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let place = Place::of(&mut parts).await;
        let body = body::read(body).await?;
        let query = Query::read(&parts.uri, &[]);
        let connection = query.connection(app, caller, &place).await?;
        let failures = connection.retries;
        let what: [&[u8]; 3] = [operation, connection.id.as_bytes(), &body];
        let once = Once::new(app, caller, &parts.headers, &what)?;
        let again = |connection| Self {
            connection,
            failures,
            already: false,
            replayed: true,
        };
        if once.before(app).await?.is_some() {
            return Ok(again(connection));
        }
        body::expect_nothing(&body)?;
        gate::check(app, &connection)?;
        let request = Request::Connection {
            id: connection.id,
            tenant: connection.tenant,
            wish: traced::fetch(&parts.headers),
            actor: caller.actor,
        };
        match once.ask(app, request).await? {
            Asked::Done(_) => Ok(Self {
                connection: afresh(app, connection).await?,
                failures,
                already: false,
                replayed: false,
            }),
            Asked::Again(_) => Ok(again(connection)),
            Asked::State(rejected) => match refusal(rejected.from) {
                Some(problem) => Err(problem),
                None => Ok(Self {
                    connection: afresh(app, connection).await?,
                    failures,
                    already: true,
                    replayed: false,
                }),
            },
        }
    }

    const fn message(&self, begun: &'static str) -> &'static str {
        if self.already {
            "A fetch is under way already"
        } else {
            begun
        }
    }

    fn fetch_id(&self) -> Option<String> {
        self.connection.fetch().map(|fetch| fetch.id.to_string())
    }

    /// Returns when the fetch began.
    fn at(&self, app: &App) -> String {
        let fetch = self.connection.fetch();
        fetch
            .map_or_else(|| app.clock.now(), |fetch| fetch.started_at)
            .to_string()
    }

    fn answer(&self, body: &impl Serialize) -> Result<Response, Problem> {
        let response = json(StatusCode::ACCEPTED, body)?;
        Ok(if self.replayed {
            replayed(response)
        } else {
            response
        })
    }
}
