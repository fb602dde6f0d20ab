//! How a connection fares, as the API shows it.

use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::health::{HealthReport, SourceIncident};
use wellspring_core::{Connection, IncidentKind, Phase};
use wellspring_engine::LaneView;

use crate::router::App;

/// How a connection fares.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthBody {
    /// `active`, `degraded`, `maintenance`, `error`, `reauth_required` or `disabled`.
    status: &'static str,
    /// Why, the worst first; empty where all is well.
    reasons: Vec<ReasonBody>,
}

/// Why a connection fares as it does.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ReasonBody {
    /// For programs, such as `consecutive_failures`.
    code: &'static str,
    /// For people.
    message: String,
}

/// Judges connections by one look at the engine.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    app: &'a App,
    lanes: Vec<LaneView>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(app: &'a App) -> Self {
        Self {
            app,
            lanes: app.engine.snapshot().lanes,
        }
    }

    /// Returns how a connection fares at present.
    pub(crate) fn report(&self, connection: &Connection) -> HealthReport {
        let lane = self.lane(connection);
        let incident = lane.and_then(incident);
        HealthReport::of(connection, self.app.clock.now(), incident)
    }

    /// Returns how the source of a connection fares, as this node sees it.
    pub(crate) fn lane(&self, connection: &Connection) -> Option<&LaneView> {
        let mut lanes = self.lanes.iter();
        lanes.find(|lane| lane.source == connection.source)
    }
}

/// Returns what keeps a source from its work: its incident, or what this node alone has met.
fn incident(lane: &LaneView) -> Option<SourceIncident> {
    if let Some(incident) = &lane.incident {
        return Some(SourceIncident {
            maintenance: incident.kind == IncidentKind::Maintenance,
            until: incident.expected_end,
        });
    }
    match lane.breaker {
        Phase::Open { .. } => Some(SourceIncident {
            maintenance: false,
            until: None,
        }),
        Phase::Closed | Phase::Ramping { .. } => None,
    }
}

impl HealthBody {
    pub(crate) fn new(report: &HealthReport) -> Self {
        Self {
            status: report.health.as_str(),
            reasons: ReasonBody::all(report),
        }
    }
}

impl ReasonBody {
    pub(crate) fn all(report: &HealthReport) -> Vec<Self> {
        let reasons = report.reasons.iter().map(|reason| Self {
            code: reason.code.as_str(),
            message: reason.sentence.clone(),
        });
        reasons.collect()
    }
}
