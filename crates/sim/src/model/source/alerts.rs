//! Alerts about sources: each issue has one at a time, and calls of collections explain it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wellspring_core::source::IncidentKind;
use wellspring_core::{
    AlertId, AlertKind, AlertState, AlertWrite, Change, ErrorClass, Shard, SourceId, Subject,
    TenantId, Timestamp, Verb,
};
use wellspring_engine::SourceWrite;

/// The open alerts about sources, and how collections' calls ended.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    open: BTreeMap<AlertId, Open>,
    calls: BTreeMap<(SourceId, AlertKind, Option<TenantId>), Calls>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    source: SourceId,
    tenant: TenantId,
    kind: AlertKind,
    met: Timestamp,
}

/// How calls ended, as far as one issue is concerned, and how often something was made of it.
#[derive(Debug, Default)]
struct Calls {
    showed: u64,
    opened: u64,
    ended_otherwise: u64,
    mended: u64,
}

impl Alerts {
    pub(super) fn called(&mut self, source: SourceId, tenant: TenantId, class: Option<ErrorClass>) {
        for (kind, shows, own) in ISSUES {
            let key = (source, kind, own.then_some(tenant));
            let calls = self.calls.entry(key).or_default();
            if class == Some(shows) {
                calls.showed += 1;
            } else {
                calls.ended_otherwise += 1;
            }
        }
    }

    /// Takes in a step of a source.
    pub(super) fn step(
        &mut self,
        write: &SourceWrite,
        said: &[(Timestamp, TenantId, &Change)],
    ) -> Result<(), &'static str> {
        let mut told: BTreeSet<(AlertId, TenantId, bool)> = BTreeSet::new();
        for (_, tenant, change) in said {
            if let (Subject::Alert(id), Verb::Created) = (&change.subject, change.verb) {
                told.insert((*id, *tenant, true));
            } else if let Subject::AlertState(id, AlertState::Closed) = &change.subject {
                told.insert((*id, *tenant, false));
            }
        }
        for alert in &write.alerts {
            match alert {
                AlertWrite::Open(alert) => {
                    let open = Open {
                        source: write.id,
                        tenant: alert.tenant,
                        kind: alert.kind,
                        met: alert.opened_at,
                    };
                    let fits = alert.connection.is_none() && alert.source == write.next.name;
                    require(fits, "an alert is about something else")?;
                    let news = told.remove(&(alert.id, alert.tenant, true));
                    require(news, "an alert was opened and nobody told")?;
                    if let Some(calls) = self.calls_of(open) {
                        calls.opened += 1;
                        require(calls.opened <= calls.showed, "no call showed the issue")?;
                    }
                    self.open.insert(alert.id, open);
                }
                AlertWrite::Again(id, at) => {
                    let open = self.open.get_mut(id).ok_or("what is not open is met")?;
                    open.met = *at;
                }
                AlertWrite::Acknowledge(..) => return Err("nobody has acknowledged anything"),
                AlertWrite::Close(id, at) => {
                    let open = self.open.remove(id).ok_or("what is not open is closed")?;
                    let news = told.remove(&(*id, open.tenant, false));
                    require(news, "an alert was closed and nobody told")?;
                    let over = open.met.after(PATIENCE) <= *at;
                    if let Some(calls) = self.calls_of(open).filter(|_| !over) {
                        calls.mended += 1;
                        let mended = calls.mended <= calls.ended_otherwise;
                        require(mended, "no call showed that the issue is mended")?;
                    }
                }
            }
        }
        require(told.is_empty(), "an alert is told of and not written")?;
        let of_it = self.open.values().filter(|open| open.source == write.id);
        let mut expected: Vec<_> = of_it.map(|open| (open.tenant, open.kind)).collect();
        let kept = write.next.alerts.iter();
        let mut kept: Vec<_> = kept.map(|(of, alert)| (*of, alert.kind)).collect();
        expected.sort_unstable();
        kept.sort_unstable();
        require(expected == kept, "other alerts are open than were opened")?;
        kept.dedup();
        require(kept.len() == expected.len(), "an issue has two alerts")?;
        let incident = write.next.incident.as_ref();
        let out = incident.is_some_and(|incident| incident.kind == IncidentKind::Outage);
        let down = kept.iter().any(|(_, kind)| *kind == AlertKind::SourceDown);
        require(out || !down, "a source is said to be down and is not")
    }

    /// Returns an alert that is open although no call has shown its issue for long, by the clock
    /// of who has its shard.
    pub(super) fn lasting(&self, clock: impl Fn(Shard) -> Option<Timestamp>) -> Option<String> {
        let lasting = self.open.iter().find(|(id, open)| {
            let late = open.met.after(PATIENCE).after(SLACK);
            is_issue(open.kind) && clock(id.shard()).is_some_and(|now| late < now)
        });
        lasting.map(|(id, open)| format!("{id}: {open:?}"))
    }

    fn calls_of(&mut self, open: Open) -> Option<&mut Calls> {
        let (kind, _, own) = ISSUES.into_iter().find(|(kind, ..)| *kind == open.kind)?;
        let key = (open.source, kind, own.then_some(open.tenant));
        Some(self.calls.entry(key).or_default())
    }
}

fn is_issue(kind: AlertKind) -> bool {
    ISSUES.into_iter().any(|(issue, ..)| issue == kind)
}

fn require(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// What calls of collections show, by which class, and whether of their own tenant alone.
const ISSUES: [(AlertKind, ErrorClass, bool); 4] = [
    (AlertKind::Throttled, ErrorClass::RateLimitExceeded, true),
    (
        AlertKind::Deauthorised,
        ErrorClass::AuthenticationError,
        true,
    ),
    (
        AlertKind::ConnectorCrashed,
        ErrorClass::InternalError,
        false,
    ),
    (AlertKind::InvalidRequest, ErrorClass::InvalidRequest, false),
];
/// After which time an alert that nobody meets closes by itself.
const PATIENCE: Duration = Duration::from_secs(26 * 3_600);
/// How much later than that it may be.
const SLACK: Duration = Duration::from_secs(20 * 60);
