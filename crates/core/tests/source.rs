//! The source machine: windows, incidents, and who is told.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::Duration;

use wellspring_core::source::{Announced, Detected, Hold, Input, Patch, Policy, Source, Step};
use wellspring_core::{
    Actor, AlertKind, AlertWish, AlertWrite, ErrorClass, Facts, Incident, IncidentKind, TenantId,
    Timestamp, Verb,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const USER: TenantId = TenantId::from_bytes([1; 16]);
const OTHER: TenantId = TenantId::from_bytes([2; 16]);
const OPERATOR: TenantId = TenantId::from_bytes([9; 16]);

/// One source, its clock, and what its file announces.
struct Bench {
    source: Source,
    now: Timestamp,
    file: Vec<Announced>,
}

impl Bench {
    /// A source that one tenant uses.
    fn new() -> Self {
        let mut bench = Self {
            source: Source::fresh("bank".parse().unwrap()),
            now: at("2026-11-21T10:00:00Z"),
            file: Vec::new(),
        };
        bench.step(Input::Used(USER));
        bench
    }

    fn step(&mut self, input: Input) -> Step {
        self.try_step(input).unwrap()
    }

    fn try_step(&mut self, input: Input) -> Option<Step> {
        let policy = Policy {
            announced: &self.file,
            operator: Some(OPERATOR),
        };
        let step = self.source.clone().handle(self.now, input, policy)?;
        assert_eq!(step.next.version, self.source.version + 1);
        self.source = step.next.clone();
        Some(step)
    }

    fn forward(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    fn hold(&self) -> Option<Hold> {
        self.source.hold(self.now, &self.file)
    }

    /// Goes to where something changes by itself.
    fn tick(&mut self) -> Step {
        self.now = self.source.next_wakeup(self.now, &self.file).unwrap();
        self.step(Input::Ticked)
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(json: &str) -> Announced {
    serde_json::from_str(json).unwrap()
}

fn met(until: Option<Timestamp>) -> Input {
    Input::MaintenanceMet {
        until,
        code: "planned".to_owned(),
    }
}

fn patched(patch: Patch) -> Input {
    Input::Patched(patch, Actor::Operator)
}

/// What is told to one tenant, ids left out.
fn told(step: &Step, tenant: TenantId) -> Vec<String> {
    let changes = step.changes.iter().filter(|(of, _)| *of == tenant);
    let said = changes.map(|(_, change)| {
        let path = change.subject.to_string();
        let segments: Vec<&str> = path
            .split('/')
            .map(|part| {
                if part.contains("inc_") || part.contains("alert_") {
                    "{id}"
                } else {
                    part
                }
            })
            .collect();
        format!("{} {}", change.verb.as_str(), segments.join("/"))
    });
    said.collect()
}

fn incident(step: &Step) -> Incident {
    assert_eq!(step.incidents.len(), 1);
    step.incidents[0].clone()
}

#[test]
fn an_announced_window_holds_everything_back_and_is_told_once_at_each_end() {
    let mut bench = Bench::new();
    bench.file = vec![window(
        r#"{"every": "Sun 02:00-05:00", "zone": "UTC", "reason": "Backups"}"#,
    )];
    assert_eq!(bench.hold(), None);
    assert_eq!(bench.try_step(Input::Ticked), None, "nothing is due yet");

    let step = bench.tick();
    assert_eq!(bench.now, at("2026-11-22T02:00:00Z"));
    let end = at("2026-11-22T05:00:00Z");
    assert_eq!(bench.hold(), Some(Hold::Until(end)));
    for tenant in [USER, OPERATOR] {
        assert_eq!(
            told(&step, tenant),
            ["CREATED /sources/bank/incidents/{id}"]
        );
    }
    assert_eq!(
        told(&step, OTHER),
        [""; 0],
        "who does not use it is not told"
    );
    let begun = incident(&step);
    assert_eq!(
        (begun.kind, begun.detected_by, begun.expected_end),
        (
            IncidentKind::Maintenance,
            Detected::Configuration,
            Some(end)
        )
    );
    assert_eq!(begun.reason.as_deref(), Some("Backups"));

    // What calls show in it is no news.
    assert_eq!(bench.try_step(Input::Ticked), None);
    assert_eq!(bench.try_step(Input::Answered), None);
    bench.forward(HOUR);
    let noted = bench.step(Input::WentDown);
    assert_eq!((noted.changes, noted.incidents), (vec![], vec![]));
    assert_eq!(bench.hold(), Some(Hold::Until(end)));

    let step = bench.tick();
    assert_eq!((bench.now, bench.hold()), (end, None));
    assert_eq!(
        told(&step, USER),
        ["UPDATED /sources/bank/incidents/{id}/state/ended"]
    );
    let ended = incident(&step);
    assert_eq!((ended.id, ended.ended_at), (begun.id, Some(end)));
    assert_eq!(bench.source.incident, None);
    let next = bench.source.next_wakeup(bench.now, &bench.file);
    assert_eq!(next, Some(at("2026-11-29T02:00:00Z")));
}

#[test]
fn an_operator_announces_extends_and_withdraws_a_window() {
    let mut bench = Bench::new();
    let once = |to: &str| {
        let json = format!(r#"{{"from": "2026-11-21T09:00:00Z", "to": "{to}"}}"#);
        patched(Patch {
            windows: Some(vec![window(&json)]),
            ..Patch::default()
        })
    };
    let step = bench.step(once("2026-11-21T12:00:00Z"));
    assert_eq!(
        told(&step, USER),
        [
            "UPDATED /sources/bank",
            "CREATED /sources/bank/incidents/{id}"
        ]
    );
    let begun = incident(&step);
    assert_eq!(begun.detected_by, Detected::Operator);
    assert_eq!(
        begun.started_at, bench.now,
        "what was not seen is not claimed"
    );
    assert_eq!(bench.try_step(once("2026-11-21T12:00:00Z")), None);

    let step = bench.step(once("2026-11-21T13:00:00Z"));
    assert_eq!(
        told(&step, USER),
        [
            "UPDATED /sources/bank",
            "UPDATED /sources/bank/incidents/{id}"
        ]
    );
    assert_eq!(incident(&step).id, begun.id);

    bench.forward(MINUTE);
    let step = bench.step(patched(Patch {
        windows: Some(Vec::new()),
        ..Patch::default()
    }));
    assert_eq!(incident(&step).ended_at, Some(bench.now));
    assert_eq!(bench.hold(), None);

    bench.step(once("2026-11-21T14:00:00Z"));
    bench.tick();
    assert_eq!(bench.source.windows, [], "what has passed is not kept");
}

#[test]
fn a_maintenance_that_was_met_ends_with_an_answer() {
    let mut bench = Bench::new();
    let until = bench.now.after(HOUR);
    let step = bench.step(met(Some(until)));
    let begun = incident(&step);
    assert_eq!(
        (
            begun.detected_by,
            begun.expected_end,
            begun.reason.as_deref()
        ),
        (Detected::Answers, Some(until), Some("planned"))
    );
    assert_eq!(bench.hold(), Some(Hold::Probing(Some(until))));
    assert_eq!(bench.try_step(met(Some(until))), None, "told once");
    bench.forward(MINUTE);
    let later = until.after(HOUR);
    let step = bench.step(met(Some(later)));
    assert_eq!(told(&step, USER), ["UPDATED /sources/bank/incidents/{id}"]);
    assert_eq!(
        bench.try_step(met(None)),
        None,
        "what it said once still counts"
    );

    bench.forward(HOUR);
    let step = bench.step(Input::Answered);
    assert_eq!(
        told(&step, USER),
        ["UPDATED /sources/bank/incidents/{id}/state/ended"]
    );
    assert_eq!(incident(&step).id, begun.id);
    assert_eq!(bench.hold(), None);
    assert_eq!(bench.try_step(Input::Answered), None);
}

#[test]
fn what_nobody_meets_any_more_is_taken_for_over() {
    let mut bench = Bench::new();
    bench.step(met(None));
    bench.forward(HOUR);
    bench.step(met(None));
    let last = bench.now;
    let step = bench.tick();
    assert_eq!(bench.now.since(last), HOUR * 2);
    assert_eq!(incident(&step).ended_at, Some(bench.now));

    bench.step(Input::WentDown);
    let last = bench.now;
    bench.tick();
    assert_eq!(bench.now.since(last), HOUR * 26);
}

#[test]
fn an_outage_alerts_those_who_use_the_source_and_ends_with_an_answer() {
    let mut bench = Bench::new();
    let step = bench.step(Input::WentDown);
    assert_eq!(incident(&step).kind, IncidentKind::Outage);
    assert_eq!(bench.hold(), None, "breakers see to it");
    for tenant in [USER, OPERATOR] {
        assert_eq!(
            told(&step, tenant),
            [
                "CREATED /sources/bank/incidents/{id}",
                "CREATED /alerts/{id}"
            ]
        );
    }
    let opened: Vec<_> = step
        .alerts
        .iter()
        .map(|write| match write {
            AlertWrite::Open(alert) => (alert.tenant, alert.kind, alert.connection),
            AlertWrite::Again(..) | AlertWrite::Acknowledge(..) | AlertWrite::Close(..) => {
                panic!("{write:?}")
            }
        })
        .collect();
    let down = AlertKind::SourceDown;
    assert_eq!(opened, [(USER, down, None), (OPERATOR, down, None)]);
    let ids: Vec<_> = step.alerts.iter().map(AlertWrite::id).collect();
    assert_ne!(ids[0], ids[1]);
    assert!(ids.iter().all(|id| id.shard() == bench.source.id().shard()));

    let wish = Input::AlertAsked(ids[0], AlertWish::Acknowledge, Actor::Operator);
    let step = bench.step(wish.clone());
    assert_eq!(
        told(&step, USER),
        ["UPDATED /alerts/{id}/state/acknowledged"]
    );
    assert_eq!(told(&step, OPERATOR), [""; 0]);
    assert_eq!(bench.try_step(wish), None);

    bench.forward(MINUTE);
    let step = bench.step(Input::Answered);
    assert_eq!(
        told(&step, USER),
        [
            "UPDATED /sources/bank/incidents/{id}/state/ended",
            "UPDATED /alerts/{id}/state/closed"
        ]
    );
    let closed: Vec<_> = ids
        .iter()
        .map(|id| AlertWrite::Close(*id, bench.now))
        .collect();
    assert_eq!(step.alerts, closed);
    assert_eq!(bench.source.alerts, []);
}

#[test]
fn an_outage_that_turns_out_to_be_maintenance_is_one_incident() {
    let mut bench = Bench::new();
    let begun = incident(&bench.step(Input::WentDown));
    bench.forward(MINUTE);

    let step = bench.step(met(None));

    let changed = incident(&step);
    assert_eq!(
        (changed.id, changed.kind),
        (begun.id, IncidentKind::Maintenance)
    );
    assert_eq!(changed.started_at, begun.started_at);
    assert_eq!(
        told(&step, USER),
        [
            "UPDATED /sources/bank/incidents/{id}",
            "UPDATED /alerts/{id}/state/closed"
        ]
    );
    assert_eq!(bench.hold(), Some(Hold::Probing(None)));
}

#[test]
fn a_disabled_source_is_held_until_it_is_enabled() {
    let mut bench = Bench::new();
    let enabled = |enabled| {
        patched(Patch {
            enabled: Some(enabled),
            ..Patch::default()
        })
    };
    let step = bench.step(enabled(false));
    assert_eq!(told(&step, USER), ["UPDATED /sources/bank/state/disabled"]);
    assert_eq!(bench.hold(), Some(Hold::Disabled));
    assert_eq!(bench.try_step(enabled(false)), None);
    let step = bench.step(enabled(true));
    assert_eq!(told(&step, USER), ["UPDATED /sources/bank/state/enabled"]);
    assert_eq!(bench.hold(), None);
    let (_, change) = &step.changes[0];
    assert_eq!(
        (change.verb, change.actor),
        (Verb::Updated, Actor::Operator)
    );
}

#[test]
fn work_that_backs_up_is_told_to_the_operator_alone() {
    let mut bench = Bench::new();
    let step = bench.step(Input::BackedUp);
    assert_eq!(told(&step, OPERATOR), ["CREATED /alerts/{id}"]);
    assert_eq!(told(&step, USER), [""; 0]);
    assert_eq!(bench.try_step(Input::BackedUp), None);
    let step = bench.step(Input::CaughtUp);
    assert_eq!(told(&step, OPERATOR), ["UPDATED /alerts/{id}/state/closed"]);
    assert_eq!(bench.try_step(Input::CaughtUp), None);
}

fn ended(tenant: TenantId, class: Option<ErrorClass>) -> Input {
    Input::CallEnded {
        tenant,
        failed: class.map(|class| (class, "http_429".to_owned())),
    }
}

#[test]
fn collections_that_are_throttled_alert_their_own_tenant_until_one_of_its_calls_ends_otherwise() {
    let mut bench = Bench::new();
    let throttled = Some(ErrorClass::RateLimitExceeded);
    assert_eq!(bench.try_step(ended(USER, None)), None);
    let step = bench.step(ended(USER, throttled));
    assert_eq!(told(&step, USER), ["CREATED /alerts/{id}"]);
    assert_eq!(told(&step, OPERATOR), [""; 0]);
    let [AlertWrite::Open(alert)] = &step.alerts[..] else {
        panic!("{:?}", step.alerts);
    };
    assert_eq!(
        (alert.kind, alert.connection, alert.code.as_deref()),
        (AlertKind::Throttled, None, Some("http_429"))
    );
    let Facts::Alert(facts) = &step.changes[0].1.body else {
        panic!("{:?}", step.changes);
    };
    assert_eq!(facts.audience, "tenant");
    assert_eq!(facts.code.as_deref(), Some("http_429"));
    let id = alert.id;
    let theirs = bench.step(ended(OTHER, throttled)).alerts[0].id();
    assert_ne!(id, theirs, "each tenant has its own");

    bench.forward(MINUTE);
    let step = bench.step(ended(USER, throttled));
    assert_eq!(step.alerts, [AlertWrite::Again(id, bench.now)]);
    assert_eq!(step.changes, []);

    let step = bench.step(ended(USER, Some(ErrorClass::ConnectionFailure)));
    assert_eq!(step.alerts, [AlertWrite::Close(id, bench.now)]);
    assert_eq!(told(&step, USER), ["UPDATED /alerts/{id}/state/closed"]);
    let step = bench.step(ended(OTHER, None));
    assert_eq!(step.alerts, [AlertWrite::Close(theirs, bench.now)]);
    assert_eq!((bench.source.alerts, bench.source.shown), (vec![], vec![]));
}

#[test]
fn a_connector_that_crashes_alerts_the_operator_until_any_call_ends_otherwise() {
    let mut bench = Bench::new();
    for class in [ErrorClass::InternalError, ErrorClass::InvalidRequest] {
        let step = bench.step(ended(USER, Some(class)));
        assert_eq!(step.alerts.len(), 1);
        assert_eq!(told(&step, OPERATOR), ["CREATED /alerts/{id}"]);
        assert_eq!(told(&step, USER), [""; 0]);
        let again = bench.step(ended(OTHER, Some(class)));
        assert!(matches!(again.alerts[..], [AlertWrite::Again(..)]));
        let step = bench.step(ended(OTHER, None));
        assert_eq!(told(&step, OPERATOR), ["UPDATED /alerts/{id}/state/closed"]);
    }

    // One issue takes the place of another, and that of another tenant stays.
    bench.step(ended(USER, Some(ErrorClass::RateLimitExceeded)));
    bench.step(ended(USER, Some(ErrorClass::AuthenticationError)));
    bench.step(ended(OTHER, Some(ErrorClass::InternalError)));
    let open = bench.source.alerts.iter();
    let open: Vec<_> = open.map(|(of, alert)| (*of, alert.kind)).collect();
    assert_eq!(
        open,
        [
            (USER, AlertKind::Deauthorised),
            (OPERATOR, AlertKind::ConnectorCrashed)
        ]
    );
}

#[test]
fn an_alert_that_no_call_shows_any_more_closes_by_itself() {
    let mut bench = Bench::new();
    let throttled = Some(ErrorClass::RateLimitExceeded);
    let id = bench.step(ended(USER, throttled)).alerts[0].id();
    bench.forward(HOUR * 20);
    bench.step(ended(USER, throttled));
    let last = bench.now;
    bench.step(Input::BackedUp);

    let step = bench.tick();

    assert_eq!(bench.now.since(last), HOUR * 26);
    assert_eq!(step.alerts, [AlertWrite::Close(id, bench.now)]);
    assert_eq!(bench.source.alerts.len(), 1, "what others show stays");
    assert_eq!(bench.source.next_wakeup(bench.now, &[]), None);

    // One that was put aside is not remembered, and opens anew.
    let id = bench.step(ended(USER, throttled)).alerts[0].id();
    bench.step(Input::AlertAsked(id, AlertWish::Close, Actor::Operator));
    assert_eq!(bench.source.shown, []);
    let step = bench.step(ended(USER, throttled));
    assert_ne!(step.alerts[0].id(), id);

    // What somebody says of it just then comes second to its end.
    let id = step.alerts[0].id();
    bench.forward(HOUR * 27);
    let wish = Input::AlertAsked(id, AlertWish::Acknowledge, Actor::Operator);
    let step = bench.step(wish);
    assert_eq!(step.alerts, [AlertWrite::Close(id, bench.now)]);
}

#[test]
fn a_source_reads_back_from_its_text() {
    let mut bench = Bench::new();
    bench.step(patched(Patch {
        enabled: Some(false),
        windows: Some(vec![window(r#"{"every": "daily 02:00-03:00"}"#)]),
    }));
    bench.step(Input::WentDown);
    bench.step(Input::BackedUp);
    bench.step(ended(USER, Some(ErrorClass::RateLimitExceeded)));
    let text = serde_json::to_string(&bench.source).unwrap();
    assert_eq!(
        serde_json::from_str::<Source>(&text).unwrap(),
        bench.source,
        "{text}"
    );
    assert_eq!(bench.source.id().shard().0, 0);
}
