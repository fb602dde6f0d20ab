//! Sources: their steps follow one another, and each incident begins and ends once.

use std::collections::BTreeMap;

use wellspring_core::source::Source;
use wellspring_core::{
    Change, ErrorClass, IncidentId, IncidentState, Shard, SourceId, SourceName, Subject, TenantId,
    Timestamp, Verb,
};
use wellspring_engine::{Before, SourceWrite};

use super::{Broken, Model};

mod alerts;

/// All sources that something is kept of, and their incidents.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    by_id: BTreeMap<SourceId, Source>,
    /// Who was told of the beginning of each incident and not yet of its end.
    told: BTreeMap<(IncidentId, TenantId), bool>,
    alerts: alerts::Alerts,
    /// How many incidents began, and how many ended.
    pub(crate) incidents: [u64; 2],
}

impl Sources {
    pub(crate) fn get(&self, id: &SourceId) -> Option<&Source> {
        self.by_id.get(id)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Source> {
        self.by_id.values()
    }

    pub(crate) fn contains_key(&self, id: &SourceId) -> bool {
        self.by_id.contains_key(id)
    }

    /// Notes how a collection's call to a source ends.
    pub(crate) fn called(
        &mut self,
        source: &SourceName,
        tenant: TenantId,
        class: Option<ErrorClass>,
    ) {
        self.alerts.called(SourceId::of(source), tenant, class);
    }

    /// Returns an alert that is open for longer than anybody met it.
    pub(crate) fn lasting(&self, clock: impl Fn(Shard) -> Option<Timestamp>) -> Option<String> {
        self.alerts.lasting(clock)
    }
}

impl Model {
    pub(super) fn source(
        &mut self,
        write: &SourceWrite,
        said: &[(Timestamp, TenantId, &Change)],
    ) -> Result<(), Broken> {
        let was = self.sources.by_id.get(&write.id);
        let broken = |why: &str| {
            let seen = format!("{why}: {write:?}, was {was:?}, said {said:?}");
            Err(("sources follow from what was seen", seen))
        };
        let fits = match write.before {
            Before::New => was.is_none() && write.next.version == 1,
            Before::Live(version) => was.is_some_and(|was| was.version == version),
            Before::Finished(_) => false,
        };
        if !fits || write.next.id() != write.id {
            return broken("it is at another version");
        }
        let open = |source: Option<&Source>| {
            source.and_then(|source| source.incident.as_ref().map(|incident| incident.id))
        };
        let (before, after) = (open(was), open(Some(&write.next)));
        if write
            .next
            .incident
            .iter()
            .any(|incident| incident.ended_at.is_some())
        {
            return broken("an incident is open that has ended");
        }
        if before != after {
            self.sources.incidents[0] += u64::from(after.is_some());
            self.sources.incidents[1] += u64::from(before.is_some());
        }
        for (_, tenant, change) in said {
            let told = match (&change.subject, change.verb) {
                (Subject::Incident(_, id), Verb::Created) => {
                    self.sources.told.insert((*id, *tenant), false).is_none()
                }
                (Subject::IncidentState(_, id, IncidentState::Ended), _) => {
                    // Who came to use the source meanwhile hears of the end alone.
                    self.sources.told.insert((*id, *tenant), true) != Some(true)
                }
                (
                    Subject::Collection(_)
                    | Subject::CollectionStatus(..)
                    | Subject::Account(_)
                    | Subject::Connection(..)
                    | Subject::ConnectionState(..)
                    | Subject::ConnectionAccess(..)
                    | Subject::Interaction(..)
                    | Subject::Document(..)
                    | Subject::Alert(_)
                    | Subject::AlertState(..)
                    | Subject::Source(_)
                    | Subject::SourceState(..)
                    | Subject::Incident(..)
                    | Subject::IncidentState(..),
                    _,
                ) => true,
            };
            if !told {
                let path = change.subject.to_string();
                return Err(("an incident is told once at each end", path));
            }
        }
        if let Err(why) = self.sources.alerts.step(write, said) {
            let seen = format!("{why}: {write:?}, said {said:?}");
            return Err(("alerts about sources follow from calls", seen));
        }
        self.sources.by_id.insert(write.id, write.next.clone());
        Ok(())
    }
}
