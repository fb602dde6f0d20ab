//! Alerts about a connection: opened once, counted, closed when mended.

use wellspring_core::connection::{Action as Answer, CredentialsFrom, Input, Step};
use wellspring_core::{
    Action, Actor, AlertId, AlertKind, AlertState, AlertWish, AlertWrite, ErrorClass,
};

use crate::bench::{Bench, said, sealed};

/// A connection that has worked once and whose next fetch has begun by its schedule.
fn on_schedule() -> Bench {
    let mut bench = Bench::new();
    bench.begin();
    bench.finish();
    bench.begin();
    bench
}

fn opened(step: &Step) -> Vec<(AlertId, AlertKind)> {
    let opened = step.alerts.iter().filter_map(|write| match write {
        AlertWrite::Open(alert) => Some((alert.id, alert.kind)),
        AlertWrite::Again(..) | AlertWrite::Acknowledge(..) | AlertWrite::Close(..) => None,
    });
    opened.collect()
}

#[test]
fn each_class_opens_its_alert_once_and_success_closes_it() {
    for class in ErrorClass::ALL {
        let wanted = match class {
            ErrorClass::RateLimitExceeded => Some(AlertKind::Throttled),
            ErrorClass::AuthenticationError => Some(AlertKind::Deauthorised),
            ErrorClass::InternalError => Some(AlertKind::ConnectorCrashed),
            ErrorClass::InvalidRequest => Some(AlertKind::InvalidRequest),
            ErrorClass::ConnectionFailure
            | ErrorClass::BankMaintenance
            | ErrorClass::InstitutionError
            | ErrorClass::ItemError
            | ErrorClass::ProductNotAvailable
            | ErrorClass::UnknownError => None,
        };
        let mut bench = on_schedule();
        let step = bench.fail_whole_fetch(class);

        let opened = opened(&step);
        let kinds: Vec<AlertKind> = opened.iter().map(|(_, kind)| *kind).collect();
        assert_eq!(kinds, wanted.into_iter().collect::<Vec<_>>(), "{class}");
        let Some((id, kind)) = opened.first().copied() else {
            assert!(bench.connection.alerts.is_empty());
            continue;
        };
        let last = said(&step).last().cloned();
        assert_eq!(last.as_deref(), Some("CREATED /alerts/{alert}"));
        let body = serde_json::to_value(&step.changes.last().unwrap().body).unwrap();
        assert_eq!(body["kind"], kind.as_str());
        assert_eq!(body["code"], "test_code");
        assert_eq!(body["connection_id"], bench.connection.id.to_string());
        assert_eq!(id.shard(), bench.connection.id.shard());

        bench.fetch_asked();
        bench.begin();
        let step = bench.fail_whole_fetch(class);
        assert_eq!(step.alerts, [AlertWrite::Again(id, bench.now)], "{class}");
        assert!(
            !said(&step).iter().any(|said| said.contains("/alerts/")),
            "it is told once"
        );

        bench.fetch_asked();
        bench.begin();
        let step = bench.finish();
        assert_eq!(step.alerts, [AlertWrite::Close(id, bench.now)]);
        let last = said(&step).last().cloned();
        let wanted = "UPDATED /alerts/{alert}/state/closed";
        assert_eq!(last.as_deref(), Some(wanted));
        assert!(bench.connection.alerts.is_empty());
    }
}

#[test]
fn another_outcome_mends_what_an_earlier_one_showed() {
    let mut bench = on_schedule();
    let throttled = bench.fail(ErrorClass::RateLimitExceeded);
    let (throttled, _) = opened(&throttled)[0];

    bench.begin();
    let step = bench.fail(ErrorClass::InternalError);

    assert_eq!(
        step.alerts.first(),
        Some(&AlertWrite::Close(throttled, bench.now))
    );
    assert_eq!(opened(&step)[0].1, AlertKind::ConnectorCrashed);
}

#[test]
fn new_credentials_close_the_alert_only_once_they_work() {
    let mut bench = on_schedule();
    let step = bench.fail(ErrorClass::AuthenticationError);
    let (id, _) = opened(&step)[0];

    let step = bench.step(Input::CredentialsReplaced {
        credentials: sealed("second"),
        from: CredentialsFrom::Tenant,
        actor: Actor::Operator,
    });
    assert_eq!(step.alerts, []);
    bench.begin();
    let step = bench.finish();

    assert_eq!(step.alerts, [AlertWrite::Close(id, bench.now)]);
}

#[test]
fn an_abandoned_repair_leaves_the_alert_as_it_was() {
    let mut bench = on_schedule();
    bench.fail(ErrorClass::AuthenticationError);
    let before = bench.connection.alerts.clone();
    bench.step(Input::CredentialsReplaced {
        credentials: sealed("second"),
        from: CredentialsFrom::Repair,
        actor: Actor::Operator,
    });
    bench.begin();
    bench.ask(None);

    let step = bench.answer(Answer::Stop);

    assert_eq!(step.alerts, []);
    assert_eq!((bench.connection.alerts, before.len()), (before, 1));
}

#[test]
fn withdrawn_consent_is_told_and_a_deleted_connection_closes_what_is_open() {
    let mut bench = on_schedule();
    let step = bench.fail_and(ErrorClass::ItemError, Action::Revoke);
    let (id, kind) = opened(&step)[0];
    assert_eq!(kind, AlertKind::Deauthorised);

    let step = bench.step(Input::DeleteAsked(Actor::Operator));

    assert_eq!(step.alerts, [AlertWrite::Close(id, bench.now)]);
    assert_eq!(
        said(&step),
        [
            "UPDATED /alerts/{alert}/state/closed",
            "DELETED /accounts/{a}/connections/{c}"
        ]
    );
}

#[test]
fn an_alert_is_acknowledged_once_and_one_put_aside_comes_anew() {
    let mut bench = on_schedule();
    let step = bench.fail(ErrorClass::InternalError);
    let (id, _) = opened(&step)[0];
    let asked = |wish| Input::AlertAsked(id, wish, Actor::Operator);

    let step = bench.step(asked(AlertWish::Acknowledge));
    assert_eq!(step.alerts, [AlertWrite::Acknowledge(id, bench.now)]);
    let acknowledged = format!("/alerts/{id}/state/{}", AlertState::Acknowledged.as_str());
    assert_eq!(step.changes[0].subject.to_string(), acknowledged);
    let step = bench.step(asked(AlertWish::Acknowledge));
    assert_eq!((step.alerts, step.changes), (vec![], vec![]));

    let step = bench.step(asked(AlertWish::Close));
    assert_eq!(step.alerts, [AlertWrite::Close(id, bench.now)]);
    bench.refused(asked(AlertWish::Close));

    bench.begin();
    let step = bench.fail(ErrorClass::InternalError);
    let (anew, _) = opened(&step)[0];
    assert_ne!(anew, id);
}
