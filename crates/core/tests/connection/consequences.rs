//! What follows from each class and each action, as section 5 of the domain has it.

use wellspring_core::connection::{FetchStatus, Input, InteractionWrite, OutcomeKind};
use wellspring_core::interaction::Code;
use wellspring_core::{Access, Action, Actor, Ask, ConnectionState, ErrorClass, Reason};

use crate::bench::{Bench, config, states};

/// A connection that has worked once and whose next fetch has begun by its schedule.
fn on_schedule() -> Bench {
    let mut bench = Bench::new();
    bench.begin();
    bench.finish();
    bench.begin();
    bench
}

#[test]
fn each_class_has_the_consequences_of_the_table() {
    for class in ErrorClass::ALL {
        let mut bench = on_schedule();

        let step = bench.fail_whole_fetch(class);

        let state = states(&step);
        let connection = &bench.connection;
        let reason = connection.next().map(|next| next.reason);
        let (wanted, next, retries) = match class {
            ErrorClass::ConnectionFailure
            | ErrorClass::InstitutionError
            | ErrorClass::ItemError
            | ErrorClass::UnknownError => ("retrying", Some(Reason::Retry), 1),
            ErrorClass::BankMaintenance => ("waiting", Some(Reason::Maintenance), 0),
            ErrorClass::RateLimitExceeded => ("waiting", Some(Reason::RateLimit), 0),
            ErrorClass::AuthenticationError => ("waiting", None, 0),
            ErrorClass::ProductNotAvailable
            | ErrorClass::InvalidRequest
            | ErrorClass::InternalError => ("waiting", Some(Reason::Schedule), 0),
        };
        assert_eq!(state, [wanted], "{class}");
        assert_eq!((reason, connection.retries), (next, retries), "{class}");
        let access = if class == ErrorClass::AuthenticationError {
            Access::ReauthRequired
        } else {
            Access::Valid
        };
        assert_eq!(connection.access, access, "{class}");
        let outcome = connection.outcome.as_ref().unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Failed(class));
    }
}

#[test]
fn what_is_nobodys_failure_here_never_ends_in_error() {
    for class in [
        ErrorClass::ProductNotAvailable,
        ErrorClass::InvalidRequest,
        ErrorClass::InternalError,
    ] {
        let mut bench = on_schedule();
        for _ in 0..10 {
            let step = bench.fail(class);
            assert_eq!(states(&step), ["waiting"]);
            assert_eq!(step.fetch.unwrap().status, FetchStatus::Failed);
            bench.begin();
        }
        assert_eq!(bench.connection.retries, 0);
    }
}

#[test]
fn waiting_for_an_event_is_no_failure_and_ends_when_somebody_asks() {
    let mut bench = on_schedule();

    let step = bench.fail_and(ErrorClass::ProductNotAvailable, Action::WaitForEvent);

    assert_eq!(states(&step), ["waiting"]);
    assert_eq!(step.fetch.unwrap().status, FetchStatus::Cancelled);
    assert_eq!(bench.connection.next_wakeup(), None);
    assert_eq!(bench.connection.retries, 0);
    assert_eq!(bench.connection.access, Access::Valid);
    let step = bench.step(Input::FetchAsked(Actor::Operator));
    assert_eq!(states(&step), ["manual"]);
}

#[test]
fn what_the_source_cannot_do_is_not_tried_again() {
    let mut bench = on_schedule();

    let step = bench.fail_and(ErrorClass::ProductNotAvailable, Action::Unsupported);

    assert_eq!(states(&step), ["error"]);
    assert_eq!(step.fetch.unwrap().status, FetchStatus::Failed);
    assert_eq!(bench.connection.next_wakeup(), None);
    let outcome = bench.connection.outcome.as_ref().unwrap();
    assert!(outcome.error.is_some(), "the message is kept");
}

#[test]
fn a_notice_is_posed_to_who_is_there_and_the_fetch_goes_on_once_it_is_acknowledged() {
    let mut bench = Bench::new();
    bench.begin();

    let step = bench.fail_and(ErrorClass::ItemError, Action::Notice(Code::LockedOut));

    assert_eq!(states(&step), ["question"]);
    let [InteractionWrite::Open { id, question, .. }] = step.interactions.as_slice() else {
        panic!("{:?}", step.interactions);
    };
    assert_eq!(question.code, Code::LockedOut);
    assert!(question.title.is_some() && question.parts.is_empty());
    question.check().unwrap();
    let step = bench.step(Input::QuestionAnswered {
        interaction: *id,
        answer: crate::bench::sealed("{}"),
        hash: [0; 32],
        action: wellspring_core::connection::Action::Continue,
        actor: Actor::Operator,
    });
    assert_eq!(states(&step), ["answered"]);
    assert_eq!(states(&bench.begin()), ["connecting"]);
}

#[test]
fn a_notice_to_nobody_stops_the_schedule_until_somebody_comes() {
    let mut bench = on_schedule();

    let step = bench.fail_and(ErrorClass::ItemError, Action::Notice(Code::LockedOut));

    assert_eq!(states(&step), ["waiting"]);
    assert!(step.interactions.is_empty());
    assert_eq!(bench.connection.next_wakeup(), None);
    let outcome = bench.connection.outcome.as_ref().unwrap();
    assert_eq!(outcome.kind, OutcomeKind::UserNeeded);

    let policy = wellspring_core::connection::Policy {
        ask: Ask::Always,
        ..Default::default()
    };
    let mut bench = Bench::with(policy, config());
    bench.begin();
    bench.finish();
    bench.begin();
    bench.fail_and(ErrorClass::ItemError, Action::Notice(Code::LockedOut));
    assert_eq!(bench.state(), ConnectionState::Question);
}

#[test]
fn what_could_not_begin_again_often_enough_fails_by_its_class() {
    for action in [Action::RestartStream, Action::NarrowWindow] {
        let mut bench = on_schedule();
        bench.fail_and(ErrorClass::InstitutionError, action);
        assert!(bench.connection.is_attempt_due());
        let step = bench.fail_and(ErrorClass::ProductNotAvailable, action);
        assert_eq!(states(&step), ["waiting"]);
    }
}
