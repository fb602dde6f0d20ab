//! What each input makes of a source.

use std::time::Duration;

use super::{
    Announced, Detected, Hold, Incident, IncidentKind, IncidentState, Input, Patch, Policy, Source,
    SourceState, Span, Step,
};
use crate::{
    Actor, AlertKind, AlertWrite, Cause, Change, Facts, IncidentId, Subject, TenantId, Timestamp,
    Verb,
};

impl Source {
    /// Applies `input` and returns what to write; nothing where nothing changes.
    ///
    /// Changes what [`Source::hold`] and [`Source::next_wakeup`] say.
    pub fn handle(self, now: Timestamp, input: Input, policy: Policy<'_>) -> Option<Step> {
        let (actor, cause) = match &input {
            Input::Patched(_, actor) => (*actor, Cause::SourcePatched),
            Input::AlertAsked(.., actor) => (*actor, Cause::AlertAsked),
            Input::MaintenanceMet { .. }
            | Input::WentDown
            | Input::Answered
            | Input::CallEnded { .. } => (Actor::Engine, Cause::SourceMet),
            Input::Used(_) | Input::BackedUp | Input::CaughtUp => {
                (Actor::Engine, Cause::SourceWatched)
            }
            Input::Ticked => (Actor::Schedule, Cause::WindowReached),
        };
        let mut draft = Draft::new(self, now, actor, cause, policy);
        match input {
            Input::Patched(patch, _) => draft.patched(patch),
            Input::MaintenanceMet { until, code } => draft.maintenance_met(until, code),
            Input::WentDown => draft.went_down(),
            Input::Answered => draft.answered(),
            Input::Used(tenant) => drop(draft.next.tenants.insert(tenant)),
            Input::BackedUp => {
                if let Some(operator) = policy.operator {
                    draft.raise(operator, AlertKind::Backlog, None);
                }
            }
            Input::CaughtUp => draft.mend(|_, kind| kind == AlertKind::Backlog),
            Input::CallEnded { tenant, failed } => draft.call_ended(tenant, failed),
            Input::AlertAsked(id, wish, _) => draft.alert_asked(id, wish),
            Input::Ticked => {}
        }
        draft.reconcile();
        draft.finish()
    }

    /// Returns the announced maintenance that goes on, the one that lasts longest where there are
    /// several, and by whom it was announced.
    pub(super) fn announced_at(
        &self,
        now: Timestamp,
        configured: &[Announced],
    ) -> Option<(Span, Option<String>, Detected)> {
        let configured = configured
            .iter()
            .zip(std::iter::repeat(Detected::Configuration));
        let asked = self
            .windows
            .iter()
            .zip(std::iter::repeat(Detected::Operator));
        let present = configured.chain(asked).filter_map(|(window, by)| {
            let span = window.span(now).filter(|span| span.covers(now))?;
            Some((span, window.reason.clone(), by))
        });
        present.max_by_key(|(span, ..)| span.to)
    }

    /// Returns when an incident that was seen is over because nobody has met it for long.
    pub(super) fn given_up_at(&self) -> Option<Timestamp> {
        let incident = self.incident.as_ref()?;
        if incident.detected_by.is_announced() {
            return None;
        }
        let met = self.met_at.unwrap_or(incident.started_at);
        let patience = match incident.kind {
            IncidentKind::Maintenance => MAINTENANCE_PATIENCE,
            IncidentKind::Outage => OUTAGE_PATIENCE,
        };
        Some(
            met.max(incident.expected_end.unwrap_or(met))
                .after(patience),
        )
    }
}

/// A step that is being made.
pub(super) struct Draft<'a> {
    was: Source,
    pub(super) next: Source,
    pub(super) now: Timestamp,
    actor: Actor,
    cause: Cause,
    pub(super) policy: Policy<'a>,
    changes: Vec<(TenantId, Change)>,
    incidents: Vec<Incident>,
    pub(super) alerts: Vec<AlertWrite>,
}

impl<'a> Draft<'a> {
    fn new(source: Source, now: Timestamp, actor: Actor, cause: Cause, policy: Policy<'a>) -> Self {
        let next = Source {
            version: source.version.saturating_add(1),
            ..source.clone()
        };
        Self {
            was: source,
            next,
            now,
            actor,
            cause,
            policy,
            changes: Vec::new(),
            incidents: Vec::new(),
            alerts: Vec::new(),
        }
    }

    fn finish(self) -> Option<Step> {
        let unchanged = Source {
            version: self.next.version,
            ..self.was
        };
        let says_nothing = self.changes.is_empty() && self.alerts.is_empty();
        if unchanged == self.next && self.incidents.is_empty() && says_nothing {
            return None;
        }
        Some(Step {
            next: self.next,
            changes: self.changes,
            incidents: self.incidents,
            alerts: self.alerts,
        })
    }

    fn patched(&mut self, patch: Patch) {
        if let Some(windows) = patch.windows
            && windows != self.next.windows
        {
            self.next.windows = windows;
            let source = self.next.name.clone();
            let subject = Subject::Source(source.clone());
            self.say(Verb::Updated, &subject, &Facts::Source { source });
        }
        let state = self.next.state();
        match patch.enabled {
            Some(false) if state == SourceState::Enabled => {
                self.next.disabled_at = Some(self.now);
                self.say_state();
            }
            Some(true) if state == SourceState::Disabled => {
                self.next.disabled_at = None;
                self.say_state();
            }
            Some(_) | None => {}
        }
    }

    fn maintenance_met(&mut self, until: Option<Timestamp>, code: String) {
        let until = until.filter(|until| *until > self.now);
        let expected_end = until.map(|until| until.min(self.now.after(LONGEST_TOLD)));
        match self.next.incident.clone() {
            None => self.open(
                IncidentKind::Maintenance,
                Detected::Answers,
                expected_end,
                Some(code),
            ),
            Some(incident) if incident.kind == IncidentKind::Outage => {
                // What was taken for an outage says what it is.
                self.change(Incident {
                    kind: IncidentKind::Maintenance,
                    detected_by: Detected::Answers,
                    expected_end,
                    reason: Some(code),
                    ..incident
                });
            }
            Some(incident) if incident.detected_by.is_announced() => {}
            Some(incident) => {
                if expected_end.is_some() && expected_end != incident.expected_end {
                    self.change(Incident {
                        expected_end,
                        ..incident
                    });
                }
            }
        }
        self.meet();
    }

    fn went_down(&mut self) {
        if self.next.incident.is_none() {
            self.open(IncidentKind::Outage, Detected::Calls, None, None);
        }
        self.meet();
    }

    fn answered(&mut self) {
        let incident = self.next.incident.as_ref();
        if incident.is_some_and(|incident| !incident.detected_by.is_announced()) {
            self.end(self.now);
        }
    }

    /// Notes that the incident was met, not more often than a row is worth.
    fn meet(&mut self) {
        let noted = self.next.met_at;
        if self.next.incident.is_some()
            && noted.is_none_or(|at| self.now.since(at) >= BETWEEN_NOTES || at > self.now)
        {
            self.next.met_at = Some(self.now);
        }
    }

    /// Brings what is announced and what is open together.
    fn reconcile(&mut self) {
        let now = self.now;
        self.next
            .windows
            .retain(|window| window.span(now).is_some());
        let present = self.next.announced_at(now, self.policy.announced);
        match (self.next.incident.clone(), present) {
            (None, None) => {}
            (None, Some((span, reason, by))) => {
                self.open(IncidentKind::Maintenance, by, Some(span.to), reason);
            }
            (Some(incident), Some((span, reason, by))) => {
                let changed = Incident {
                    kind: IncidentKind::Maintenance,
                    detected_by: by,
                    expected_end: Some(span.to),
                    reason: reason.or_else(|| incident.reason.clone()),
                    ..incident.clone()
                };
                if changed != incident {
                    self.change(changed);
                }
            }
            (Some(incident), None) if incident.detected_by.is_announced() => {
                let at = incident.expected_end.unwrap_or(now).min(now);
                self.end(at.max(incident.started_at));
            }
            (Some(_), None) => {
                if self.next.given_up_at().is_some_and(|at| at <= now) {
                    self.end(now);
                }
            }
        }
        let is_out = |incident: &Incident| incident.kind == IncidentKind::Outage;
        if self.next.incident.as_ref().is_some_and(is_out) {
            let tenants: Vec<TenantId> = self.told().collect();
            for tenant in tenants {
                let known = self.alert_of(tenant, AlertKind::SourceDown).is_some();
                let opened = self.incidents.iter().any(is_out);
                if opened && !known {
                    self.raise(tenant, AlertKind::SourceDown, None);
                }
            }
        } else {
            self.mend(|_, kind| kind == AlertKind::SourceDown);
        }
        self.forget_alerts();
    }

    fn open(
        &mut self,
        kind: IncidentKind,
        detected_by: Detected,
        expected_end: Option<Timestamp>,
        reason: Option<String>,
    ) {
        let seed = u64::from(self.next.version);
        let incident = Incident {
            id: IncidentId::derived(self.now, &self.next.id(), seed),
            source: self.next.name.clone(),
            kind,
            detected_by,
            started_at: self.now,
            expected_end,
            ended_at: None,
            reason,
        };
        self.next.met_at = Some(self.now);
        let subject = Subject::Incident(incident.source.clone(), incident.id);
        self.keep(Verb::Created, &subject, incident);
    }

    fn change(&mut self, incident: Incident) {
        let subject = Subject::Incident(incident.source.clone(), incident.id);
        self.keep(Verb::Updated, &subject, incident);
    }

    fn end(&mut self, at: Timestamp) {
        let Some(incident) = self.next.incident.take() else {
            return;
        };
        let incident = Incident {
            ended_at: Some(at),
            ..incident
        };
        let source = incident.source.clone();
        let subject = Subject::IncidentState(source, incident.id, IncidentState::Ended);
        self.keep(Verb::Updated, &subject, incident);
        self.next.incident = None;
        self.next.met_at = None;
    }

    fn keep(&mut self, verb: Verb, subject: &Subject, incident: Incident) {
        self.say(verb, subject, &Facts::Incident(Box::new(incident.facts())));
        self.incidents.retain(|kept| kept.id != incident.id);
        self.incidents.push(incident.clone());
        self.next.incident = Some(incident);
    }

    /// Who is told: those who use the source, and the operator.
    fn told(&self) -> impl Iterator<Item = TenantId> + use<> {
        let mut tenants = self.next.tenants.clone();
        tenants.extend(self.policy.operator);
        tenants.into_iter()
    }

    fn say(&mut self, verb: Verb, subject: &Subject, body: &Facts) {
        for tenant in self.told() {
            self.tell(tenant, verb, subject.clone(), body.clone());
        }
    }

    fn say_state(&mut self) {
        let source = self.next.name.clone();
        let subject = Subject::SourceState(source.clone(), self.next.state());
        self.say(Verb::Updated, &subject, &Facts::Source { source });
    }

    pub(super) fn tell(&mut self, tenant: TenantId, verb: Verb, subject: Subject, body: Facts) {
        let change = Change {
            verb,
            subject,
            event: None,
            actor: self.actor,
            cause: self.cause,
            body,
        };
        self.changes.push((tenant, change));
    }
}

impl Hold {
    /// Returns whether nothing at all goes out.
    pub const fn is_shut(self) -> bool {
        match self {
            Self::Disabled | Self::Until(_) => true,
            Self::Probing(_) => false,
        }
    }
}

/// For how long nobody has to have met a maintenance before it is taken for over: connections
/// that met one come back within the hour.
const MAINTENANCE_PATIENCE: Duration = Duration::from_secs(2 * 3_600);
/// As above for an outage, after which connections come back within a day.
const OUTAGE_PATIENCE: Duration = Duration::from_secs(26 * 3_600);
/// However far ahead a source says that its maintenance ends.
const LONGEST_TOLD: Duration = Duration::from_secs(7 * 86_400);
/// How far apart notes of having met the same incident are.
const BETWEEN_NOTES: Duration = Duration::from_secs(600);
