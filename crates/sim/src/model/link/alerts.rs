//! Which alerts have to be open after a step.

use wellspring_core::connection::{Connection, OutcomeKind};
use wellspring_core::{Access, AlertKind, Change, ErrorClass, OpenAlert, Timestamp};
use wellspring_engine::ConnectionWrite;

/// Returns the alerts of a connection after a step: each issue has one from the step that shows it
/// to the step that mends it.
pub(super) fn after(
    was: &Connection,
    next: &Connection,
    write: &ConnectionWrite,
    said: &[(Timestamp, &Change)],
) -> Vec<OpenAlert> {
    let at = said.first().map(|(at, _)| *at);
    let ended = write
        .fetch
        .as_ref()
        .filter(|fetch| fetch.ended_at.is_some());
    let outcome = ended.and_then(|fetch| fetch.outcome);
    let is_open = |kind| was.alerts.iter().any(|alert| alert.kind == kind);
    // What the step shows of each issue; nothing where it shows neither.
    let refused = matches!(next.access, Access::ReauthRequired | Access::Revoked);
    let works = matches!(next.access, Access::Valid | Access::Expiring);
    let failed_so = outcome == Some(OutcomeKind::Failed(ErrorClass::AuthenticationError));
    let shown = refused && (next.access != was.access || failed_so);
    let mut verdicts = vec![(
        AlertKind::Deauthorised,
        if works {
            Some(false)
        } else {
            shown.then_some(true)
        },
    )];
    for (kind, class) in [
        (AlertKind::Throttled, ErrorClass::RateLimitExceeded),
        (AlertKind::ConnectorCrashed, ErrorClass::InternalError),
        (AlertKind::InvalidRequest, ErrorClass::InvalidRequest),
    ] {
        let told = outcome.filter(|outcome| *outcome != OutcomeKind::Cancelled);
        verdicts.push((kind, told.map(|told| told == OutcomeKind::Failed(class))));
    }
    let mended = |kind| verdicts.contains(&(kind, Some(false)));
    let mut alerts = was.alerts.clone();
    alerts.retain(|alert| !mended(alert.kind));
    let fresh = verdicts
        .iter()
        .filter(|(kind, shows)| *shows == Some(true) && !is_open(*kind));
    alerts.extend(fresh.filter_map(|(kind, _)| {
        Some(OpenAlert {
            kind: *kind,
            version: next.version,
            opened_at: at?,
            acknowledged: false,
        })
    }));
    alerts
}
