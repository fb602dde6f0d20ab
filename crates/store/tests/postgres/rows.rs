//! What is read and written, where a large or shared database differs from a small one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wellspring_core::{CollectionId, CollectionStatus, Error, ErrorClass, Input, Shard, TenantId};
use wellspring_engine::{Aggregate, Before, Cursor, Directory, Queries, Store, StoreError};
use wellspring_store::conformance::{Node, START, TENANT};
use wellspring_store::{PostgresOptions, PostgresStore};

use super::harness::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_goes_on_over_stretches_that_others_own() {
    let database = Postgres::new().await;
    let options = PostgresOptions {
        stretch: 2,
        ..PostgresOptions::default()
    };
    let store = PostgresStore::connect(database.url(), options)
        .await
        .unwrap();
    let mut node = Node::join(Arc::new(store.clone())).await;
    for n in 0..7 {
        node.accepted(START.after(Duration::from_secs(n)), TENANT)
            .await;
    }
    let others: Vec<Shard> = store.shards().into_iter().skip(1).collect();
    store
        .release(node.incarnation, others.clone())
        .await
        .unwrap();
    let mut other = Node::join(Arc::new(store.clone())).await;
    let newest = other
        .accepted(START.after(Duration::from_secs(9)), TENANT)
        .await;
    let older = other
        .accepted(START.after(Duration::from_millis(500)), TENANT)
        .await;
    assert_eq!((newest.id.shard(), older.id.shard()), (Shard(1), Shard(1)));

    for limit in [2, 3, 100] {
        let rows = store.scan(others.clone(), None, limit).await.unwrap();
        let ids: Vec<Aggregate> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, [older.id.into(), newest.id.into()], "{limit}");
        let rows = store
            .scan(others.clone(), Some(older.id.into()), limit)
            .await
            .unwrap();
        assert_eq!(
            rows.iter().map(|row| row.id).collect::<Vec<_>>(),
            [newest.id.into()]
        );
    }
    assert_eq!(
        store.scan(vec![Shard(0)], None, 100).await.unwrap().len(),
        7
    );
    assert_eq!(
        store
            .scan(vec![Shard(0)], Some(older.id.into()), 3)
            .await
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        store.scan(store.shards(), None, 100).await.unwrap().len(),
        9
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rare_tenants_list_is_found_behind_everybody_elses() {
    let database = Postgres::new().await;
    let options = PostgresOptions {
        stretch: 3,
        ..PostgresOptions::default()
    };
    let store = PostgresStore::connect(database.url(), options)
        .await
        .unwrap();
    let mut node = Node::join(Arc::new(store.clone())).await;
    let mine = node.accepted(START, TENANT).await;
    for n in 1..9 {
        let other = TenantId::from_bytes([2; 16]);
        node.accepted(START.after(Duration::from_secs(n)), other)
            .await;
    }
    let (mut before, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = store.collections(TENANT, None, before, 2).await.unwrap();
        found.extend(page.rows.iter().map(|row| row.id));
        (before, pages) = (page.next, pages + 1);
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, [mine.id]);
    assert!(pages > 1, "one page looks at a bounded number of rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_with_a_character_that_the_database_lacks_does_not_stop_commits() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let mut node = Node::join(Arc::new(store.clone())).await;
    let accepted = node.accepted(START, TENANT).await;
    let error = Error {
        class: ErrorClass::InvalidRequest,
        code: "http_400".to_owned(),
        message: "no\0way".to_owned(),
    };
    let failed = Input::FetchFailed {
        started: START,
        error,
        retry_at: None,
        probe: false,
    };
    let failed = node.stepped(accepted, START, failed, None).await;
    let view = store.collection(TENANT, failed.id).await.unwrap().unwrap();
    assert_eq!(view.error.unwrap().1.message, "no\u{fffd}way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_one_aggregate_in_one_batch_follow_each_other() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let mut node = Node::join(Arc::new(store.clone())).await;
    let (id, step) = node.accept(START, TENANT);
    let accepted = step.next.clone().unwrap();
    let mut batch = node.batch(START, Before::New, id, step);
    let step = node.step(accepted.clone(), START, Input::Fetched { started: START });
    let fetched = step.next.clone().unwrap();
    let payload = Some(Bytes::from_static(b"[]"));
    let before = Before::Live(accepted.version);
    let mut more = node.batch_with(START, before, id, step, payload);
    batch.writes.append(&mut more.writes);
    batch.epochs.clone_from(&more.epochs);
    let step = node.step(
        fetched.clone(),
        START,
        Input::DeliverySucceeded { started: START },
    );
    let mut more = node.batch(START, Before::Live(fetched.version), id, step);
    batch.writes.append(&mut more.writes);
    node.commit(batch).await;
    let view = store.collection(TENANT, id).await.unwrap().unwrap();
    assert_eq!(
        (view.status, view.attempts.len()),
        (CollectionStatus::Delivered, 2)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_through_all_shards_in_bounded_pages() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let start = Cursor::start(store.head().await.unwrap().life);
    // Each node accepts in the first of its shards and leaves the others to the next.
    let mut expected = Vec::new();
    for shard in 0..6_u8 {
        let mut node = Node::join(Arc::new(store.clone())).await;
        store
            .release(node.incarnation, node.shards().split_off(1))
            .await
            .unwrap();
        for n in 0..=u64::from(shard) {
            let now = START.after(Duration::from_secs(n * 10 + u64::from(shard)));
            let accepted = node.accepted(now, TENANT).await;
            assert_eq!(accepted.id.shard(), Shard(shard));
            expected.push((now, accepted.id));
        }
    }
    expected.sort_unstable();
    let page = store.changes(TENANT, start.clone(), 2).await.unwrap();
    let unseen = page.next.seen.values().filter(|seen| **seen == 0).count();
    assert_eq!(unseen, 58, "where nothing was seen, reading has not begun");
    let all = store.changes(TENANT, start.clone(), 1_000).await.unwrap();
    assert!(!all.has_more);
    let path = |id: &CollectionId| format!("/collections/{id}/status/requested");
    let paths: Vec<String> = all.entries.iter().map(|entry| entry.path.clone()).collect();
    assert_eq!(
        paths,
        expected.iter().map(|(_, id)| path(id)).collect::<Vec<_>>(),
        "by time"
    );

    let (mut cursor, mut found) = (start, Vec::new());
    loop {
        let page = store.changes(TENANT, cursor, 4).await.unwrap();
        assert!(page.entries.len() <= 4);
        found.extend(
            page.entries
                .into_iter()
                .map(|entry| (entry.shard, entry.seq, entry.path)),
        );
        cursor = page.next;
        if !page.has_more {
            break;
        }
    }
    for shard in store.shards() {
        let seqs: Vec<u64> = found.iter().filter(|e| e.0 == shard).map(|e| e.1).collect();
        assert!(seqs.is_sorted());
    }
    let mut found: Vec<String> = found.into_iter().map(|(_, _, path)| path).collect();
    found.sort_unstable();
    let mut paths = paths;
    paths.sort_unstable();
    assert_eq!(found, paths);
    assert_eq!(cursor, store.head().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_decode_is_said_to_be_inconsistent() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let mut node = Node::join(Arc::new(store.clone())).await;
    let accepted = node.accepted(START, TENANT).await;
    let client = database.client().await;
    client
        .batch_execute("UPDATE collections SET source = 'Not A Name'")
        .await
        .unwrap();
    let error = store.load(vec![accepted.id.into()]).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Inconsistent {
                table: "collections",
                column: "source",
                ..
            }
        ),
        "{error}"
    );
    client
        .batch_execute("UPDATE log SET verb = 300")
        .await
        .unwrap();
    let start = Cursor::start(0);
    assert!(store.changes(TENANT, start, 10).await.is_err());
    assert_eq!(store.tenants().await, Ok(Vec::new()), "the rest works on");
}
