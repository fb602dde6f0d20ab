//! When a connection that has to wait may be called again.

use wellspring_core::connection::Wakeup;
use wellspring_core::source::Hold;
use wellspring_core::{Connection, ErrorClass, Reason, Timestamp};
use wellspring_engine::LaneView;

/// Returns when the source may next be called for a connection that waits for that: for a spent
/// budget, for its source that pauses, or for the time that the source gave it when it refused.
pub(super) fn next_allowed_at(
    connection: &Connection,
    lane: Option<&LaneView>,
    now: Timestamp,
) -> Option<Timestamp> {
    let Some(Wakeup::Call(due, _)) = connection.next_wakeup() else {
        return None;
    };
    if connection.fetch().is_some_and(|fetch| fetch.running) {
        return None;
    }
    let own = (due > now && is_put_off(connection)).then_some(due);
    // Who is due only after the source may be called again does not wait for that.
    let lane = lane.and_then(of_source);
    own.max(lane.filter(|at| *at > now && due <= *at))
}

/// Returns when a source may be called again, where it may not now.
fn of_source(lane: &LaneView) -> Option<Timestamp> {
    let held = lane.hold.and_then(|hold| match hold {
        Hold::Until(at) => Some(at),
        Hold::Disabled | Hold::Probing(_) => None,
    });
    held.max(lane.next_allowed_at)
}

/// Returns whether the time of its next call is the source's word.
fn is_put_off(connection: &Connection) -> bool {
    let told = connection.next().is_some_and(|next| match next.reason {
        Reason::RateLimit | Reason::Maintenance => true,
        Reason::Schedule | Reason::Retry | Reason::User => false,
    });
    let fetch = connection.fetch();
    let mut failures = fetch.into_iter().flat_map(|fetch| &fetch.failures);
    told || failures.any(|(class, _)| *class == ErrorClass::RateLimitExceeded)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wellspring_core::connection::{Config, Fetch, New, Next, Policy, State, Trigger};
    use wellspring_core::schedule::Schedule;
    use wellspring_core::{
        AccountId, Actor, ConnectionId, FetchId, OnQuestionExpired, Phase, TenantId,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    #[test]
    fn only_who_waits_for_the_source_is_told_when_it_may_be_called() {
        let soon = NOW.after(Duration::from_secs(60));
        let later = NOW.after(Duration::from_secs(3_600));
        let told = |state: State, lane: Option<&LaneView>| {
            let mut connection = made();
            connection.state = state;
            next_allowed_at(&connection, lane, NOW)
        };
        let rests = |at, reason| State::Waiting {
            next: Some(Next { at, reason }),
        };
        let connecting = |due, running, failures: &[_]| State::Connecting {
            fetch: Fetch {
                id: FetchId::from_bytes([4; 16]),
                trigger: Trigger::Schedule,
                started_at: NOW,
                present: false,
                running,
                attempts: 1,
                failures: failures.to_vec(),
                documents: 0,
                records: 0,
            },
            due,
        };
        let free = lane(None, None);
        let spent = lane(Some(soon), None);
        let shut = lane(None, Some(Hold::Until(later)));

        // Its budget is spent, or it is held, and the connection is due before that is over.
        assert_eq!(told(rests(NOW, Reason::Schedule), Some(&spent)), Some(soon));
        assert_eq!(
            told(rests(soon, Reason::Schedule), Some(&shut)),
            Some(later)
        );
        assert_eq!(told(State::Manual { since: NOW }, Some(&spent)), Some(soon));
        assert_eq!(told(rests(later, Reason::Schedule), Some(&spent)), None);
        assert_eq!(told(rests(NOW, Reason::Schedule), Some(&free)), None);
        // It was throttled itself, whoever else may call.
        let wait = || rests(later, Reason::RateLimit);
        assert_eq!(told(rests(later, Reason::Maintenance), None), Some(later));
        assert_eq!(told(rests(later, Reason::Retry), None), None);
        assert_eq!(told(wait(), Some(&free)), Some(later));
        assert_eq!(told(wait(), None), Some(later));
        let throttled = [(ErrorClass::RateLimitExceeded, 1)];
        let retried = connecting(soon, false, &throttled);
        assert_eq!(told(retried, Some(&free)), Some(soon));
        let other = [(ErrorClass::ConnectionFailure, 1)];
        assert_eq!(told(connecting(soon, false, &other), Some(&free)), None);
        // It does not wait.
        assert_eq!(told(connecting(NOW, true, &throttled), Some(&spent)), None);
        assert_eq!(told(State::Error, Some(&spent)), None);
        assert_eq!(told(State::Waiting { next: None }, Some(&spent)), None);
    }

    fn lane(next_allowed_at: Option<Timestamp>, hold: Option<Hold>) -> LaneView {
        LaneView {
            source: "bank".parse().unwrap(),
            in_flight: 0,
            queued: 0,
            oldest: None,
            breaker: Phase::Closed,
            paused_until: None,
            next_allowed_at,
            budget: Vec::new(),
            limits: Vec::new(),
            hold,
            incident: None,
        }
    }

    fn made() -> Connection {
        let new = New {
            id: ConnectionId::from_bytes([1; 16]),
            account: AccountId::from_bytes([2; 16]),
            tenant: TenantId::from_bytes([3; 16]),
            source: "bank".parse().unwrap(),
            config: Config {
                label: None,
                schedule: Schedule::Manual,
                slow_plan: None,
                on_question_expired: OnQuestionExpired::Retry,
                start_date: None,
                paused: false,
            },
            credentials: None,
            asked_in: None,
        };
        let made = Connection::create(NOW, new, Actor::Operator, &Policy::default());
        made.next.unwrap()
    }
}
