//! Connections that break, and servers that hang.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::Shard;
use wellspring_engine::{Before, CommitError, Queries, Store, StoreError};
use wellspring_store::conformance::{Node, START, TENANT};
use wellspring_store::{PostgresOptions, PostgresStore};

use super::chaos::{Chaos, Cut};
use super::harness::{Postgres, collect, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_connection_is_killed_before_the_end_is_not_made() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let mut node = Node::join(Arc::new(store.clone())).await;
    let accepted = node.accepted(START, TENANT).await;
    // Holds the commit up in the middle of its statements.
    let blocker = database.client().await;
    blocker
        .batch_execute("BEGIN; LOCK TABLE log IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let (id, step) = node.accept(START, TENANT);
    let batch = Arc::new(node.batch(START, Before::New, id, step));
    let (outcome, ()) = tokio::join!(store.commit(Arc::clone(&batch)), async {
        database.until_somebody_waits().await;
        database.kill_waiting().await;
    });
    assert!(
        matches!(outcome, Err(CommitError::NotCommitted(_))),
        "{outcome:?}"
    );
    blocker.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(
        store.committed(node.incarnation, batch.number).await,
        Ok(false)
    );

    // Idle connections may be killed as well: the next use opens another.
    store.commit(batch).await.unwrap();
    database.kill_all().await;
    eventually("connects again", async || {
        store
            .load(vec![accepted.id.into(), id.into()])
            .await
            .is_ok()
    })
    .await;
    let more = node.accept(START, TENANT);
    let more = Arc::new(node.batch(START, Before::New, more.0, more.1));
    eventually("commits again", async || {
        !matches!(
            store.commit(Arc::clone(&more)).await,
            Err(CommitError::NotCommitted(_))
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outcome_of_a_lost_commit_is_known_afterwards() {
    let database = Postgres::new().await;
    let chaos = Chaos::start(database.url()).await;
    let store = PostgresStore::connect(&chaos.url(), PostgresOptions::default())
        .await
        .unwrap();
    let mut node = Node::join(Arc::new(store.clone())).await;
    for (cut, made) in [(Cut::AnswerToCommit, true), (Cut::Commit, false)] {
        let (id, step) = node.accept(START, TENANT);
        let batch = node.batch(START, Before::New, id, step);
        let number = batch.number;
        let entry = batch.entries[0].clone();
        chaos.cut_at(cut);
        let outcome = store.commit(Arc::new(batch.clone())).await;
        assert!(
            matches!(outcome, Err(CommitError::Unknown(_))),
            "{outcome:?}"
        );
        assert_eq!(
            store.committed(node.incarnation, number).await,
            Ok(made),
            "{cut:?}"
        );
        let there = store.collection(TENANT, id).await.unwrap();
        assert_eq!(there.is_some(), made);
        if made {
            let head = store.head().await.unwrap();
            assert_eq!(head.seen(entry.shard), entry.seq);
            let again = store.commit(Arc::new(batch)).await;
            assert_eq!(
                again,
                Err(CommitError::Fenced),
                "no place in the log is used twice"
            );
            store.leave(node.incarnation).await.unwrap();
            node = Node::join(Arc::new(store.clone())).await;
        } else {
            store.commit(Arc::new(batch)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_unavailable_and_nothing_more() {
    let database = Postgres::new().await;
    let chaos = Chaos::start(database.url()).await;
    let options = PostgresOptions {
        deadline: Duration::from_millis(500),
        connect_timeout: Duration::from_millis(200),
        ..PostgresOptions::default()
    };
    let store = PostgresStore::connect(&chaos.url(), options).await.unwrap();
    let mut node = Node::join(Arc::new(store.clone())).await;
    node.accepted(START, TENANT).await;
    let (id, step) = node.accept(START, TENANT);
    let batch = Arc::new(node.batch(START, Before::New, id, step));

    chaos.freeze(true);
    let outcome = store.commit(Arc::clone(&batch)).await;
    assert!(
        matches!(outcome, Err(CommitError::NotCommitted(_))),
        "{outcome:?}"
    );
    assert!(matches!(
        store.ping().await,
        Err(StoreError::Unavailable(_))
    ));
    let outcome = store.committed(node.incarnation, batch.number).await;
    assert!(
        matches!(outcome, Err(StoreError::Unavailable(_))),
        "{outcome:?}"
    );
    let request = collect(id);
    assert!(store.post(Shard(0), request, None).await.is_err());

    chaos.freeze(false);
    eventually("comes back", async || {
        store.commit(Arc::clone(&batch)).await.is_ok()
    })
    .await;
}
