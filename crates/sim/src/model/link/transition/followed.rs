use wellspring_core::connection::{Fetch, State};
use wellspring_core::{Action, ErrorClass, LastOutcome, OutcomeKind, Timestamp};

use super::super::Link;
use super::Seen;
use super::forget;

impl Seen<'_> {
    /// What a rule's action has follow, and classes for which no connection is to blame.
    pub(super) fn followed(
        &self,
        after: &mut Link,
        at: Timestamp,
        (fetch, class, error): (&Fetch, ErrorClass, &Option<wellspring_core::Error>),
        action: Action,
    ) -> Option<Result<&'static str, String>> {
        let outcome = |kind| LastOutcome {
            kind,
            at,
            error: error.clone(),
        };
        let failed = OutcomeKind::Failed(class);
        let (kind, state, name) = match action {
            Action::Default | Action::Revoke | Action::RestartStream | Action::NarrowWindow => {
                let spared = matches!(
                    class,
                    ErrorClass::ProductNotAvailable
                        | ErrorClass::InvalidRequest
                        | ErrorClass::InternalError
                );
                return spared.then(|| {
                    self.rest(after, at, failed, error.clone());
                    Ok("not to blame")
                });
            }
            Action::WaitForEvent => (failed, State::Waiting { next: None }, "waits for an event"),
            Action::Unsupported => (failed, State::Error, "unsupported"),
            Action::Notice(_) if self.may_ask(at) => {
                forget(after);
                after.connection.outcome = Some(outcome(failed));
                let posed = self.pose(after, at, (fetch.clone(), None, false));
                return Some(posed.map(|()| "notice posed"));
            }
            Action::Notice(_) => (
                OutcomeKind::UserNeeded,
                State::Waiting { next: None },
                "nobody to notice",
            ),
        };
        forget(after);
        after.connection.outcome = Some(outcome(kind));
        after.connection.state = state;
        Some(Ok(name))
    }
}
