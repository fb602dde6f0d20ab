//! How connections fare and how reliable they are, counted afresh from what became durable.

use std::collections::BTreeMap;

use wellspring_core::connection::{Access, Connection, FetchStatus, OutcomeKind, State};
use wellspring_core::health::{Health, SourceIncident};
use wellspring_core::{ConnectionId, ErrorClass, FetchId, Timestamp};
use wellspring_engine::ConnectionWrite;

use super::Broken;

/// The ends of fetches.
#[derive(Debug, Default)]
pub(crate) struct Fares {
    ended: BTreeMap<FetchId, (ConnectionId, Timestamp, FetchStatus)>,
}

impl Fares {
    /// Takes in a step of a connection.
    pub(super) fn step(
        &mut self,
        write: &ConnectionWrite,
        was: Option<&Connection>,
    ) -> Result<(), Broken> {
        if let Some(fetch) = &write.fetch
            && let (Some(at), Some(outcome)) = (fetch.ended_at, fetch.outcome)
        {
            if !stands_for(fetch.status, outcome) {
                return Err(("a fetch is kept as it ended", format!("{fetch:?}")));
            }
            self.ended.insert(fetch.id, (write.id, at, fetch.status));
        }
        let (Some(was), Some(next)) = (was, &write.next) else {
            return Ok(());
        };
        let seen = || format!("{next:?} was {was:?}");
        let kept_out = next.outcome != was.outcome
            && next.outcome.as_ref().is_some_and(|outcome| {
                outcome.kind == OutcomeKind::Failed(ErrorClass::BankMaintenance)
            });
        if kept_out && (next.retries > was.retries || next.state == State::Error) {
            return Err(("no retry is spent in maintenance", seen()));
        }
        if let State::Connecting { fetch, .. } | State::Uploading { fetch, .. } = &next.state {
            let over = |(class, failures): &(ErrorClass, u16)| *failures > allowed(*class);
            if fetch.failures.iter().any(over) {
                return Err(("attempts stay within the policy of their class", seen()));
            }
        }
        Ok(())
    }

    /// Returns how many fetches on one of these connections brought all, and how many count, of
    /// those that ended since a moment.
    pub(crate) fn counted(
        &self,
        of: impl Fn(ConnectionId) -> bool,
        since: Timestamp,
    ) -> (u32, u32) {
        let (mut good, mut all) = (0, 0);
        for (id, at, status) in self.ended.values() {
            if !of(*id) || *at < since {
                continue;
            }
            all += u32::from(matches!(
                status,
                FetchStatus::Success | FetchStatus::Partial | FetchStatus::Failed
            ));
            good += u32::from(*status == FetchStatus::Success);
        }
        (good, all)
    }
}

/// Returns the score in hundredths: nothing where nothing counts.
pub(crate) fn score(healthy: u32, connections: u32, good: u32, counted: u32) -> Option<f64> {
    if connections == 0 || counted == 0 {
        return None;
    }
    let share = |part: u32, whole: u32| f64::from(part) / f64::from(whole);
    Some(10_000.0 * (0.6 * share(healthy, connections) + 0.4 * share(good, counted)))
}

/// Says how a connection fares by what is worst about it (section 9 of the domain).
pub(crate) fn health(
    connection: &Connection,
    now: Timestamp,
    incident: Option<SourceIncident>,
    stale: bool,
) -> Health {
    let refused = matches!(connection.access, Access::ReauthRequired | Access::Revoked);
    if connection.state == State::Disabled {
        return Health::Disabled;
    }
    if refused {
        return Health::ReauthRequired;
    }
    if connection.state == State::Error {
        return Health::Error;
    }
    let told = incident.is_some_and(|incident| {
        incident.maintenance && incident.until.is_none_or(|until| until > now)
    });
    let waits = connection
        .next()
        .is_some_and(|next| next.reason == wellspring_core::Reason::Maintenance && next.at > now);
    if told || waits {
        return Health::Maintenance;
    }
    let outcome = connection.outcome.as_ref().map(|outcome| outcome.kind);
    let lame = matches!(
        outcome,
        Some(OutcomeKind::Partial | OutcomeKind::UserTooSlow | OutcomeKind::UserNeeded)
    );
    let away = incident.is_some_and(|incident| !incident.maintenance);
    if connection.retries > 0 || lame || away || stale {
        return Health::Degraded;
    }
    Health::Active
}

/// Whether a fetch that ended so may be kept so: what throttles or rests counts for nobody, and
/// what waits for an event or a person ends without a verdict.
const fn stands_for(status: FetchStatus, outcome: OutcomeKind) -> bool {
    match outcome {
        OutcomeKind::Success => matches!(status, FetchStatus::Success),
        OutcomeKind::Partial => matches!(status, FetchStatus::Partial),
        OutcomeKind::UserTooSlow | OutcomeKind::UserNeeded | OutcomeKind::Cancelled => {
            matches!(status, FetchStatus::Cancelled)
        }
        OutcomeKind::Failed(ErrorClass::BankMaintenance) => {
            matches!(status, FetchStatus::Maintenance)
        }
        OutcomeKind::Failed(ErrorClass::RateLimitExceeded) => {
            matches!(status, FetchStatus::RateLimited)
        }
        OutcomeKind::Failed(
            ErrorClass::ConnectionFailure
            | ErrorClass::InstitutionError
            | ErrorClass::ItemError
            | ErrorClass::AuthenticationError
            | ErrorClass::ProductNotAvailable
            | ErrorClass::InvalidRequest
            | ErrorClass::InternalError
            | ErrorClass::UnknownError,
        ) => matches!(status, FetchStatus::Failed | FetchStatus::Cancelled),
    }
}

/// How often an attempt of one fetch may fail with a class and be followed by another (section 5 of the domain).
const fn allowed(class: ErrorClass) -> u16 {
    match class {
        ErrorClass::ConnectionFailure => 5,
        ErrorClass::InstitutionError | ErrorClass::UnknownError => 3,
        ErrorClass::ItemError => 2,
        // These wait for the source, or are not repeated at all.
        ErrorClass::BankMaintenance
        | ErrorClass::RateLimitExceeded
        | ErrorClass::AuthenticationError
        | ErrorClass::ProductNotAvailable
        | ErrorClass::InvalidRequest
        | ErrorClass::InternalError => 0,
    }
}
