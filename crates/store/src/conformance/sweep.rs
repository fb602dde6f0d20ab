//! Retention.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wellspring_core::{Error, ErrorClass, Input, TenantId, Timestamp};
use wellspring_engine::{Backend, Before, Cursor, CursorError, KeyRow, Settings, Sweep};

use super::{Harness, Node, START, TENANT};

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
    let accepted = node.accepted(START, TENANT).await;
    let payload = Bytes::from_static(b"[3]");
    let fetched = node
        .stepped(
            accepted,
            START,
            Input::Fetched { started: START },
            Some(payload.clone()),
        )
        .await;
    let error = Error {
        class: ErrorClass::ProductNotAvailable,
        code: "http_410".to_owned(),
        message: "gone".to_owned(),
    };
    let gone = Input::DeliveryFailed {
        started: START,
        error,
        gone: true,
        retry_at: None,
        probe: false,
    };
    let parked = node.stepped(fetched, START, gone, None).await;
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
    assert_eq!(
        node.store.load(vec![id]).await.expect("loads")[0].payload,
        Some(payload)
    );
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
            id,
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
