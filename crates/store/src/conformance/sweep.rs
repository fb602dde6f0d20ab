//! Retention.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wellspring_core::{Input, TenantId, Timestamp, connection};
use wellspring_engine::{
    Backend, Before, Cursor, CursorError, DeliveryFilter, DeliveryStatus, DispatchWrites, KeyRow,
    Settings, Sweep, TokenKind, TokenRecord,
};

use super::dispatch::{attempt, delivery};
use super::steps::subscription;
use super::{Harness, Node, START, TENANT, collection};

const DAY: Duration = Duration::from_secs(86_400);

async fn sweep(store: &dyn Backend, now: Timestamp) {
    let settings = Settings {
        keep_changes: DAY * 3,
        keep_collections: DAY * 4,
        keep_payloads: DAY,
        keep_attempts: DAY * 2,
        ..Settings::default()
    };
    let sweep = Sweep {
        now,
        tenants: [(TENANT, settings)].into_iter().collect(),
        rows: 3,
    };
    for _ in 0..100 {
        if store.sweep(sweep.clone()).await.expect("sweeps").done {
            return;
        }
    }
    panic!("a sweep ends");
}

/// What is old goes, what lives stays, and a cursor into what went is told.
pub async fn retention_removes_what_is_old_and_says_so(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let start = node.store.head().await.expect("reads");
    let other = TenantId::from_bytes([2; 16]);
    let mut old = Vec::new();
    for _ in 0..5 {
        old.push(node.delivered(START, TENANT).await);
    }
    let live = node.accepted(START, TENANT).await;
    let theirs = node.delivered(START, other).await;
    let young = node.delivered(START.after(DAY * 4), TENANT).await;
    let store = Arc::clone(&node.store);

    sweep(
        store.as_ref(),
        START.after(DAY * 2 + Duration::from_secs(1)),
    )
    .await;
    let view = store
        .collection(TENANT, old[0].id)
        .await
        .expect("reads")
        .expect("is kept longer");
    assert!(view.attempts.is_empty(), "attempts have gone before it");
    assert!(store.changes(TENANT, start.clone(), 1_000).await.is_ok());

    sweep(
        store.as_ref(),
        START.after(DAY * 4 + Duration::from_secs(1)),
    )
    .await;
    for collection in &old {
        assert!(
            store
                .collection(TENANT, collection.id)
                .await
                .expect("reads")
                .is_none()
        );
    }
    assert!(
        store
            .collection(TENANT, live.id)
            .await
            .expect("reads")
            .is_some(),
        "what lives is never swept"
    );
    assert!(
        store
            .collection(TENANT, young.id)
            .await
            .expect("reads")
            .is_some()
    );
    assert!(
        store
            .collection(other, theirs.id)
            .await
            .expect("reads")
            .is_some(),
        "others have their own retention"
    );
    assert_eq!(
        store.changes(TENANT, start.clone(), 1_000).await.err(),
        Some(CursorError::Expired)
    );
    assert_eq!(
        store
            .changes(other, start.clone(), 1_000)
            .await
            .expect("reads")
            .entries
            .len(),
        3
    );
    let oldest = store
        .changes(TENANT, Cursor::start(start.life), 1_000)
        .await
        .expect("reads");
    assert_eq!(
        oldest.entries.len(),
        3,
        "who has seen nothing begins with the oldest entry that is left"
    );
}

/// A delivery that failed can be resumed with its data for as long as it is kept.
pub async fn what_can_be_resumed_keeps_its_data(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let payload = Bytes::from_static(b"[3]");
    let parked = node.parked(START, TENANT, payload.clone()).await;
    let later = START.after(DAY * 3);
    sweep(node.store.as_ref(), later).await;

    let (id, version) = (parked.id, parked.version);
    let step = node.step(
        parked,
        later,
        Input::ResumeRequested(wellspring_core::Actor::Operator),
    );
    let batch = node.batch(later, Before::Finished(version), id, step);
    node.commit(batch).await;
    let rows = node.store.load(vec![id.into()]).await.expect("loads");
    assert_eq!(collection(&rows[0]).payload, Some(payload));
}

/// Keys are remembered for a day.
pub async fn idempotency_keys_are_forgotten_after_a_day(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    for n in 0..7 {
        let (id, step) = node.accept(START, TENANT);
        let mut batch = node.batch(START, Before::New, id, step);
        batch.keys.push(KeyRow {
            tenant: TENANT,
            key: [n; 32],
            fingerprint: [6; 32],
            id: id.into(),
            at: START,
        });
        node.commit(batch).await;
    }
    sweep(node.store.as_ref(), START.after(DAY)).await;
    assert!(
        node.store
            .key(TENANT, [6; 32])
            .await
            .expect("reads")
            .is_some()
    );
    sweep(
        node.store.as_ref(),
        START.after(DAY + Duration::from_millis(1)),
    )
    .await;
    for n in 0..7 {
        assert_eq!(node.store.key(TENANT, [n; 32]).await, Ok(None));
    }
}

/// Closed questions go after a month, fetches after as long as collections; what is open stays.
pub async fn what_is_over_on_connections_is_swept(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let mut running = Vec::new();
    let mut over = Vec::new();
    for _ in 0..5 {
        let connection = node.connected(START, &account).await;
        let connecting = node.fetching(&connection, START).await;
        running.push(node.asked(&connecting, START).await);
        let connection = node.connected(START, &account).await;
        let connecting = node.fetching(&connection, START).await;
        let asked = node.asked(&connecting, START).await;
        over.push(
            node.moved(&asked, START, connection::Input::QuestionExpired)
                .await,
        );
    }
    let store = Arc::clone(&node.store);
    let link = |byte, expires_at| TokenRecord {
        hash: [byte; 32],
        tenant: TENANT,
        account: account.id,
        kind: TokenKind::Client,
        connection: None,
        source: None,
        return_url: None,
        created_at: START,
        expires_at,
        spent_at: None,
    };
    for byte in 0..5 {
        store.put_token(link(byte, START)).await.expect("puts");
        let later = START.after(DAY * 31);
        store.put_token(link(byte + 10, later)).await.expect("puts");
    }
    let kept = async |id| {
        let fetches = store.fetches(id, None, 10).await.expect("reads");
        let questions = store.interactions(id, 10).await.expect("reads");
        (fetches.len(), questions.len())
    };
    let tokens = async || {
        let mut found = Vec::new();
        for byte in 0..20 {
            found.extend(store.token([byte; 32]).await.expect("reads").map(|_| byte));
        }
        found
    };
    sweep(store.as_ref(), START.after(DAY)).await;
    assert_eq!(tokens().await.len(), 10);
    sweep(store.as_ref(), START.after(DAY * 4)).await;
    assert_eq!(tokens().await, [10, 11, 12, 13, 14]);
    for connection in running.iter().chain(&over) {
        assert_eq!(kept(connection.id).await, (1, 1));
    }
    sweep(
        store.as_ref(),
        START.after(DAY * 4 + Duration::from_millis(1)),
    )
    .await;
    for connection in &over {
        assert_eq!(kept(connection.id).await, (0, 1));
    }
    let month = START.after(DAY * 30);
    sweep(store.as_ref(), month).await;
    assert_eq!(kept(over[0].id).await, (0, 1));
    sweep(store.as_ref(), month.after(Duration::from_millis(1))).await;
    for connection in &over {
        assert_eq!(kept(connection.id).await, (0, 0));
        let read = store.connection(TENANT, connection.id).await;
        assert_eq!(read, Ok(Some(connection.clone())));
    }
    for connection in &running {
        assert_eq!(kept(connection.id).await, (1, 1), "what goes on stays");
        let fetch = connection.fetch().expect("is under way").id;
        let view = store.fetch(connection.id, fetch).await.expect("reads");
        assert_eq!(view.expect("is kept").attempts.len(), 1);
    }
}

/// Deliveries go with their attempts once they have ended, and never before.
pub async fn deliveries_that_ended_are_swept(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let shard = node.shards()[0];
    let stands = [
        DeliveryStatus::Delivered,
        DeliveryStatus::Waiting,
        DeliveryStatus::Exhausted,
        DeliveryStatus::Retrying,
        DeliveryStatus::Delivered,
    ];
    let mut writes = DispatchWrites::default();
    for n in 1..4 {
        let of = subscription(n);
        let put = node.store.put_subscription(of.clone(), None);
        assert_eq!(put.await, Ok(true));
        let young = DeliveryStatus::Delivered;
        let rows = (1..)
            .zip(stands)
            .map(|(seq, status)| delivery(&of, shard, seq, status))
            .chain((200_000..200_005).map(|seq| delivery(&of, shard, seq, young)));
        for row in rows {
            writes.attempts.push(attempt(&row, 1, None));
            writes.deliveries.push(row);
        }
    }
    node.dispatched(shard, writes).await;
    let store = Arc::clone(&node.store);
    let left = async || {
        let rows = store.deliveries(TENANT, DeliveryFilter::default(), 100);
        let mut places: Vec<_> = rows
            .await
            .expect("reads")
            .iter()
            .map(|row| (row.subscription, row.seq))
            .collect();
        places.sort_unstable();
        places
    };
    sweep(store.as_ref(), START.after(DAY * 2)).await;
    assert_eq!(left().await.len(), 30);
    sweep(
        store.as_ref(),
        START.after(DAY * 2 + Duration::from_secs(60)),
    )
    .await;
    let places = [2, 4, 200_000, 200_001, 200_002, 200_003, 200_004];
    let expected = (1..4).flat_map(|n| places.map(|seq| (subscription(n).id, seq)));
    assert_eq!(left().await, expected.collect::<Vec<_>>());
    let of = subscription(1).id;
    let open = store.delivery(TENANT, of, (shard, 2)).await.expect("reads");
    assert_eq!(open.expect("is kept").attempts.len(), 1);
    let state = store.dispatch_state(shard).await.expect("reads");
    assert_eq!(state.open.len(), 6);
}
