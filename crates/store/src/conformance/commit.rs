//! Batches: whole or not at all, fenced, and their outcome known.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wellspring_core::{
    Actor, CollectionId, CollectionStatus, Error, ErrorClass, Input, Stage, State,
};
use wellspring_engine::{Backend, Before, CollectionView, CommitError, KeyRow, LoadedCollection};

use super::{Harness, Node, START, TENANT, collection};

/// After `commit` returned, a crash loses nothing.
pub async fn a_step_is_there_after_a_crash(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let accepted = node.accepted(START, TENANT).await;
    drop(node);

    let again = harness.open().await;
    let view = found(&again, accepted.id).await.expect("is there");
    assert_eq!(
        (view.status, view.created_at),
        (CollectionStatus::Requested, START)
    );
    let row = loaded(&again, accepted.id).await;
    assert_eq!((row.collection, row.live), (accepted, true));
}

/// Every state reads back as it was written, with its attempts.
pub async fn the_whole_life_of_a_collection_reads_back(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let store = Arc::clone(&node.store);
    let error = Error {
        class: ErrorClass::ConnectionFailure,
        code: "http_500".to_owned(),
        message: "the source answered 500".to_owned(),
    };
    let accepted = node.accepted(START, TENANT).await;
    let id = accepted.id;
    let failed = Input::FetchFailed {
        started: START,
        error: error.clone(),
        retry_at: None,
        probe: false,
    };
    let retrying = node
        .stepped(
            accepted,
            START.after(Duration::from_millis(30)),
            failed,
            None,
        )
        .await;
    let view = found(&store, id).await.expect("is there");
    assert_eq!(
        (view.status, view.next_attempt_at),
        (
            CollectionStatus::Retrying,
            retrying.next_wakeup().map(|w| w.0)
        )
    );
    assert_eq!(loaded(&store, id).await.collection, retrying);

    let later = START.after(Duration::from_secs(20));
    let payload = Bytes::from_static(br#"[{"amount":30.00}]"#);
    let fetched = node
        .stepped(
            retrying,
            later,
            Input::Fetched { started: later },
            Some(payload),
        )
        .await;
    let view = found(&store, id).await.expect("is there");
    assert_eq!(
        (view.status, view.collected_at),
        (CollectionStatus::Collected, Some(later))
    );
    assert_eq!(loaded(&store, id).await.collection, fetched);

    let end = later.after(Duration::from_secs(1));
    let delivered = node
        .stepped(
            fetched,
            end,
            Input::DeliverySucceeded { started: later },
            None,
        )
        .await;
    let view = found(&store, id).await.expect("is there");
    assert_eq!(
        (view.status, view.delivered_at),
        (CollectionStatus::Delivered, Some(end))
    );
    assert_eq!(view.collected_at, Some(later));
    let stages: Vec<Stage> = view.attempts.iter().map(|attempt| attempt.stage).collect();
    assert_eq!(stages, [Stage::Collect, Stage::Collect, Stage::Deliver]);
    assert_eq!(view.attempts[0].error, Some(error));
    assert_eq!(view.attempts[0].duration, Duration::from_millis(30));
    let row = loaded(&store, id).await;
    assert_eq!((row.collection, row.live), (delivered, false));
    let other = wellspring_core::TenantId::from_bytes([9; 16]);
    assert!(
        store.collection(other, id).await.expect("reads").is_none(),
        "tenants are walls"
    );
}

/// The version is asserted, and one stale step undoes the whole batch.
pub async fn a_stale_version_writes_nothing(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let accepted = node.accepted(START, TENANT).await;
    let step = node.step(accepted.clone(), START, Input::Fetched { started: START });
    let mut batch = node.batch(START, Before::Live(accepted.version + 7), accepted.id, step);
    let (fresh, fresh_step) = node.accept(START, TENANT);
    let mut more = node.batch(START, Before::New, fresh, fresh_step);
    batch.writes.insert(0, more.writes.remove(0));

    let outcome = node.store.commit(Arc::new(batch)).await;
    assert_eq!(outcome, Err(CommitError::Stale(accepted.id.into())));
    assert!(found(&node.store, fresh).await.is_none());
    let view = found(&node.store, accepted.id).await.expect("is there");
    assert_eq!(view.status, CollectionStatus::Requested);

    let (id, step) = node.accept(START, TENANT);
    let batch = node.batch(START, Before::New, id, step);
    let mut again = batch.clone();
    again.number += 1;
    again.entries[0].seq += 1;
    node.commit(batch).await;
    assert_eq!(
        node.store.commit(Arc::new(again)).await,
        Err(CommitError::Stale(id.into())),
        "an id is taken once"
    );
}

/// The epoch is asserted even when the incarnation lives.
pub async fn a_stale_epoch_writes_nothing(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let (id, step) = node.accept(START, TENANT);
    let mut batch = node.batch(START, Before::New, id, step);
    for (_, epoch) in &mut batch.epochs {
        *epoch += 1;
    }
    assert_eq!(
        node.store.commit(Arc::new(batch)).await,
        Err(CommitError::Fenced)
    );
    assert!(found(&node.store, id).await.is_none());
}

/// A caller that lost sight of a commit can learn whether it was made.
pub async fn the_outcome_of_a_batch_can_be_asked_for(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let (id, step) = node.accept(START, TENANT);
    let batch = node.batch(START, Before::New, id, step);
    let number = batch.number;
    assert_eq!(
        node.store.committed(node.incarnation, number).await,
        Ok(false)
    );
    node.commit(batch).await;
    assert_eq!(
        node.store.committed(node.incarnation, number).await,
        Ok(true)
    );
    assert_eq!(
        node.store.committed(node.incarnation, number + 1).await,
        Ok(false)
    );
    let again = harness.open().await;
    assert_eq!(
        again.committed(node.incarnation, number).await,
        Ok(true),
        "also for another connection"
    );
}

/// A key belongs to the first request that used it, and the batch of a later one is not written.
pub async fn idempotency_keys_are_taken_once(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let (first, step) = node.accept(START, TENANT);
    let key = |id: CollectionId| KeyRow {
        tenant: TENANT,
        key: [5; 32],
        fingerprint: [6; 32],
        id: id.into(),
        at: START,
    };
    let mut batch = node.batch(START, Before::New, first, step);
    batch.keys.push(key(first));
    node.commit(batch).await;

    let (second, step) = node.accept(START, TENANT);
    let mut batch = node.batch(START, Before::New, second, step);
    batch.keys.push(KeyRow {
        key: [7; 32],
        ..key(second)
    });
    batch.keys.push(key(second));
    assert_eq!(
        node.store.commit(Arc::new(batch)).await,
        Err(CommitError::KeysTaken(vec![1]))
    );
    assert!(found(&node.store, second).await.is_none());
    assert_eq!(node.store.key(TENANT, [5; 32]).await, Ok(Some(key(first))));
    assert_eq!(node.store.key(TENANT, [7; 32]).await, Ok(None));
}

/// Erasure takes the rows and leaves an id without owner in the log.
pub async fn erasing_leaves_nothing_but_the_log(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let live = node.accepted(START, TENANT).await;
    let finished = node.delivered(START, TENANT).await;
    for (collection, before) in [
        (live.clone(), Before::Live(live.version)),
        (finished.clone(), Before::Finished(finished.version)),
    ] {
        let id = collection.id;
        let step = node.step(collection, START, Input::EraseRequested(Actor::Operator));
        let batch = node.batch(START, before, id, step);
        node.commit(batch).await;
        assert!(found(&node.store, id).await.is_none());
        assert!(
            node.store
                .load(vec![id.into()])
                .await
                .expect("loads")
                .is_empty()
        );
    }
    let shards = node.shards();
    assert!(
        node.store
            .scan(shards, None, 10)
            .await
            .expect("scans")
            .is_empty()
    );
}

/// What was parked can be tried again, its data kept.
pub async fn a_resumed_collection_is_live_again(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let payload = Bytes::from_static(b"[2]");
    let parked = node.parked(START, TENANT, payload.clone()).await;
    let view = found(&node.store, parked.id).await.expect("is there");
    assert_eq!(view.status, CollectionStatus::Failed);
    assert_eq!(
        view.error.map(|(stage, error)| (stage, error.code)),
        Some((Stage::Deliver, "http_410".to_owned()))
    );
    let row = loaded(&node.store, parked.id).await;
    assert_eq!((row.collection, row.live), (parked.clone(), false));

    let later = START.after(Duration::from_secs(60));
    let (id, version) = (parked.id, parked.version);
    let step = node.step(parked, later, Input::ResumeRequested(Actor::Operator));
    let resumed = step.next.clone().expect("resumed");
    let batch = node.batch(later, Before::Finished(version), id, step);
    node.commit(batch).await;
    let row = loaded(&node.store, id).await;
    assert_eq!((row.collection, row.live), (resumed, true));
    assert_eq!(row.payload, Some(payload));
    let view = found(&node.store, id).await.expect("is there");
    assert_eq!(
        (view.status, view.error),
        (CollectionStatus::Collected, None)
    );
    assert_eq!(
        view.collected_at,
        Some(START),
        "when the data came in stays"
    );
}

/// A delivery gets its payload; the notice of a failure gets its reason and no payload.
pub async fn what_a_delivery_needs_is_loaded(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let accepted = node.accepted(START, TENANT).await;
    let payload = Bytes::from(vec![b'7'; 100_000]);
    let fetched = node
        .stepped(
            accepted,
            START,
            Input::Fetched { started: START },
            Some(payload.clone()),
        )
        .await;
    let accepted = node.accepted(START, TENANT).await;
    let error = Error {
        class: ErrorClass::InvalidRequest,
        code: "http_400".to_owned(),
        message: "no".to_owned(),
    };
    let failed = Input::FetchFailed {
        started: START,
        error,
        retry_at: None,
        probe: false,
    };
    let notifying = node.stepped(accepted, START, failed, None).await;
    assert!(matches!(notifying.state, State::Delivering { .. }));

    let again = harness.open().await;
    let rows = again
        .load(vec![fetched.id.into(), notifying.id.into()])
        .await
        .expect("loads");
    assert_eq!(rows.len(), 2);
    for row in &rows {
        let row = collection(row).clone();
        if row.collection.id == fetched.id {
            assert_eq!(
                (row.collection, row.payload),
                (fetched.clone(), Some(payload.clone()))
            );
        } else {
            assert_eq!((row.collection, row.payload), (notifying.clone(), None));
        }
    }
}

async fn found(store: &Arc<dyn Backend>, id: CollectionId) -> Option<CollectionView> {
    store.collection(TENANT, id).await.expect("reads")
}

/// Reads the one row of a collection as the driver does.
async fn loaded(store: &Arc<dyn Backend>, id: CollectionId) -> LoadedCollection {
    let rows = store.load(vec![id.into()]).await.expect("loads");
    assert_eq!(rows.len(), 1);
    collection(&rows[0]).clone()
}
