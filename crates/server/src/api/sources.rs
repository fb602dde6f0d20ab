//! `/v1/sources`: what data can be fetched from.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::interaction::CredentialField;
use wellspring_core::{Phase, SourceName};
use wellspring_engine::LaneView;

use crate::body::json;
use crate::list::List;
use crate::path::Place;
use crate::problem::Problem;
use crate::query::Parameters;
use crate::router::App;
use crate::{Caller, SourceInfo};

pub(crate) mod budgets;

/// A configured source.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SourceBody {
    /// Its name.
    name: String,
    /// The kind of its connector.
    connector: &'static str,
    /// Whether accounts can be connected to it; else it serves collections alone.
    takes_connections: bool,
    /// What it wants to log in.
    #[schema(value_type = Vec<FieldBody>)]
    credential_fields: Arc<[CredentialField]>,
    /// Whether anything is fetched from it.
    enabled: bool,
    /// How it fares at present, as this node sees it; for API keys alone.
    lane: Option<LaneBody>,
}

/// One of the login data that a source wants.
#[derive(Debug, Serialize, ToSchema)]
// The core writes it; this describes it.
pub(crate) struct FieldBody {
    /// Names it within the credentials.
    id: String,
    /// What to fill in.
    label: String,
    /// Whether it is shown as dots.
    sensitive: bool,
    /// Whether it may be left empty.
    optional: bool,
}

/// How a source fares.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LaneBody {
    /// Calls in flight.
    in_flight: u32,
    /// What waits for a slot.
    queued: usize,
    /// `closed`, `open` (one probe at a time) or `ramping` (up again, a few calls at a time).
    breaker: &'static str,
    /// When an open breaker lets the next probe out.
    probe_at: Option<String>,
    /// Until when the source wants no calls.
    paused_until: Option<String>,
    /// When the next call may begin, where none may now: its own word, or a budget that is spent.
    next_allowed_at: Option<String>,
}

/// Lists the configured sources by name.
#[utoipa::path(
    get, path = "/v1/sources", tag = "sources", operation_id = "listSources",
    responses((status = 200, description = "All of them, on one page", body = List<SourceBody>)),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    Parameters::read(request.uri(), &[], &[]).finish()?;
    let names = app.intake.source_names();
    let names = names.iter().filter_map(|name| name.parse().ok());
    let sources: Vec<SourceInfo> = names
        .filter(|name| is_shown(&caller, name))
        .filter_map(|name| app.intake.source(&name))
        .collect();
    let lanes = lanes(&app, &caller);
    let bodies = sources.iter().map(|source| body(source, &lanes));
    List::response(bodies.collect(), None)
}

/// Shows a source.
#[utoipa::path(
    get, path = "/v1/sources/{source}", tag = "sources", operation_id = "showSource",
    params(("source" = String, Path, description = "The source's name")),
    responses(
        (status = 200, description = "The source", body = SourceBody),
        (status = 404, description = "There is no such source"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let name: SourceName = Place::of(&mut parts).await.id(0)?;
    let source = app.intake.source(&name);
    let source = source.filter(|_| is_shown(&caller, &name));
    let source = source.ok_or_else(Problem::nothing)?;
    let lanes = lanes(&app, &caller);
    json(StatusCode::OK, &body(&source, &lanes))
}

/// Returns whether the caller has to do with the source: a page that connects one has with no other.
pub(crate) fn is_shown(caller: &Caller, name: &SourceName) -> bool {
    let page = caller.page.as_ref();
    page.and_then(|page| page.source.as_ref())
        .is_none_or(|only| only == name)
}

fn lanes(app: &App, caller: &Caller) -> Vec<LaneView> {
    if caller.is_tenant() {
        app.engine.snapshot().lanes
    } else {
        Vec::new()
    }
}

fn body(source: &SourceInfo, lanes: &[LaneView]) -> SourceBody {
    let lane = lanes.iter().find(|lane| lane.source == source.name);
    let fields = source.connections.as_ref();
    SourceBody {
        name: source.name.to_string(),
        connector: source.connector,
        takes_connections: source.connections.is_some(),
        credential_fields: fields.map_or_else(
            || Arc::from([]),
            |defaults| Arc::clone(&defaults.credential_fields),
        ),
        enabled: true,
        lane: lane.map(LaneBody::new),
    }
}

impl LaneBody {
    fn new(lane: &LaneView) -> Self {
        let (breaker, probe_at) = match lane.breaker {
            Phase::Closed => ("closed", None),
            Phase::Open { probe_at, .. } => ("open", Some(probe_at.to_string())),
            Phase::Ramping { .. } => ("ramping", None),
        };
        Self {
            in_flight: lane.in_flight,
            queued: lane.queued,
            breaker,
            probe_at,
            paused_until: lane.paused_until.map(|at| at.to_string()),
            next_allowed_at: lane.next_allowed_at.map(|at| at.to_string()),
        }
    }
}
