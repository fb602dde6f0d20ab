//! `/v1/incidents`: when sources were unhealthy.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::{Incident, IncidentId, IncidentKind, SourceName};
use wellspring_engine::IncidentFilter;

use crate::Caller;
use crate::list::{List, Wanted};
use crate::problem::Problem;
use crate::router::{App, within};

/// A period in which a source was or is unhealthy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IncidentBody {
    /// Its id.
    id: String,
    /// The source.
    source: String,
    /// `maintenance` or `outage`.
    kind: &'static str,
    /// `open` or `ended`.
    state: &'static str,
    /// How it is known: by `configuration`, by the `operator`, by the source's `answers`, or by `calls` that failed alike.
    detected_by: &'static str,
    /// When it began.
    started_at: String,
    /// When it is expected to end.
    expected_end: Option<String>,
    /// When it ended.
    ended_at: Option<String>,
    /// Why, in words or as the source's code.
    reason: Option<String>,
}

/// Lists incidents of sources, newest first; they are kept for two years.
#[utoipa::path(
    get, path = "/v1/incidents", tag = "sources", operation_id = "listIncidents",
    params(
        ("source" = Option<String>, Query, description = "Only those of this source"),
        ("kind" = Option<String>, Query, description = "Only `maintenance`, or only `outage`"),
        ("state" = Option<String>, Query, description = "Only those that are `open`, or that have `ended`"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page", body = List<IncidentBody>),
        (status = 400, description = "A parameter is wrong"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    _caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let mut wanted = Wanted::read(request.uri(), &["source", "kind", "state"]);
    let filter = filter(&mut wanted);
    let page = wanted.checked()?;
    let before = page.before.map(IncidentId::from_bytes);
    let mut incidents = within(app.backend.incidents(filter, before, page.rows())).await?;
    let next = page.cut(&mut incidents, |incident| *incident.id.as_bytes());
    let bodies = incidents.iter().map(IncidentBody::new);
    List::response(bodies.collect(), next)
}

fn filter(wanted: &mut Wanted) -> IncidentFilter {
    let parameters = &mut wanted.parameters;
    let mut filter = IncidentFilter::default();
    match parameters.value("source").map(str::parse::<SourceName>) {
        None => {}
        Some(Ok(source)) => filter.source = Some(source),
        Some(Err(error)) => parameters.fault("source", error.to_string()),
    }
    if let Some(text) = parameters.value("kind") {
        let mut all = IncidentKind::ALL.into_iter();
        filter.kind = all.find(|kind| kind.as_str() == text);
        if filter.kind.is_none() {
            parameters.fault("kind", "is `maintenance` or `outage`");
        }
    }
    match parameters.value("state") {
        None => {}
        Some("open") => filter.open = Some(true),
        Some("ended") => filter.open = Some(false),
        Some(_) => parameters.fault("state", "is `open` or `ended`"),
    }
    filter
}

impl IncidentBody {
    pub(crate) fn new(incident: &Incident) -> Self {
        Self {
            id: incident.id.to_string(),
            source: incident.source.to_string(),
            kind: incident.kind.as_str(),
            state: incident.state().as_str(),
            detected_by: incident.detected_by.as_str(),
            started_at: incident.started_at.to_string(),
            expected_end: incident.expected_end.map(|at| at.to_string()),
            ended_at: incident.ended_at.map(|at| at.to_string()),
            reason: incident.reason.clone(),
        }
    }
}
