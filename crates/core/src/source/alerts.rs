//! Alerts about a source: opened by the step that shows the issue, closed by the one that shows
//! that it is mended, or in time.

use std::time::Duration;

use super::Source;
use super::transition::Draft;
use crate::alert::obey;
use crate::{
    Alert, AlertId, AlertKind, AlertState, AlertWish, AlertWrite, AnyId, ErrorClass, Facts,
    OpenAlert, Subject, TenantId, Timestamp, Verb,
};

impl Source {
    /// Returns when alerts of which calls tell are over because none has shown them for long.
    pub(super) fn alerts_given_up_at(&self) -> impl Iterator<Item = Timestamp> {
        let shown = self.shown.iter();
        shown.map(|(.., at)| at.after(ALERT_PATIENCE))
    }
}

impl Draft<'_> {
    /// A call of a tenant's collection has ended: it shows one issue at most, and that the others
    /// are mended.
    pub(super) fn call_ended(&mut self, tenant: TenantId, failed: Option<(ErrorClass, String)>) {
        let shown = failed.and_then(|(class, code)| Some((AlertKind::of_call(class)?, code)));
        let issue = shown.as_ref().map(|(kind, _)| *kind);
        self.mend(|of, kind| Some(kind) != issue && kind.is_mended_by_call(of == tenant));
        let Some((kind, code)) = shown else { return };
        let told = if kind.is_for_the_operator() {
            self.policy.operator
        } else {
            Some(tenant)
        };
        let Some(told) = told else { return };
        if let Some(open) = self.alert_of(told, kind) {
            let id = open.id(&self.place_of(told));
            self.alerts.push(AlertWrite::Again(id, self.now));
        } else {
            self.raise(told, kind, Some(code));
        }
        let shown = &mut self.next.shown;
        shown.retain(|(of, other, _)| (*of, *other) != (told, kind));
        shown.push((told, kind, self.now));
    }

    /// Closes what no call has shown for long, and forgets when what is closed was shown.
    pub(super) fn forget_alerts(&mut self) {
        let over = |at: Timestamp| at.after(ALERT_PATIENCE) <= self.now;
        let shown = self.next.shown.iter().filter(|(.., at)| over(*at));
        let old: Vec<_> = shown.map(|(of, kind, _)| (*of, *kind)).collect();
        self.mend(|of, kind| old.contains(&(of, kind)));
        let Source { shown, alerts, .. } = &mut self.next;
        let is_open = |of: TenantId, kind: AlertKind| {
            let mut alerts = alerts.iter();
            alerts.any(|(other, alert)| (*other, alert.kind) == (of, kind))
        };
        shown.retain(|(of, kind, _)| is_open(*of, *kind));
    }

    pub(super) fn alert_of(&self, tenant: TenantId, kind: AlertKind) -> Option<OpenAlert> {
        let mut alerts = self.next.alerts.iter();
        let found = alerts.find(|(of, alert)| *of == tenant && alert.kind == kind);
        found.map(|(_, alert)| *alert)
    }

    pub(super) fn raise(&mut self, tenant: TenantId, kind: AlertKind, code: Option<String>) {
        if self.alert_of(tenant, kind).is_some() {
            return;
        }
        let open = OpenAlert {
            kind,
            version: self.next.version,
            opened_at: self.now,
            acknowledged: false,
        };
        let id = open.id(&self.place_of(tenant));
        let alert = Alert {
            code,
            ..self.alert(tenant, id, kind)
        };
        let facts = Facts::Alert(Box::new(alert.facts()));
        self.tell(tenant, Verb::Created, Subject::Alert(id), facts);
        self.alerts.push(AlertWrite::Open(Box::new(alert)));
        self.next.alerts.push((tenant, open));
    }

    /// Closes those alerts, given by tenant and kind, that are over.
    pub(super) fn mend(&mut self, is_over: impl Fn(TenantId, AlertKind) -> bool) {
        let (over, stay) = std::mem::take(&mut self.next.alerts)
            .into_iter()
            .partition(|(of, alert)| is_over(*of, alert.kind));
        self.next.alerts = stay;
        let over: Vec<(TenantId, OpenAlert)> = over;
        for (tenant, open) in over {
            let id = open.id(&self.place_of(tenant));
            // What somebody has just said of it is less than that it is over.
            self.alerts.retain(|write| write.id() != id);
            self.alerts.push(AlertWrite::Close(id, self.now));
            let subject = Subject::AlertState(id, AlertState::Closed);
            self.tell_alert(tenant, open.kind, subject, id);
        }
    }

    pub(super) fn alert_asked(&mut self, id: AlertId, wish: AlertWish) {
        let tenants: Vec<TenantId> = self.next.alerts.iter().map(|(tenant, _)| *tenant).collect();
        for tenant in tenants {
            let all = std::mem::take(&mut self.next.alerts);
            let (mine, others): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|(of, _)| *of == tenant);
            let mut open: Vec<OpenAlert> = mine.into_iter().map(|(_, alert)| alert).collect();
            let place = self.place_of(tenant);
            let obeyed = obey((&mut open, &place), self.now, id, wish);
            self.next.alerts = others;
            self.next
                .alerts
                .extend(open.into_iter().map(|alert| (tenant, alert)));
            if let Some((kind, Some((write, subject)))) = obeyed {
                self.alerts.push(write);
                self.tell_alert(tenant, kind, subject, id);
            }
        }
        self.next
            .alerts
            .sort_by_key(|(tenant, alert)| (*tenant, alert.kind));
    }

    fn tell_alert(&mut self, tenant: TenantId, kind: AlertKind, subject: Subject, id: AlertId) {
        let facts = Facts::Alert(Box::new(self.alert(tenant, id, kind).facts()));
        self.tell(tenant, Verb::Updated, subject, facts);
    }

    fn alert(&self, tenant: TenantId, id: AlertId, kind: AlertKind) -> Alert {
        Alert {
            id,
            tenant,
            kind,
            source: self.next.name.clone(),
            connection: None,
            code: None,
            opened_at: self.now,
            last_at: self.now,
            count: 1,
            acknowledged_at: None,
            closed_at: None,
        }
    }

    /// What tells the alerts of different tenants apart; it is in the source's own shard.
    fn place_of(&self, tenant: TenantId) -> AnyId {
        let mut place = *self.next.id().as_bytes();
        let [mixed @ .., _shard] = &mut place;
        for (to, from) in mixed.iter_mut().zip(tenant.as_bytes()) {
            *to ^= from;
        }
        place
    }
}

/// For how long no call has to have shown an issue before its alert is taken for over: as after an
/// outage, whoever still fetches has come back within a day.
const ALERT_PATIENCE: Duration = Duration::from_secs(26 * 3_600);
