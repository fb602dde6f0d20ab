//! Alerts, sources and their incidents.

use std::ops::Bound;

use wellspring_core::{Alert, AlertId, AlertWrite, Incident, IncidentId, TenantId};
use wellspring_engine::{AlertFilter, IncidentFilter, SourceWrite};

use super::Image;

impl Image {
    pub(super) fn apply_alerts(&mut self, writes: &[AlertWrite]) {
        for write in writes {
            if let AlertWrite::Open(alert) = write {
                self.alerts.insert(alert.id, Alert::clone(alert));
                continue;
            }
            let Some(kept) = self.alerts.get_mut(&write.id()) else {
                continue;
            };
            match write {
                AlertWrite::Open(_) => {}
                AlertWrite::Again(_, at) => {
                    kept.count = kept.count.saturating_add(1);
                    kept.last_at = *at;
                }
                AlertWrite::Acknowledge(_, at) => kept.acknowledged_at = Some(*at),
                AlertWrite::Close(_, at) => kept.closed_at = Some(*at),
            }
        }
    }

    pub(super) fn apply_source(&mut self, write: &SourceWrite) {
        self.sources.insert(write.id, write.next.clone());
        for incident in &write.incidents {
            self.incidents.insert(incident.id, incident.clone());
        }
        self.apply_alerts(&write.alerts);
    }

    pub(super) fn listed_incidents(
        &self,
        filter: &IncidentFilter,
        before: Option<IncidentId>,
        limit: usize,
    ) -> Vec<Incident> {
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |incident: &&Incident| {
            let source = filter.source.as_ref();
            source.is_none_or(|of| *of == incident.source)
                && filter.kind.is_none_or(|kind| kind == incident.kind)
                && filter
                    .open
                    .is_none_or(|open| open == incident.ended_at.is_none())
        };
        let newest_first = self.incidents.range((Bound::Unbounded, end)).rev();
        let incidents = newest_first.map(|(_, incident)| incident).filter(wanted);
        incidents.take(limit).cloned().collect()
    }

    pub(super) fn listed_alerts(
        &self,
        tenant: Option<TenantId>,
        filter: &AlertFilter,
        before: Option<AlertId>,
        limit: usize,
    ) -> Vec<Alert> {
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |alert: &&Alert| {
            let connection = alert.connection.map(|(_, id)| id);
            tenant.is_none_or(|tenant| alert.tenant == tenant)
                && filter
                    .open
                    .is_none_or(|open| open == alert.closed_at.is_none())
                && filter.kind.is_none_or(|kind| kind == alert.kind)
                && filter.source.as_ref().is_none_or(|of| *of == alert.source)
                && filter.connection.is_none_or(|of| connection == Some(of))
        };
        let newest_first = self.alerts.range((Bound::Unbounded, end)).rev();
        let alerts = newest_first.map(|(_, alert)| alert).filter(wanted);
        alerts.take(limit).cloned().collect()
    }
}
