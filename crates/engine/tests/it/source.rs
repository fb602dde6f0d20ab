//! The driver and sources: what keeps a lane still, what calls show, and who is told.

use std::time::Duration;

use wellspring_core::source::{self, Announced, Hold, Input, Patch};
use wellspring_core::{
    Actor, AlertKind, AlertWrite, ConnectionState, ErrorClass, IncidentKind, Phase, TenantId,
    Timestamp,
};
use wellspring_engine::{
    Action, BUDGET_SPENT, Event, LaneView, Limits, Request, RunResult, Source, Write,
};

use crate::bench::{
    Bench, HOUR, MINUTE, NOW, OTHER, SECOND, SOURCE, TENANT, connection, fetched, ran, source,
};

#[test]
fn nothing_goes_out_in_an_announced_window_and_what_has_gathered_goes_out_by_and_by() {
    let mut bench = bench(&[0], 0, &[]);
    bench.patch(Patch {
        windows: Some(vec![window(Duration::ZERO, HOUR)]),
        ..Patch::default()
    });
    assert_eq!(bench.lane().hold, Some(Hold::Until(NOW.after(HOUR))));
    bench.gather(20, 0);
    bench.forward(HOUR - SECOND);
    assert_eq!((bench.runs.len(), bench.lane().queued), (0, 20));

    bench.forward(SECOND);

    let lane = bench.lane();
    assert_eq!((lane.hold, bench.runs.len()), (None, 1), "one at first");
    let mut most = vec![];
    while !bench.runs.is_empty() {
        bench.end(None);
        most.push(bench.runs.len());
    }
    assert_eq!(most[..4], [2, 4, 8, 8], "and more with each success");
    assert_eq!(most.len(), 20);
    let spent = bench.connections.values().map(|one| one.retries);
    assert_eq!(spent.max(), Some(0));
    assert_eq!(bench.said("/incidents/"), 2, "told once at each end");
}

#[test]
fn a_window_of_the_file_is_told_at_each_end_without_any_call() {
    let file = r#"{"every": "daily 00:00-24:00", "reason": "For good"}"#;
    let mut bench = bench(&[0], 3, &[file]);
    assert!(matches!(bench.lane().hold, Some(Hold::Until(_))));
    assert_eq!(bench.runs.len(), 0);
    assert_eq!(bench.said("/incidents/"), 1);
    bench.forward(HOUR * 30);
    assert_eq!(bench.runs.len(), 0, "the next day follows at once");
    assert!(bench.kept().incident.is_some());
}

#[test]
fn a_source_that_answers_nobody_is_an_outage_of_one_alert_until_it_answers() {
    let mut bench = bench(&[0], 30, &[]);
    let began = bench.now;
    while bench.kept().incident.is_none() {
        if bench.runs.is_empty() {
            bench.forward(SECOND);
        } else {
            bench.now = bench.now.after(Duration::from_millis(300));
            bench.end(Some(ErrorClass::ConnectionFailure));
        }
        assert!(bench.now.since(began) < MINUTE * 10, "{:?}", bench.lane());
    }
    let incident = bench.kept().incident.clone().unwrap();
    assert_eq!(incident.kind, IncidentKind::Outage);
    assert!(matches!(bench.lane().breaker, Phase::Open { .. }));
    assert_eq!(bench.alerts(AlertKind::SourceDown), (1, 0));

    while bench.kept().incident.is_some() {
        if bench.runs.is_empty() {
            bench.forward(SECOND);
        } else {
            bench.end(None);
        }
    }
    assert_eq!(bench.alerts(AlertKind::SourceDown), (1, 1));
    assert_eq!(bench.said("/incidents/"), 2);
    assert_eq!(bench.lane().breaker, Phase::Closed);
}

#[test]
fn an_answer_of_maintenance_costs_one_probe_at_a_time_and_no_retry() {
    let mut bench = bench(&[0], 20, &[]);
    assert_eq!(bench.runs.len(), 8);
    bench.end(Some(ErrorClass::BankMaintenance));
    assert!(bench.kept().incident.is_some());
    while !bench.runs.is_empty() {
        bench.end(Some(ErrorClass::BankMaintenance));
    }
    let mut probes = 0;
    for _ in 0..12 * 6 {
        bench.forward(MINUTE * 10);
        assert!(bench.runs.len() <= 1, "{}", bench.runs.len());
        while !bench.runs.is_empty() {
            probes += 1;
            bench.end(Some(ErrorClass::BankMaintenance));
        }
    }
    assert!((6..=20).contains(&probes), "{probes} in half a day");
    assert_eq!(bench.said("/incidents/"), 1);
    let connections = bench.connections.values();
    let charged =
        connections.filter(|one| one.retries > 0 || one.state() == ConnectionState::Error);
    assert_eq!(charged.count(), 0);

    bench.forward(HOUR);
    let mut ended = 0;
    while bench.lane().queued > 0 || !bench.runs.is_empty() {
        if bench.runs.is_empty() {
            bench.forward(MINUTE);
        } else {
            bench.end(None);
            ended += 1;
        }
    }
    assert!(ended >= 19, "{ended}");
    assert_eq!(bench.kept().incident, None);
    assert_eq!(bench.said("/incidents/"), 2);
}

#[test]
fn one_connection_in_maintenance_keeps_nobody_still_where_others_are_answered() {
    let mut bench = bench(&[0], 8, &[]);
    bench.end(None);
    bench.end(Some(ErrorClass::BankMaintenance));
    bench.end(None);
    bench.end(Some(ErrorClass::BankMaintenance));
    bench.end(None);
    assert_eq!(bench.kept().incident, None);
    assert_eq!(bench.lane().hold, None);
}

#[test]
fn an_end_that_could_not_be_stepped_is_stepped_once_the_database_answers() {
    let end = NOW.after(HOUR).to_string();
    let file = format!(r#"{{"from": "{NOW}", "to": "{end}"}}"#);
    let mut bench = bench(&[0], 3, &[&file]);
    assert!(bench.kept().incident.is_some());
    bench.unreadable = true;
    bench.forward(HOUR + MINUTE);
    assert!(bench.kept().incident.is_some(), "the step was lost");
    bench.unreadable = false;
    bench.forward(MINUTE);
    assert_eq!(bench.kept().incident, None);
}

#[test]
fn a_source_that_throttles_several_and_serves_nobody_is_left_alone_until_it_said() {
    let mut bench = bench(&[0], 16, &[]);
    let throttled = Some(ErrorClass::RateLimitExceeded);
    let until = NOW.after(HOUR);
    bench.end_until(throttled, Some(until));
    bench.end_until(throttled, Some(until));
    bench.end(None);
    bench.end_until(throttled, Some(until));
    bench.end_until(throttled, Some(until));
    assert_eq!(bench.lane().paused_until, None, "it serves others");
    bench.end_until(throttled, Some(until));
    assert_eq!(bench.lane().paused_until, Some(until));
    // Those that are under way end; no other goes out.
    while !bench.runs.is_empty() {
        bench.end(None);
    }
    bench.forward(HOUR - SECOND);
    assert!(bench.runs.is_empty());
    bench.forward(SECOND);
    assert!(!bench.runs.is_empty());
}

#[test]
fn connections_that_our_own_budget_holds_back_keep_no_other_still() {
    let mut bench = bench(&[0], 16, &[]);
    let until = NOW.after(HOUR);
    for _ in 0..5 {
        bench.hold_back(until);
    }
    assert_eq!(bench.lane().paused_until, None, "the source said nothing");
    assert_eq!(bench.runs.len(), 8, "others go on");
    let held_back = bench.connections.values();
    let held_back = held_back.filter(|one| one.retries == 0 && one.waits == 1);
    assert_eq!(held_back.count(), 5);
}

#[test]
fn what_our_own_budget_holds_back_ends_no_outage() {
    let mut bench = bench(&[0], 30, &[]);
    while bench.kept().incident.is_none() {
        if bench.runs.is_empty() {
            bench.forward(SECOND);
        } else {
            bench.now = bench.now.after(Duration::from_millis(300));
            bench.end(Some(ErrorClass::ConnectionFailure));
        }
    }
    let outage = bench.kept().incident.clone();
    for _ in 0..5 {
        while bench.runs.is_empty() {
            bench.forward(SECOND);
        }
        let until = bench.now.after(HOUR);
        bench.hold_back(until);
    }
    assert_eq!(bench.kept().incident, outage);
    assert_ne!(bench.lane().breaker, Phase::Closed, "nobody has answered");

    while bench.kept().incident.is_some() {
        if bench.runs.is_empty() {
            bench.forward(SECOND);
        } else {
            bench.end(None);
        }
    }
    assert_eq!(bench.alerts(AlertKind::SourceDown), (1, 1));
}

#[test]
fn an_attempt_that_could_not_read_what_it_begins_with_says_nothing_of_the_source() {
    let mut bench = bench(&[0], 1, &[]);
    let connection = bench.connections.clone();
    for _ in 0..3 {
        let (effect, _) = bench.runs.pop_front().unwrap();
        bench.give(Event::Ran(effect, RunResult::NotBegun));
        bench.commit_all();
        assert!(bench.runs.is_empty(), "not at once");
        bench.forward(SECOND);
    }
    assert_eq!(bench.connections, connection, "nothing is spent");
    bench.end(None);
    assert_ne!(bench.connections, connection);
}

#[test]
fn work_that_waits_too_long_for_its_turn_is_told_once_and_told_when_it_is_over() {
    let mut bench = bench(&[0], 20, &[]);
    bench.forward(MINUTE * 14);
    assert_eq!(bench.alerts(AlertKind::Backlog), (0, 0));
    bench.forward(MINUTE * 2);
    assert_eq!(bench.alerts(AlertKind::Backlog), (1, 0));
    bench.forward(HOUR * 2);
    assert_eq!(bench.alerts(AlertKind::Backlog), (1, 0));
    while !bench.runs.is_empty() {
        bench.end(None);
    }
    bench.forward(MINUTE);
    assert_eq!(bench.alerts(AlertKind::Backlog), (1, 1));
}

#[test]
fn collections_that_are_throttled_alert_their_tenant_once_and_one_that_is_not_mends_it() {
    let mut bench = bench(&[0], 0, &[]);
    let throttled = Some(ErrorClass::RateLimitExceeded);
    let kind = AlertKind::Throttled;
    bench.call(OTHER, None);
    bench.call(OTHER, throttled);
    assert_eq!(bench.alerts(kind), (1, 0));
    let steps = bench.kept().version;
    for _ in 0..5 {
        bench.call(OTHER, throttled);
    }
    assert_eq!(bench.kept().version, steps, "told at most once a minute");
    bench.forward(MINUTE);
    bench.call(OTHER, throttled);
    assert_eq!(bench.kept().version, steps + 1, "it is met still");
    bench.call(TENANT, None);
    assert_eq!(
        bench.alerts(kind),
        (1, 0),
        "another tenant's call mends nothing"
    );
    assert_eq!(bench.kept().alerts[0].0, OTHER);

    bench.call(OTHER, Some(ErrorClass::ProductNotAvailable));
    assert_eq!(bench.alerts(kind), (1, 1));
    assert_eq!(bench.said("/alerts/"), 2);
    let steps = bench.kept().version;
    bench.call(OTHER, None);
    assert_eq!(bench.kept().version, steps, "nothing is left to mend");
}

#[test]
fn a_collection_whose_connector_crashes_alerts_the_operator_until_another_tenants_call_is_well() {
    let mut bench = bench(&[0], 0, &[]);
    for (class, kind) in [
        (ErrorClass::InternalError, AlertKind::ConnectorCrashed),
        (ErrorClass::InvalidRequest, AlertKind::InvalidRequest),
    ] {
        bench.call(OTHER, Some(class));
        assert_eq!(bench.alerts(kind), (1, 0));
        assert_eq!(
            bench.kept().alerts[0].0,
            TENANT,
            "who runs the installation"
        );
        bench.call(TENANT, None);
        assert_eq!(bench.alerts(kind), (1, 1));
    }
    bench.call(OTHER, Some(ErrorClass::AuthenticationError));
    assert_eq!(bench.alerts(AlertKind::Deauthorised), (1, 0));
    bench.forward(HOUR * 26);
    assert_eq!(bench.alerts(AlertKind::Deauthorised), (1, 1), "in time");
}

#[test]
fn what_collections_show_another_node_is_told_with_what_mends_it() {
    let mut bench = bench(&[7], 0, &[]);
    let throttled = Some(ErrorClass::RateLimitExceeded);
    for class in [throttled, throttled, None, None] {
        bench.call(TENANT, class);
    }
    let told = bench.posted.iter().map(|request| {
        let Request::Source { input, .. } = request else {
            panic!("{request:?}");
        };
        (**input).clone()
    });
    let told: Vec<Input> = told.collect();
    let failed = (ErrorClass::RateLimitExceeded, "test_code".to_owned());
    let tenant = TENANT;
    // Its alert is not known here yet, and is mended all the same.
    let failed = Some(failed);
    assert_eq!(
        told,
        [
            Input::CallEnded { tenant, failed },
            Input::CallEnded {
                tenant,
                failed: None
            }
        ]
    );
}

#[test]
fn a_connection_that_is_throttled_says_nothing_of_its_source() {
    let mut bench = bench(&[0], 3, &[]);
    bench.end(Some(ErrorClass::RateLimitExceeded));
    bench.end(Some(ErrorClass::InternalError));
    assert_eq!(bench.kept().alerts, []);
}

#[test]
fn what_another_node_steps_is_left_to_it_and_heard_of_from_it() {
    let mut bench = bench(&[7], 20, &[]);
    bench.end(Some(ErrorClass::BankMaintenance));
    assert_eq!(bench.posted.len(), 1);
    let Request::Source { input, .. } = &bench.posted[0] else {
        panic!("{:?}", bench.posted);
    };
    assert!(matches!(**input, Input::MaintenanceMet { .. }));
    bench.end(Some(ErrorClass::BankMaintenance));
    assert_eq!(bench.posted.len(), 1, "not at every call");

    let disabled = source::Source {
        version: 5,
        disabled_at: Some(bench.now),
        ..bench.kept().clone()
    };
    bench.give(Event::Kept(vec![disabled.clone()]));
    assert_eq!(bench.lane().hold, Some(Hold::Disabled));
    let older = source::Source {
        version: 4,
        disabled_at: None,
        ..disabled
    };
    bench.give(Event::Kept(vec![older]));
    assert_eq!(bench.lane().hold, Some(Hold::Disabled));
}

/// A node that has these shards, with connections that are due in its last one.
fn bench(shards: &[u8], connections: u8, file: &[&str]) -> Bench {
    let windows = file.iter();
    let windows = windows.map(|json| serde_json::from_str(json).unwrap());
    let source = Source {
        maintenance: windows.collect(),
        ..source(SOURCE, 8)
    };
    let mut bench = Bench::new([source], shards, Limits::default(), |action| {
        matches!(action, Action::Resolve(_) | Action::Fenced)
    });
    bench.gather(connections, *shards.last().unwrap());
    bench
}

impl Bench {
    /// Has so many connections due.
    fn gather(&mut self, connections: u8, shard: u8) {
        let made = (0..connections).map(|number| connection(TENANT, number, shard));
        let rows = made.map(|made| self.keep(made)).collect();
        self.scan(rows);
    }

    /// Has a collection of a tenant called for once, which ends so.
    fn call(&mut self, tenant: TenantId, class: Option<ErrorClass>) {
        self.collect_for(tenant);
        self.commit_all();
        let (effect, _) = self.calls.pop_back().unwrap();
        self.give(Event::Fetched(effect, fetched(class, None)));
        self.commit_all();
    }

    fn patch(&mut self, patch: Patch) {
        self.request(Request::Source {
            name: SOURCE.parse().unwrap(),
            tenant: TENANT,
            input: Box::new(Input::Patched(patch, Actor::Operator)),
        });
        self.commit_all();
    }

    fn lane(&self) -> LaneView {
        self.driver.lanes().remove(0)
    }

    /// Ends the oldest attempt by what its own session says where a budget is spent.
    fn hold_back(&mut self, until: Timestamp) {
        let (effect, _) = self.runs.pop_front().unwrap();
        let mut result = ran(Some(ErrorClass::RateLimitExceeded), Some(until));
        if let RunResult::Failed { error, .. } = &mut result {
            BUDGET_SPENT.clone_into(&mut error.code);
        }
        self.give(Event::Ran(effect, result));
        self.commit_all();
    }

    fn kept(&self) -> &source::Source {
        self.kept.values().next().unwrap()
    }

    /// Alerts that were opened and that were closed so far.
    fn alerts(&self, wanted: AlertKind) -> (usize, usize) {
        let writes = self.batches.iter().flat_map(|batch| &batch.writes);
        let (mut opened, mut closed) = (Vec::new(), 0);
        for write in writes {
            let Write::Source(write) = write else {
                continue;
            };
            for alert in &write.alerts {
                match alert {
                    AlertWrite::Open(alert) if alert.kind == wanted => opened.push(alert.id),
                    AlertWrite::Close(id, _) => closed += usize::from(opened.contains(id)),
                    AlertWrite::Open(_) | AlertWrite::Again(..) | AlertWrite::Acknowledge(..) => {}
                }
            }
        }
        (opened.len(), closed)
    }

    /// Paths that the log has got so far.
    fn said(&self, part: &str) -> usize {
        let entries = self.batches.iter().flat_map(|batch| &batch.entries);
        let paths = entries.map(|entry| entry.change.subject.to_string());
        paths.filter(|path| path.contains(part)).count()
    }
}

/// A window that begins so much later.
fn window(from: Duration, to: Duration) -> Announced {
    let json = serde_json::json!({
        "from": NOW.after(from).to_string(),
        "to": NOW.after(to).to_string(),
    });
    serde_json::from_value(json).unwrap()
}
