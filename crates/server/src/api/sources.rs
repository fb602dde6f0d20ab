//! `/v1/sources`: what data can be fetched from.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::interaction::CredentialField;
use wellspring_core::source::{Announced, Forecast, Source, Written, forecast};
use wellspring_core::{IncidentKind, Phase, SourceName, SourceState, Timestamp};
use wellspring_engine::{IncidentFilter, LaneView};

use crate::api::incidents::IncidentBody;
use crate::body::json;
use crate::list::List;
use crate::path::Place;
use crate::problem::Problem;
use crate::query::Parameters;
use crate::router::{App, within};
use crate::{Caller, SourceInfo};

pub(crate) mod budgets;
pub(crate) mod patch;

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
    /// Whether anything is fetched from it; an operator may switch it off.
    enabled: bool,
    /// The incident that goes on: nothing is fetched in announced maintenance, and what waits spends no retries.
    incident: Option<IncidentBody>,
    /// When it is announced to be worked on.
    maintenance: Vec<WindowBody>,
    /// Hours in which maintenance has come back, by its incidents; nothing is skipped because of it. Not in lists, and for API keys alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<Vec<ForecastBody>>,
    /// How it fares at present, as this node sees it; for API keys alone.
    lane: Option<LaneBody>,
}

/// A time of maintenance that was announced.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WindowBody {
    /// When it begins, or when it began if it goes on.
    from: String,
    /// When it is over.
    to: String,
    /// On which days and at which hours it is, if it comes back.
    every: Option<String>,
    /// By the clock of which time zone.
    zone: Option<String>,
    /// Why.
    reason: Option<String>,
    /// By whom: the `configuration` or the `operator`.
    announced_by: &'static str,
}

/// A stretch of hours in which maintenance has come back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForecastBody {
    /// The day of the week, such as `sunday`; `null` for every day.
    weekday: Option<&'static str>,
    /// The first hour, 0 to 23, in UTC.
    from_hour: u8,
    /// The hour before which it ends, 1 to 24.
    to_hour: u8,
    /// When it is expected next.
    next_at: String,
    /// In how many weeks it was seen, or days where it is of every day.
    seen: u32,
    /// Of how many since it was seen first.
    of: u32,
    /// The incidents that say so, newest first.
    evidence: Vec<String>,
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
    let kept = within(app.backend.sources()).await?;
    let now = app.clock.now();
    let bodies = sources
        .iter()
        .map(|source| body(source, &lanes, &kept, now));
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
    json(StatusCode::OK, &whole(&app, &caller, &name).await?)
}

/// Returns all that the caller may know of a source.
async fn whole(app: &App, caller: &Caller, name: &SourceName) -> Result<SourceBody, Problem> {
    let source = app.intake.source(name);
    let source = source.filter(|_| is_shown(caller, name));
    let source = source.ok_or_else(Problem::nothing)?;
    let lanes = lanes(app, caller);
    let kept = within(app.backend.sources()).await?;
    let now = app.clock.now();
    let mut body = body(&source, &lanes, &kept, now);
    if caller.is_tenant() {
        let filter = IncidentFilter {
            source: Some(name.clone()),
            kind: Some(IncidentKind::Maintenance),
            open: None,
        };
        let incidents = within(app.backend.incidents(filter, None, LEARNT_FROM)).await?;
        let forecasts = forecast(&incidents, now);
        body.forecast = Some(forecasts.iter().map(ForecastBody::new).collect());
    }
    Ok(body)
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

fn body(source: &SourceInfo, lanes: &[LaneView], kept: &[Source], now: Timestamp) -> SourceBody {
    let lane = lanes.iter().find(|lane| lane.source == source.name);
    let kept = kept.iter().find(|kept| kept.name == source.name);
    let asked = kept.map_or(&[][..], |kept| &kept.windows);
    let announced = source
        .maintenance
        .iter()
        .map(|window| (window, "configuration"));
    let announced = announced.chain(asked.iter().map(|window| (window, "operator")));
    let incident = kept.and_then(|kept| kept.incident.as_ref());
    let fields = source.connections.as_ref();
    SourceBody {
        name: source.name.to_string(),
        connector: source.connector,
        takes_connections: source.connections.is_some(),
        credential_fields: fields.map_or_else(
            || Arc::from([]),
            |defaults| Arc::clone(&defaults.credential_fields),
        ),
        enabled: kept.is_none_or(|kept| kept.state() == SourceState::Enabled),
        incident: incident.map(IncidentBody::new),
        maintenance: announced
            .filter_map(|(window, by)| WindowBody::new(window, by, now))
            .collect(),
        forecast: None,
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

impl WindowBody {
    /// Returns nothing for what is over.
    fn new(window: &Announced, announced_by: &'static str, now: Timestamp) -> Option<Self> {
        let span = window.span(now)?;
        let written = Written::from(window.clone());
        Some(Self {
            from: span.from.to_string(),
            to: span.to.to_string(),
            every: written.every,
            zone: written.zone,
            reason: written.reason,
            announced_by,
        })
    }
}

impl ForecastBody {
    fn new(forecast: &Forecast) -> Self {
        let weekday = forecast.weekday.map(usize::from);
        Self {
            weekday: weekday.and_then(|day| WEEKDAYS.get(day).copied()),
            from_hour: forecast.from_hour,
            to_hour: forecast.to_hour,
            next_at: forecast.next.to_string(),
            seen: forecast.seen,
            of: forecast.of,
            evidence: forecast.evidence.iter().map(ToString::to_string).collect(),
        }
    }
}

const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
/// How many of the latest incidents forecasts are made of.
const LEARNT_FROM: usize = 200;
