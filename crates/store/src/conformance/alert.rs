//! Alerts: opened, counted, acknowledged and closed with the steps that show them.

use std::time::Duration;

use wellspring_core::connection::Input;
use wellspring_core::{
    Actor, Alert, AlertId, AlertKind, AlertState, AlertWish, Connection, ConnectionId,
    ConnectionState, Error, ErrorClass, TenantId, Timestamp,
};
use wellspring_engine::{AlertFilter, Backend, Sweep};

use super::{Harness, Node, START, TENANT};

const DAY: Duration = Duration::from_secs(86_400);

/// What steps say of alerts reads back after a crash, by every filter, and for its tenant alone.
pub async fn alerts_read_back_and_are_listed(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let at = |n: u64| START.after(Duration::from_secs(n));
    let account = node.account(START, TENANT, None).await;
    let first = node.connected(START, &account).await;
    let second = node.connected(START, &account).await;

    let first = failed(&mut node, &first, at(1), ErrorClass::RateLimitExceeded).await;
    let first = failed(&mut node, &first, at(2), ErrorClass::RateLimitExceeded).await;
    let second = failed(&mut node, &second, at(3), ErrorClass::InternalError).await;
    let throttled = Alert {
        id: open_alert(&first),
        tenant: TENANT,
        kind: AlertKind::Throttled,
        source: first.source.clone(),
        connection: Some((account.id, first.id)),
        code: Some("a_code".to_owned()),
        opened_at: at(1),
        last_at: at(2),
        count: 2,
        acknowledged_at: None,
        closed_at: None,
    };
    let store = harness.open().await;
    let read = store.alert(TENANT, throttled.id).await;
    assert_eq!(read, Ok(Some(throttled.clone())));
    let stranger = TenantId::from_bytes([2; 16]);
    assert_eq!(store.alert(stranger, throttled.id).await, Ok(None), "walls");

    let crashed = open_alert(&second);
    let known = Input::AlertAsked(crashed, AlertWish::Acknowledge, Actor::Operator);
    let second = node.moved(&second, at(4), known).await;
    // One step may close an alert and open another.
    let first = failed(&mut node, &first, at(5), ErrorClass::InvalidRequest).await;
    let read = store.alert(TENANT, throttled.id).await.expect("reads");
    let read = read.expect("is kept");
    assert_eq!(
        (read.closed_at, read.state()),
        (Some(at(5)), AlertState::Closed)
    );
    let read = store.alert(TENANT, crashed).await.expect("reads");
    let read = read.expect("is kept");
    assert_eq!((read.acknowledged_at, read.count), (Some(at(4)), 1));

    let invalid = open_alert(&first);
    let of = AlertFilter::default;
    let listed = async |tenant, filter, before, limit| {
        let rows: Vec<Alert> = store
            .alerts(tenant, filter, before, limit)
            .await
            .expect("reads");
        rows.into_iter().map(|alert| alert.id).collect::<Vec<_>>()
    };
    let all = listed(TENANT, of(), None, 10).await;
    assert_eq!(all, [invalid, crashed, throttled.id]);
    assert_eq!(listed(TENANT, of(), Some(invalid), 1).await, [crashed]);
    assert_eq!(listed(stranger, of(), None, 10).await, []);
    let open = AlertFilter {
        open: Some(true),
        ..of()
    };
    assert_eq!(listed(TENANT, open, None, 10).await, [invalid, crashed]);
    let closed = AlertFilter {
        open: Some(false),
        ..of()
    };
    assert_eq!(listed(TENANT, closed, None, 10).await, [throttled.id]);
    let kind = Some(AlertKind::ConnectorCrashed);
    assert_eq!(
        listed(TENANT, AlertFilter { kind, ..of() }, None, 10).await,
        [crashed]
    );
    let connection = Some(first.id);
    let one = AlertFilter { connection, ..of() };
    assert_eq!(listed(TENANT, one, None, 10).await, [invalid, throttled.id]);
    for (name, count) in [("gas", 3), ("water", 0)] {
        let source = Some(name.parse().expect("a name"));
        let found = listed(TENANT, AlertFilter { source, ..of() }, None, 10).await;
        assert_eq!(found.len(), count, "{name}");
    }
    assert_eq!(second.alerts.len(), 1);
}

/// The operator lists the alerts of all tenants, page by page and by every filter, and shows each.
pub async fn alerts_of_all_tenants_are_listed(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let other = TenantId::from_bytes([2; 16]);
    let mut failed_of = async |tenant, after, class| {
        let at = START.after(Duration::from_secs(after));
        let account = node.account(at, tenant, None).await;
        let connection = node.connected(at, &account).await;
        failed(&mut node, &connection, at, class).await
    };
    let mine = failed_of(TENANT, 1, ErrorClass::RateLimitExceeded).await;
    let theirs = failed_of(other, 2, ErrorClass::InternalError).await;
    let later = failed_of(TENANT, 3, ErrorClass::InternalError).await;
    let last = failed_of(other, 4, ErrorClass::RateLimitExceeded).await;
    let [a, b, c, d] = [&mine, &theirs, &later, &last].map(open_alert);
    let at = START.after(Duration::from_secs(5));
    let aside = Input::AlertAsked(b, AlertWish::Close, Actor::Operator);
    node.moved(&theirs, at, aside).await;

    let store = harness.open().await;
    let of = AlertFilter::default;
    let listed = async |filter, before, limit| {
        let rows = store.alerts_of_all(filter, before, limit).await;
        let ids = rows.expect("reads").into_iter().map(|alert| alert.id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(listed(of(), None, 10).await, [d, c, b, a]);
    assert_eq!(listed(of(), Some(d), 2).await, [c, b]);
    assert_eq!(listed(of(), Some(b), 2).await, [a]);
    for (open, found) in [(true, vec![d, c, a]), (false, vec![b])] {
        let open = Some(open);
        assert_eq!(listed(AlertFilter { open, ..of() }, None, 10).await, found);
    }
    let kind = Some(AlertKind::ConnectorCrashed);
    let crashed = AlertFilter { kind, ..of() };
    assert_eq!(listed(crashed.clone(), None, 10).await, [c, b]);
    assert_eq!(listed(crashed.clone(), Some(c), 10).await, [b]);
    let open = Some(true);
    assert_eq!(listed(AlertFilter { open, ..crashed }, None, 10).await, [c]);
    for (name, found) in [("gas", vec![d, c, b, a]), ("water", vec![])] {
        let source = Some(name.parse().expect("a name"));
        let of_source = AlertFilter { source, ..of() };
        assert_eq!(listed(of_source.clone(), None, 10).await, found, "{name}");
        let throttled = AlertFilter {
            kind: Some(AlertKind::Throttled),
            ..of_source
        };
        let found: Vec<AlertId> = found.into_iter().filter(|id| [d, a].contains(id)).collect();
        assert_eq!(listed(throttled, None, 10).await, found, "{name}");
    }
    for (connection, found) in [(&theirs, b), (&later, c)] {
        let connection = Some(connection.id);
        let one = AlertFilter { connection, ..of() };
        assert_eq!(listed(one.clone(), None, 10).await, [found]);
        let source = Some("water".parse().expect("a name"));
        assert_eq!(listed(AlertFilter { source, ..one }, None, 10).await, []);
    }

    for (id, tenant) in [(a, TENANT), (b, other)] {
        let read = store.alert_of_any(id).await.expect("reads");
        assert_eq!(
            read.map(|alert| (alert.id, alert.tenant)),
            Some((id, tenant))
        );
    }
    let none = AlertId::from_bytes([9; 16]);
    assert_eq!(store.alert_of_any(none).await, Ok(None));
}

/// A deleted connection closes its alerts, retention takes what is closed, and an erased account leaves none.
pub async fn alerts_end_with_what_they_are_about(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let gone = node.connected(START, &account).await;
    let stays = node.connected(START, &account).await;
    let gone = failed(&mut node, &gone, START, ErrorClass::InternalError).await;
    let stays = failed(&mut node, &stays, START, ErrorClass::InternalError).await;
    let (_, batch) = node.connection_step(&gone, START, Input::DeleteAsked(Actor::Operator));
    node.commit(batch).await;
    let store = harness.open().await;
    let (closed, open) = (open_alert(&gone), open_alert(&stays));
    let read = store
        .alert(TENANT, closed)
        .await
        .expect("reads")
        .expect("is kept");
    assert_eq!(read.closed_at, Some(START));

    swept(store.as_ref(), START.after(DAY * 89)).await;
    assert_eq!(kept(store.as_ref(), gone.id).await, 1);
    swept(store.as_ref(), START.after(DAY * 91)).await;
    assert_eq!(kept(store.as_ref(), gone.id).await, 0);
    assert!(
        store.alert(TENANT, open).await.expect("reads").is_some(),
        "it is open"
    );

    let step = account.clone().erased();
    node.account_stepped(START, &account, step).await;
    assert_eq!(store.alert(TENANT, open).await, Ok(None));
}

async fn kept(store: &dyn Backend, connection: ConnectionId) -> usize {
    let filter = AlertFilter {
        connection: Some(connection),
        ..AlertFilter::default()
    };
    store
        .alerts(TENANT, filter, None, 10)
        .await
        .expect("reads")
        .len()
}

async fn swept(store: &dyn Backend, now: Timestamp) {
    let sweep = || Sweep {
        now,
        tenants: std::collections::BTreeMap::new(),
        rows: 100,
    };
    while !store.sweep(sweep()).await.expect("sweeps").done {}
}

async fn failed(
    node: &mut Node,
    connection: &Connection,
    at: Timestamp,
    class: ErrorClass,
) -> Connection {
    let asked = Input::FetchAsked(Actor::Operator);
    let connection = if connection.state() == ConnectionState::Created {
        connection.clone()
    } else {
        node.moved(connection, at, asked).await
    };
    let connecting = node.fetching(&connection, at).await;
    let failed = Input::FetchFailed {
        started: at,
        error: Error {
            class,
            code: "a_code".to_owned(),
            message: "it went wrong".to_owned(),
        },
        retry_at: None,
        follow: wellspring_core::Action::Default,
        probe: false,
    };
    node.moved(&connecting, at, failed).await
}

fn open_alert(connection: &Connection) -> AlertId {
    connection.alerts[0].id(connection.id.as_bytes())
}
