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
