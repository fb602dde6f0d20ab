//! What operators are told of connections, compared with a recount.

use wellspring_core::AccountId;
use wellspring_core::health::{Health, HealthCode, HealthReport, SourceIncident};
use wellspring_core::reliability::{Day, FetchStatistics, Hundredths, score};
use wellspring_core::source::IncidentKind;
use wellspring_core::{SourceId, TenantId, Timestamp};
use wellspring_engine::{FetchScope, Queries};

use crate::Plant;
use crate::disk::now;
use crate::model::fares;
use crate::model::link::Link;
use crate::world::World;

impl World {
    /// Compares how connections and accounts are said to fare with what the model makes of them.
    pub(crate) fn audit_fares(&mut self) {
        let accounts = self.model.links.accounts.values();
        let accounts: Vec<_> = accounts.map(|one| (one.tenant, one.id)).collect();
        for (tenant, account) in accounts {
            if let Some((invariant, seen)) = self.wrong_fare(tenant, account) {
                return self.broken(invariant, seen);
            }
        }
    }

    /// Returns an account's score as operators are told it.
    pub(crate) fn score_of(&self, tenant: TenantId, account: AccountId) -> Option<Hundredths> {
        let clock = Timestamp::from_millis(self.now);
        let (mut healthy, mut connections) = (0, 0);
        for link in self.links_of(account) {
            let incident = self.incident(SourceId::of(&link.connection.source));
            let report = HealthReport::of(&link.connection, clock, incident);
            connections += 1;
            healthy += u64::from(report.health.is_healthy());
        }
        let scope = FetchScope::Account(account);
        let tallies = now(self.store.fetch_statistics(tenant, scope, month(clock))).ok()?;
        let mut sums = FetchStatistics::of(tallies).all;
        if self.plant == Some(Plant::CountKeptOut) {
            sums.failed += sums.maintenance + sums.rate_limited;
        }
        score((healthy, connections), (sums.success, sums.counted()))
    }

    fn wrong_fare(&self, tenant: TenantId, account: AccountId) -> Option<(&'static str, String)> {
        let clock = Timestamp::from_millis(self.now);
        let (mut healthy, mut connections) = (0, 0);
        for link in self.links_of(account) {
            let connection = &link.connection;
            let incident = self.incident(SourceId::of(&connection.source));
            let known = incident.filter(|_| self.plant != Some(Plant::MissIncidents));
            let report = HealthReport::of(connection, clock, known);
            let mut reasons = report.reasons.iter();
            let stale = reasons.any(|one| one.code == HealthCode::Stale);
            let expected = fares::health(connection, clock, incident, stale);
            if report.health != expected {
                let seen = format!("{report:?}, not {expected:?}: {connection:?} {incident:?}");
                return Some(("a connection fares as its row says", seen));
            }
            connections += 1;
            healthy += u32::from(matches!(expected, Health::Active | Health::Maintenance));
        }
        let is_of = |id| {
            let link = self.model.links.by_id.get(&id);
            link.is_some_and(|link| link.connection.account == account)
        };
        let (good, counted) = self.model.fares.counted(is_of, month(clock).start());
        let expected = fares::score(healthy, connections, good, counted);
        let found = self.score_of(tenant, account);
        let same = match (found, expected) {
            (Some(Hundredths(found)), Some(expected)) => (f64::from(found) - expected).abs() < 0.51,
            (found, expected) => found.is_none() && expected.is_none(),
        };
        (!same).then(|| {
            let seen = format!(
                "{account}: {found:?}, not {expected:?}: {healthy} of {connections}, {good} of {counted}"
            );
            let invariant = "the score is what is counted, and nothing where nothing counts";
            (invariant, seen)
        })
    }

    fn links_of(&self, account: AccountId) -> impl Iterator<Item = &Link> {
        let links = self.model.links.by_id.values();
        links.filter(move |link| link.connection.account == account)
    }

    fn incident(&self, source: SourceId) -> Option<SourceIncident> {
        let source = self.model.sources.get(&source)?;
        let incident = source.incident.as_ref()?;
        Some(SourceIncident {
            maintenance: incident.kind == IncidentKind::Maintenance,
            until: incident.expected_end,
        })
    }
}

/// Returns the first of the thirty days that the score is about.
fn month(now: Timestamp) -> Day {
    Day(Day::of(now).0.saturating_sub(29))
}
