//! Transitions of the collection machine: inputs in, steps out, no store.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::Duration;

use rand_core::SeedableRng;
use wellspring_core::{
    Actor, Collection, CollectionId, CollectionPolicy, CollectionStatus, CollectionStep, Error,
    ErrorClass, Event, Input, Kind, Lane, PayloadChange, RetryPolicy, Shard, Stage, State,
    TenantId, Timestamp, Verb,
};

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn rng() -> rand_chacha::ChaCha8Rng {
    rand_chacha::ChaCha8Rng::seed_from_u64(1)
}

fn policy() -> CollectionPolicy {
    let retry = RetryPolicy {
        base: Duration::from_secs(10),
        factor: 1.5,
        cap: Duration::from_secs(900),
        max_retries: 2,
        jitter: false,
    };
    CollectionPolicy {
        collect: retry,
        deliver: retry,
        give_up_after: Duration::from_secs(3_600),
    }
}

fn accepted() -> CollectionStep {
    let id = CollectionId::mint_in(START, Shard(3), &mut rng());
    Collection::accept(
        START,
        id,
        TenantId::from_bytes([1; 16]),
        "gas".parse().unwrap(),
        "http://127.0.0.1:9/cb".into(),
        Actor::Operator,
    )
}

fn collection() -> Collection {
    accepted().next.unwrap()
}

fn error(class: ErrorClass, code: &str) -> Error {
    Error {
        class,
        code: code.to_owned(),
        message: "it failed".to_owned(),
    }
}

fn fetch_failed(class: ErrorClass, retry_at: Option<Timestamp>, probe: bool) -> Input {
    Input::FetchFailed {
        started: START,
        error: error(class, "x"),
        retry_at,
        probe,
    }
}

fn delivery_failed(gone: bool) -> Input {
    Input::DeliveryFailed {
        started: START,
        error: error(ErrorClass::ConnectionFailure, "http_500"),
        gone,
        retry_at: None,
        probe: false,
    }
}

fn step(collection: Collection, now: Timestamp, input: Input) -> CollectionStep {
    collection
        .handle(now, input, &policy(), &mut rng())
        .unwrap()
}

fn event(step: &CollectionStep) -> Option<Event> {
    step.change.as_ref().and_then(|change| change.event)
}

#[test]
fn the_happy_path_is_requested_collected_delivered() {
    let accepted = accepted();
    assert_eq!(event(&accepted), Some(Event::CollectionRequested));
    let collection = accepted.next.unwrap();
    assert_eq!(collection.status(), CollectionStatus::Requested);
    assert_eq!(
        collection.next_wakeup(),
        Some((START, Lane::source(&"gas".parse().unwrap())))
    );

    let later = START.after(Duration::from_secs(1));
    let fetched = step(collection, later, Input::Fetched { started: START });
    assert_eq!(
        (event(&fetched), fetched.payload),
        (Some(Event::CollectionSuccessful), PayloadChange::Put)
    );
    let collection = fetched.next.unwrap();
    assert_eq!(
        (collection.status(), collection.version),
        (CollectionStatus::Collected, 2)
    );
    assert_eq!(
        collection.next_wakeup(),
        Some((later, Lane::receiver("http://127.0.0.1:9/else")))
    );

    let delivered = step(
        collection,
        later,
        Input::DeliverySucceeded { started: later },
    );
    let collection = delivered.next.unwrap();
    assert_eq!(
        collection.state,
        State::Delivered {
            collected_at: later,
            at: later
        }
    );
    assert_eq!(collection.next_wakeup(), None);
}

#[test]
fn failures_are_retried_by_the_policy_and_then_the_callback_hears_of_it_once() {
    let first = step(
        collection(),
        START,
        fetch_failed(ErrorClass::ConnectionFailure, None, false),
    );
    assert_eq!(event(&first), Some(Event::CollectionRetryRequested));
    let collection = first.next.unwrap();
    assert_eq!(collection.status(), CollectionStatus::Retrying);
    assert_eq!(
        collection.next_wakeup().unwrap().0,
        START.after(Duration::from_secs(10))
    );

    let second = step(
        collection,
        START,
        fetch_failed(ErrorClass::ConnectionFailure, None, false),
    )
    .next
    .unwrap();
    assert_eq!(
        second.next_wakeup().unwrap().0,
        START.after(Duration::from_secs(15))
    );

    let spent = step(
        second,
        START,
        fetch_failed(ErrorClass::ConnectionFailure, None, false),
    );
    assert_eq!(event(&spent), Some(Event::CollectionCriticallyFailed));
    let collection = spent.next.unwrap();
    assert_eq!(collection.status(), CollectionStatus::Failed);
    assert!(matches!(
        collection.state,
        State::Delivering {
            kind: Kind::Failure(_),
            ..
        }
    ));

    let parked = step(
        collection,
        START,
        Input::DeliverySucceeded { started: START },
    );
    assert_eq!(parked.change, None, "that it failed is logged once");
    let collection = parked.next.unwrap();
    assert!(matches!(
        collection.state,
        State::Failed {
            stage: Stage::Collect,
            ..
        }
    ));

    let resumed = step(collection, START, Input::ResumeRequested(Actor::Operator))
        .next
        .unwrap();
    assert_eq!(
        (resumed.status(), resumed.message),
        (CollectionStatus::Requested, 2)
    );
}

#[test]
fn classes_that_cannot_mend_are_not_retried() {
    for class in ErrorClass::ALL {
        let next = step(collection(), START, fetch_failed(class, None, false))
            .next
            .unwrap();
        let stopped = next.status() == CollectionStatus::Failed;
        assert_eq!(
            stopped,
            class.disposition() == wellspring_core::Disposition::Stop,
            "{class}"
        );
    }
}

#[test]
fn throttling_and_maintenance_spend_no_retry_but_end_at_the_give_up_time() {
    let mut collection = collection();
    for class in [ErrorClass::RateLimitExceeded, ErrorClass::BankMaintenance]
        .into_iter()
        .cycle()
        .take(50)
    {
        collection = step(collection, START, fetch_failed(class, None, false))
            .next
            .unwrap();
    }
    assert!(matches!(
        collection.state,
        State::Collecting {
            retries: 0,
            waits: 50,
            ..
        }
    ));

    let told = START.after(Duration::from_secs(77));
    let waiting = step(
        collection,
        START,
        fetch_failed(ErrorClass::RateLimitExceeded, Some(told), false),
    );
    let waiting = waiting.next.unwrap();
    assert_eq!(waiting.next_wakeup().unwrap().0, told);

    let year = START.after(Duration::from_secs(86_400 * 365));
    let capped = step(
        waiting,
        START,
        fetch_failed(ErrorClass::RateLimitExceeded, Some(year), false),
    )
    .next
    .unwrap();
    assert_eq!(
        capped.next_wakeup().unwrap().0,
        capped.gives_up_at(&policy()).unwrap()
    );
    assert_eq!(
        step(capped, year, Input::GaveUp).next.unwrap().status(),
        CollectionStatus::Failed
    );
}

#[test]
fn retry_after_wins_over_the_plan() {
    let told = START.after(Duration::from_secs(1_000));
    let next = step(
        collection(),
        START,
        fetch_failed(ErrorClass::ConnectionFailure, Some(told), false),
    )
    .next
    .unwrap();
    assert_eq!(next.next_wakeup().unwrap().0, told);
    assert!(matches!(next.state, State::Collecting { retries: 1, .. }));
}

#[test]
fn being_told_to_come_back_at_once_makes_no_hot_loop() {
    for class in [ErrorClass::ConnectionFailure, ErrorClass::RateLimitExceeded] {
        let next = step(collection(), START, fetch_failed(class, Some(START), false))
            .next
            .unwrap();
        assert_eq!(
            next.next_wakeup().unwrap().0,
            START.after(Duration::from_secs(1)),
            "{class}"
        );
    }
}

#[test]
fn a_failed_probe_charges_nobody() {
    let next = step(
        collection(),
        START,
        fetch_failed(ErrorClass::ConnectionFailure, None, true),
    )
    .next
    .unwrap();
    assert!(matches!(
        next.state,
        State::Collecting {
            retries: 0,
            due: START,
            ..
        }
    ));
}

#[test]
fn a_callback_that_fails_never_fetches_again() {
    let mut collection = step(collection(), START, Input::Fetched { started: START })
        .next
        .unwrap();
    for _ in 0..2 {
        let failed = step(collection, START, delivery_failed(false));
        assert_eq!(failed.change, None);
        collection = failed.next.unwrap();
        assert_eq!(collection.status(), CollectionStatus::Collected);
    }
    let parked = step(collection, START, delivery_failed(false));
    assert_eq!(event(&parked), Some(Event::CollectionCriticallyFailed));
    let resumed = step(
        parked.next.unwrap(),
        START,
        Input::ResumeRequested(Actor::Operator),
    )
    .next
    .unwrap();
    assert_eq!(
        (resumed.status(), resumed.message),
        (CollectionStatus::Collected, 2)
    );
}

#[test]
fn a_receiver_that_is_gone_stops_it_at_once() {
    let collection = step(collection(), START, Input::Fetched { started: START })
        .next
        .unwrap();
    let parked = step(collection, START, delivery_failed(true)).next.unwrap();
    assert!(matches!(
        parked.state,
        State::Failed {
            stage: Stage::Deliver,
            ..
        }
    ));
}

#[test]
fn resuming_before_the_notice_is_out_drops_the_notice_and_its_id() {
    let failed = step(
        collection(),
        START,
        fetch_failed(ErrorClass::InvalidRequest, None, false),
    )
    .next
    .unwrap();
    let resumed = step(failed, START, Input::ResumeRequested(Actor::Operator))
        .next
        .unwrap();
    assert_eq!(
        (resumed.status(), resumed.message),
        (CollectionStatus::Requested, 2)
    );
}

#[test]
fn what_has_not_failed_cannot_be_resumed_and_the_refusal_names_both_sides() {
    let refused = collection().handle(
        START,
        Input::ResumeRequested(Actor::Operator),
        &policy(),
        &mut rng(),
    );
    assert_eq!(
        refused.unwrap_err().to_string(),
        "a collection that is requested takes no ResumeRequested"
    );
}

#[test]
fn everything_can_be_erased() {
    let erased = step(collection(), START, Input::EraseRequested(Actor::Operator));
    assert_eq!(erased.next, None);
    assert_eq!(erased.change.unwrap().verb, Verb::Deleted);
}
