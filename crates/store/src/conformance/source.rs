//! Sources: what is kept of them, their incidents, and alerts about them.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::source::{Announced, Input, Patch, Policy, Source, Step};
use wellspring_core::{Actor, AlertKind, Incident, IncidentKind, TenantId, Timestamp};
use wellspring_engine::{
    Aggregate, AlertFilter, Backend, Batch, Before, CommitError, Entry, IncidentFilter, Loaded,
    SourceWrite, Sweep, Write,
};

use super::{Harness, Node, START, TENANT};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A source comes to be with its first step and reads back after each, under its version.
pub async fn the_life_of_a_source_reads_back(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let store = harness.open().await;
    assert_eq!(store.sources().await, Ok(vec![]));
    let fresh = Source::fresh("gas".parse().expect("a name"));
    let used = stepped(&mut node, &fresh, START, Input::Used(TENANT)).await;
    reads_back(store.as_ref(), &used).await;

    let windows: Vec<Announced> = [
        r#"{"every": "Sun 02:00-05:00", "zone": "Europe/Berlin", "reason": "Backups \u2713"}"#,
        r#"{"from": "2030-12-01T02:00:00Z", "to": "2030-12-01T04:00:00Z"}"#,
    ]
    .map(|json| serde_json::from_str(json).expect("a window"))
    .into();
    let patch = Patch {
        enabled: Some(false),
        windows: Some(windows),
    };
    let patched = Input::Patched(patch, Actor::Operator);
    let set = stepped(&mut node, &used, START, patched).await;
    let down = stepped(&mut node, &set, START, Input::WentDown).await;
    reads_back(store.as_ref(), &down).await;
    let other = Source::fresh("water".parse().expect("a name"));
    let other = stepped(&mut node, &other, START, Input::Used(TENANT)).await;
    let mut all = vec![down.clone(), other];
    all.sort_by_key(Source::id);
    assert_eq!(store.sources().await, Ok(all));

    // A step from what has moved on, and one that makes what is there, write nothing.
    for (stale, before) in [(&set, None), (&fresh, Some(Before::New))] {
        let step = policed(stale, START, Input::Used(TenantId::from_bytes([7; 16])));
        let before = before.unwrap_or(Before::Live(stale.version));
        let batch = batch(&mut node, START, (stale, before), step);
        let id = Aggregate::Source(stale.id());
        let outcome = store.commit(Arc::new(batch)).await;
        assert_eq!(outcome, Err(CommitError::Stale(id)));
    }
    reads_back(store.as_ref(), &down).await;
}

/// Incidents are listed by every filter, change in place, and go after two years.
pub async fn incidents_are_listed_and_kept_for_two_years(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let gas = Source::fresh("gas".parse().expect("a name"));
    let water = Source::fresh("water".parse().expect("a name"));
    let gas = stepped(&mut node, &gas, START, Input::WentDown).await;
    let met = Input::MaintenanceMet {
        until: Some(START.after(HOUR * 3)),
        code: "planned".to_owned(),
    };
    let at = START.after(HOUR);
    let water = stepped(&mut node, &water, at, met.clone()).await;
    let (first, second) = (open(&gas), open(&water));
    let store = harness.open().await;
    let listed = async |filter, before, limit| {
        let rows = store.incidents(filter, before, limit).await;
        rows.expect("reads")
    };
    let of = IncidentFilter::default;
    assert_eq!(
        listed(of(), None, 10).await,
        [second.clone(), first.clone()]
    );
    assert_eq!(
        listed(of(), Some(second.id), 10).await,
        std::slice::from_ref(&first)
    );
    assert_eq!(listed(of(), None, 1).await, std::slice::from_ref(&second));
    let source = Some("gas".parse().expect("a name"));
    let of_gas = || IncidentFilter {
        source: source.clone(),
        ..of()
    };
    assert_eq!(
        listed(of_gas(), None, 10).await,
        std::slice::from_ref(&first)
    );
    let kind = Some(IncidentKind::Maintenance);
    assert_eq!(
        listed(IncidentFilter { kind, ..of() }, None, 10).await,
        std::slice::from_ref(&second)
    );
    assert_eq!(
        listed(IncidentFilter { kind, ..of_gas() }, None, 10).await,
        []
    );

    // The outage turns out to be maintenance, and ends.
    let gas = stepped(&mut node, &gas, at, met).await;
    let changed = open(&gas);
    assert_eq!(
        (changed.id, changed.kind),
        (first.id, IncidentKind::Maintenance)
    );
    assert_eq!(
        listed(of_gas(), None, 10).await,
        std::slice::from_ref(&changed)
    );
    let end = START.after(HOUR * 2);
    stepped(&mut node, &gas, end, Input::Answered).await;
    let ended = Incident {
        ended_at: Some(end),
        ..changed
    };
    let is_open = |open| IncidentFilter {
        open: Some(open),
        ..of()
    };
    assert_eq!(
        listed(is_open(false), None, 10).await,
        std::slice::from_ref(&ended)
    );
    assert_eq!(
        listed(is_open(true), None, 10).await,
        std::slice::from_ref(&second)
    );

    swept(store.as_ref(), end.after(DAY * 729)).await;
    assert_eq!(listed(of(), None, 10).await.len(), 2);
    swept(store.as_ref(), end.after(DAY * 731)).await;
    assert_eq!(listed(of(), None, 10).await, [second], "it goes on");
}

/// Alerts about a source belong to their tenants, as do the entries that tell of it.
pub async fn a_source_alerts_each_tenant_in_its_own_log(harness: &dyn Harness) {
    let other = TenantId::from_bytes([2; 16]);
    let mut node = Node::join(harness.open().await).await;
    let gas = Source::fresh("gas".parse().expect("a name"));
    let gas = stepped(&mut node, &gas, START, Input::Used(TENANT)).await;
    let gas = stepped(&mut node, &gas, START, Input::Used(other)).await;
    let gas = stepped(&mut node, &gas, START, Input::WentDown).await;
    stepped(&mut node, &gas, START.after(HOUR), Input::Answered).await;

    let store = harness.open().await;
    let mut ids = Vec::new();
    for tenant in [TENANT, other] {
        let alerts = store.alerts(tenant, AlertFilter::default(), None, 10).await;
        let alerts = alerts.expect("reads");
        assert_eq!(alerts.len(), 1);
        assert_eq!(
            (alerts[0].kind, alerts[0].connection),
            (AlertKind::SourceDown, None)
        );
        assert_eq!(alerts[0].closed_at, Some(START.after(HOUR)));
        ids.push(alerts[0].id);
        let start = wellspring_engine::Cursor::start(store.head().await.expect("reads").life);
        let page = store.changes(tenant, start, 100).await.expect("reads");
        let paths: Vec<&str> = page
            .entries
            .iter()
            .map(|entry| entry.path.as_str())
            .collect();
        let ended = |path: &&&str| {
            path.starts_with("/sources/gas/incidents/") && path.ends_with("/state/ended")
        };
        assert_eq!(paths.len(), 4, "{paths:?}");
        assert_eq!(paths.iter().filter(ended).count(), 1, "{paths:?}");
    }
    assert_ne!(ids[0], ids[1]);
}

async fn stepped(node: &mut Node, source: &Source, now: Timestamp, input: Input) -> Source {
    let step = policed(source, now, input);
    let next = step.next.clone();
    let before = if source.version == 0 {
        Before::New
    } else {
        Before::Live(source.version)
    };
    let batch = batch(node, now, (source, before), step);
    node.commit(batch).await;
    next
}

fn policed(source: &Source, now: Timestamp, input: Input) -> Step {
    let step = source.clone().handle(now, input, Policy::default());
    step.expect("something changes")
}

fn batch(
    node: &mut Node,
    now: Timestamp,
    (source, before): (&Source, Before),
    step: Step,
) -> Batch {
    let write = SourceWrite {
        id: source.id(),
        before,
        next: step.next,
        incidents: step.incidents,
        alerts: step.alerts,
    };
    let (tenants, changes): (Vec<TenantId>, Vec<_>) = step.changes.into_iter().unzip();
    let batch = node.batch_of(now, TENANT, Write::Source(Box::new(write)), changes);
    let entries = batch.entries.into_iter().zip(tenants);
    let entries = entries.map(|(entry, tenant)| Entry { tenant, ..entry });
    Batch {
        entries: entries.collect(),
        ..batch
    }
}

fn open(source: &Source) -> Incident {
    source.incident.clone().expect("goes on")
}

async fn reads_back(store: &dyn Backend, source: &Source) {
    let loaded = store.load(vec![Aggregate::Source(source.id())]).await;
    let loaded = loaded.expect("reads");
    match loaded.as_slice() {
        [Loaded::Source(found)] => assert_eq!(found.as_ref(), source),
        other => panic!("{other:?}"),
    }
}

async fn swept(store: &dyn Backend, now: Timestamp) {
    let sweep = || Sweep {
        now,
        tenants: std::collections::BTreeMap::new(),
        rows: 100,
    };
    while !store.sweep(sweep()).await.expect("sweeps").done {}
}
