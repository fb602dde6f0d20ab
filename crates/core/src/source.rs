//! The source machine: what the operator has set, announced maintenance, and the open incident.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Actor, AlertId, AlertKind, AlertWish, AlertWrite, Change, ErrorClass, IncidentId, OpenAlert,
    SourceId, SourceName, Stored, TenantId, Timestamp,
};

mod alerts;
mod forecast;
mod transition;
mod window;

pub use forecast::{Forecast, forecast};
pub use window::{Announced, Recurring, Span, When, WindowError, Written};

/// One source, as much of it as is kept: what its file says stands in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: SourceName,
    /// Counts the steps.
    pub version: u32,
    /// Since when it is switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// Times of maintenance that were announced through the API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Announced>,
    /// The incident that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<Incident>,
    /// When the incident was last met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met_at: Option<Timestamp>,
    /// Whose fetches have gone to it: they are told of incidents.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tenants: BTreeSet<TenantId>,
    /// The alerts about it that are open, by tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<(TenantId, OpenAlert)>,
    /// When a collection's call last showed what an open alert is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<(TenantId, AlertKind, Timestamp)>,
}

/// A period in which a source is unhealthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// The source.
    pub source: SourceName,
    /// What it is.
    pub kind: IncidentKind,
    /// How it is known.
    pub detected_by: Detected,
    /// When it began.
    pub started_at: Timestamp,
    /// When it is expected to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_end: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Why, in words or as a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// The source is being worked on, and says so.
    Maintenance,
    /// The source does not answer anybody.
    Outage,
}

impl IncidentKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Maintenance, Self::Outage];

    /// Returns the name used in API, log and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Maintenance => "maintenance",
            Self::Outage => "outage",
        }
    }
}

impl Stored for IncidentKind {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

/// How an incident is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detected {
    /// The source's file announced it.
    Configuration,
    /// The operator announced it through the API.
    Operator,
    /// The source answered so.
    Answers,
    /// Calls of many connections failed alike.
    Calls,
}

impl Detected {
    /// Every way.
    pub const ALL: [Self; 4] = [
        Self::Configuration,
        Self::Operator,
        Self::Answers,
        Self::Calls,
    ];

    /// Returns the name used in API, log and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Operator => "operator",
            Self::Answers => "answers",
            Self::Calls => "calls",
        }
    }

    const fn is_announced(self) -> bool {
        match self {
            Self::Configuration | Self::Operator => true,
            Self::Answers | Self::Calls => false,
        }
    }
}

impl Stored for Detected {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

/// Whether anything is fetched from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceState {
    /// It is.
    Enabled,
    /// The operator has switched it off.
    Disabled,
}

impl SourceState {
    /// Returns the name used in API and paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

impl Stored for SourceState {
    const MEMBERS: &'static [Self] = &[Self::Enabled, Self::Disabled];
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IncidentState {
    /// It goes on.
    Open,
    /// It is over.
    Ended,
}

impl IncidentState {
    /// Returns the name used in API and paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ended => "ended",
        }
    }
}

impl Stored for IncidentState {
    const MEMBERS: &'static [Self] = &[Self::Open, Self::Ended];
}

/// What keeps scheduled calls back from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is switched off: nothing goes out until somebody switches it on.
    Disabled,
    /// Its announced maintenance goes on until then: nothing goes out before.
    Until(Timestamp),
    /// It is in maintenance, of which the end is known or not: one probe at a time goes out.
    Probing(Option<Timestamp>),
}

/// What happened to a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// The operator has set something.
    Patched(Patch, Actor),
    /// The source answered that it is in maintenance.
    MaintenanceMet {
        /// Until when, by its own word.
        until: Option<Timestamp>,
        /// The stable code of the answer.
        code: String,
    },
    /// Calls of many connections failed, and none succeeded.
    WentDown,
    /// It answers again.
    Answered,
    /// A fetch of this tenant goes to it for the first time.
    Used(TenantId),
    /// Work that is due waits too long for its turn.
    BackedUp,
    /// It no longer does.
    CaughtUp,
    /// A call of a tenant's collection has ended.
    CallEnded {
        /// Whose collection.
        tenant: TenantId,
        /// How it failed, with the stable code, where it did.
        failed: Option<(ErrorClass, String)>,
    },
    /// Somebody has acted on an alert.
    AlertAsked(AlertId, AlertWish, Actor),
    /// A time that it waited for has come.
    Ticked,
}

/// What the operator sets of a source; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Patch {
    /// Whether anything is fetched from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Its times of maintenance, in place of those announced through the API before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<Announced>>,
}

/// What a step goes by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy<'a> {
    /// Times of maintenance that the source's file announces.
    pub announced: &'a [Announced],
    /// Who is told besides those who use the source.
    pub operator: Option<TenantId>,
}

/// What a step wants written.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The source as it is then.
    pub next: Source,
    /// The entries for the log, each for its tenant.
    pub changes: Vec<(TenantId, Change)>,
    /// Incidents that began, changed or ended, as they are then.
    pub incidents: Vec<Incident>,
    /// What becomes of alerts.
    pub alerts: Vec<AlertWrite>,
}

/// What a change of a source or an incident says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IncidentFacts {
    /// The source.
    pub source: SourceName,
    /// What the incident is.
    pub kind: &'static str,
    /// How it is known.
    pub detected_by: &'static str,
    /// When it began.
    pub started_at: Timestamp,
    /// When it is expected to end.
    pub expected_end: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
}

impl Source {
    /// Returns a source of which nothing is kept yet.
    pub const fn fresh(name: SourceName) -> Self {
        Self {
            name,
            version: 0,
            disabled_at: None,
            windows: Vec::new(),
            incident: None,
            met_at: None,
            tenants: BTreeSet::new(),
            alerts: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// Returns its id, which follows from its name.
    pub fn id(&self) -> SourceId {
        SourceId::of(&self.name)
    }

    /// Returns whether anything is fetched from it.
    pub const fn state(&self) -> SourceState {
        if self.disabled_at.is_some() {
            SourceState::Disabled
        } else {
            SourceState::Enabled
        }
    }

    /// Returns what keeps scheduled calls back at `now`.
    pub fn hold(&self, now: Timestamp, announced: &[Announced]) -> Option<Hold> {
        if self.disabled_at.is_some() {
            return Some(Hold::Disabled);
        }
        if let Some((span, ..)) = self.announced_at(now, announced) {
            return Some(Hold::Until(span.to));
        }
        let incident = self.incident.as_ref()?;
        match incident.kind {
            // One that was announced has passed, and is about to be closed.
            IncidentKind::Maintenance if incident.detected_by.is_announced() => None,
            IncidentKind::Maintenance => Some(Hold::Probing(incident.expected_end)),
            // The breakers see to it.
            IncidentKind::Outage => None,
        }
    }

    /// Returns whether its open incident is not what is announced at `now`, so that a step is due.
    pub fn is_behind(&self, now: Timestamp, announced: &[Announced]) -> bool {
        let incident = self.incident.as_ref();
        match (self.announced_at(now, announced), incident) {
            (None, None) => false,
            (None, Some(incident)) => incident.detected_by.is_announced(),
            (Some(_), None) => true,
            (Some((span, _, by)), Some(incident)) => {
                incident.detected_by != by || incident.expected_end != Some(span.to)
            }
        }
    }

    /// Returns when something of it changes by itself.
    pub fn next_wakeup(&self, now: Timestamp, announced: &[Announced]) -> Option<Timestamp> {
        let spans = announced.iter().chain(&self.windows);
        let bounds = spans.filter_map(|window| {
            let span = window.span(now)?;
            Some(if span.from > now { span.from } else { span.to })
        });
        let over = self.given_up_at().into_iter();
        bounds.chain(over).chain(self.alerts_given_up_at()).min()
    }
}

impl Incident {
    /// Returns where it stands.
    pub const fn state(&self) -> IncidentState {
        if self.ended_at.is_some() {
            IncidentState::Ended
        } else {
            IncidentState::Open
        }
    }

    /// Returns what the log says of it.
    pub fn facts(&self) -> IncidentFacts {
        IncidentFacts {
            source: self.source.clone(),
            kind: self.kind.as_str(),
            detected_by: self.detected_by.as_str(),
            started_at: self.started_at,
            expected_end: self.expected_end,
            ended_at: self.ended_at,
            reason: self.reason.clone(),
        }
    }
}

impl fmt::Display for IncidentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
