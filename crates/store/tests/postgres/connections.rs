//! Accounts, connections and deliveries, where a shared database differs from one of one's own.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::connection::{Connection, Input};
use wellspring_core::{Account, Actor, Shard, Timestamp};
use wellspring_engine::{
    Aggregate, Batch, CommitError, ConnectionWrite, DeliveryStatus, Directory, DispatchWrites,
    Position, Queries, Record, Store, Sweep, Write,
};
use wellspring_store::conformance::dispatch::{attempt, delivery};
use wellspring_store::conformance::steps::{sealed, subscription};
use wellspring_store::conformance::{Node, START, TENANT};
use wellspring_store::{PostgresOptions, PostgresStore};

use super::harness::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_goes_through_stretches_of_all_kinds() {
    let database = Postgres::new().await;
    let options = PostgresOptions {
        stretch: 2,
        ..PostgresOptions::default()
    };
    let store = PostgresStore::connect(database.url(), options)
        .await
        .unwrap();
    let mut node = Node::join(Arc::new(store.clone())).await;
    let mine = live_things(&mut node).await;
    store
        .release(node.incarnation, vec![Shard(1)])
        .await
        .unwrap();
    let mut other = Node::join(Arc::new(store.clone())).await;
    let theirs = live_things(&mut other).await;
    assert_eq!((mine.len(), theirs.len()), (9, 9));

    for (shard, expected) in [(Shard(0), mine), (Shard(1), theirs)] {
        for limit in [1, 2, 4, 100] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let rows = store.scan(vec![shard], after, limit).await.unwrap();
                let Some(last) = rows.last() else { break };
                after = Some(last.id);
                found.extend(rows.iter().map(|row| row.id));
            }
            assert_eq!(found, expected, "{shard:?} in pages of {limit}");
        }
    }
    let all = store.scan(store.shards(), None, 100).await.unwrap();
    assert_eq!(all.len(), 18);
    assert!(all.is_sorted_by_key(|row| row.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_change_no_indexed_column() {
    let database = Postgres::new().await;
    let sql = "SELECT DISTINCT c.relname::text, a.attname || \
               CASE WHEN i.indpred IS NULL THEN '' ELSE ' where ...' END FROM pg_index i \
               JOIN pg_class c ON c.oid = i.indrelid \
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey) \
               WHERE c.relname = ANY($1) ORDER BY 1, 2";
    let tables = ["connections", "hot", "positions", "stream_cursors"];
    let rows = database.client().await;
    let rows = rows.query(sql, &[&tables.as_slice()]).await.unwrap();
    let columns: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let columns: Vec<(&str, &str)> = columns.iter().map(|(t, c)| (&**t, &**c)).collect();
    let expected = [
        ("connections", "account"),
        ("connections", "id"),
        // Neither ever changes.
        ("connections", "shard"),
        ("connections", "source"),
        ("hot", "id"),
        ("positions", "shard"),
        ("positions", "subscription"),
        ("stream_cursors", "connection"),
        ("stream_cursors", "stream"),
    ];
    assert_eq!(columns, expected, "or updates would leave their page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn characters_that_the_database_lacks_do_not_stop_commits_of_connections() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let mut node = Node::join(Arc::new(store.clone())).await;
    let account = node.account(START, TENANT, Some("a\0b")).await;
    let named = store.accounts(TENANT, Some("a\0b".to_owned()), None, 9);
    assert_eq!(named.await.unwrap()[0].id, account.id);
    let connection = node.connected(START, &account).await;
    let (step, mut batch) = node.connection_step(&connection, START, Input::Checkpointed);
    let record = |key: &str, byte| {
        let (key, hash, body) = (key.to_owned(), [byte; 32], sealed(byte));
        ("bills\0".to_owned(), Record { key, hash, body })
    };
    let write = write_of(&mut batch);
    write.records = vec![
        record("k\0", 1),
        record("k", 2),
        record("k\u{fffd}", 3),
        record("k", 4),
    ];
    write.cursors = vec![
        ("bills\0".to_owned(), "1".to_owned()),
        ("bills\u{fffd}".to_owned(), "2\0".to_owned()),
    ];
    let mut document = node.document(&connection, START, 5);
    document.name = "\0.pdf".to_owned();
    document.source_id = Some("no\0".to_owned());
    write_of(&mut batch).documents = vec![document.clone()];
    node.commit(batch).await;

    let inputs = store.run_inputs(connection.id).await.unwrap();
    let cursor = ("bills\u{fffd}".to_owned(), "2\u{fffd}".to_owned());
    assert_eq!(inputs.cursors, [cursor].into());
    let known = store.known_document(connection.id, document.source_id.clone(), None);
    assert_eq!(known.await, Ok(Some(document.id)));
    let read = store.document(TENANT, document.id).await.unwrap().unwrap();
    assert_eq!(read.name, document.name, "what is JSON keeps them");
    let client = database.client().await;
    let sql = "SELECT key, body FROM records WHERE connection = $1 ORDER BY key";
    let rows = client.query(sql, &[&connection.id.uuid()]).await.unwrap();
    let kept: Vec<(String, Vec<u8>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let last = [("k".to_owned(), vec![4]), ("k\u{fffd}".to_owned(), vec![3])];
    assert_eq!(kept, last, "of each key the last");

    // A record that is the same again is not written again.
    let connection = step.next.unwrap();
    let (_, mut batch) = node.connection_step(&connection, START, Input::Checkpointed);
    let (stream, mut same) = record("k", 4);
    same.body = sealed(9);
    write_of(&mut batch).records = vec![(stream, same), record("k\0", 8)];
    node.commit(batch).await;
    let rows = client.query(sql, &[&connection.id.uuid()]).await.unwrap();
    let bodies: Vec<Vec<u8>> = rows.iter().map(|row| row.get(1)).collect();
    assert_eq!(bodies, [[4], [8]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_goes_after_what_was_written_before_it_in_its_batch() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let mut node = Node::join(Arc::new(store.clone())).await;
    let account = node.account(START, TENANT, None).await;
    let connection = node.connected(START, &account).await;
    let (step, mut batch) = node.connection_step(&connection, START, Input::Checkpointed);
    let document = node.document(&connection, START, 1);
    write_of(&mut batch).documents = vec![document.clone()];
    let connection = step.next.unwrap();
    let gone = Input::DeleteAsked(Actor::Operator);
    let (_, mut last) = node.connection_step(&connection, START, gone);
    batch.writes.append(&mut last.writes);
    let erased = account.clone().erased();
    let before = wellspring_engine::Before::Live(account.version);
    let mut last = node.account_batch(START, (account.id, before, TENANT), erased);
    batch.writes.append(&mut last.writes);
    node.commit(Batch {
        writes: batch.writes,
        ..last
    })
    .await;
    assert_eq!(store.account(TENANT, account.id).await, Ok(None));
    assert_eq!(store.connection(TENANT, connection.id).await, Ok(None));
    assert_eq!(store.garbage(9).await, Ok(vec![document.id]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_dispatched_of_a_shard_whose_epoch_is_not_asserted() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let mut node = Node::join(Arc::new(store.clone())).await;
    let of = subscription(1);
    assert_eq!(store.put_subscription(of.clone(), None).await, Ok(true));
    let row = delivery(&of, Shard(7), 1, DeliveryStatus::Waiting);
    let position = Position {
        subscription: of.id,
        shard: Shard(7),
        seen: 1,
        failing_since: None,
    };
    for dispatch in [
        DispatchWrites {
            cursors: vec![(Shard(7), 1)],
            ..DispatchWrites::default()
        },
        DispatchWrites {
            positions: vec![position],
            ..DispatchWrites::default()
        },
        DispatchWrites {
            caught_up: vec![(of.id, Shard(7))],
            ..DispatchWrites::default()
        },
        DispatchWrites {
            attempts: vec![attempt(&row, 1, None)],
            ..DispatchWrites::default()
        },
        DispatchWrites {
            deliveries: vec![row],
            ..DispatchWrites::default()
        },
    ] {
        let batch = node.batch_in(Shard(6));
        let batch = Arc::new(Batch { dispatch, ..batch });
        assert_eq!(store.commit(batch).await, Err(CommitError::Fenced));
    }
    let state = store.dispatch_state(Shard(7)).await.unwrap();
    let began = Position {
        seen: 0,
        ..position
    };
    assert_eq!((state.cursor, state.positions), (0, vec![began]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dispatched_while_its_subscription_is_deleted_is_nobodys() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let mut node = Node::join(Arc::new(store.clone())).await;
    let of = subscription(1);
    assert_eq!(store.put_subscription(of.clone(), None).await, Ok(true));
    let ended = delivery(&of, Shard(3), 1, DeliveryStatus::Delivered);
    let dispatch = DispatchWrites {
        attempts: vec![attempt(&ended, 1, None)],
        deliveries: vec![ended],
        ..DispatchWrites::default()
    };
    node.dispatched(Shard(3), dispatch).await;

    // Stands for the transaction of a deletion.
    let client = database.client().await;
    client.batch_execute("BEGIN").await.unwrap();
    for sql in [
        "DELETE FROM subscriptions WHERE id = $1",
        "DELETE FROM positions WHERE subscription = $1",
    ] {
        client.execute(sql, &[&of.id.uuid()]).await.unwrap();
    }
    let late = delivery(&of, Shard(3), 2, DeliveryStatus::Retrying);
    let dispatch = DispatchWrites {
        cursors: vec![(Shard(3), 2)],
        positions: vec![Position {
            subscription: of.id,
            shard: Shard(3),
            seen: 2,
            failing_since: None,
        }],
        attempts: vec![attempt(&late, 1, None)],
        deliveries: vec![late],
        ..DispatchWrites::default()
    };
    let batch = node.batch_in(Shard(3));
    let batch = Arc::new(Batch { dispatch, ..batch });
    let (outcome, ()) = tokio::join!(store.commit(batch), async {
        database.until_somebody_waits().await;
        client.batch_execute("COMMIT").await.unwrap();
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    let state = store.dispatch_state(Shard(3)).await.unwrap();
    assert_eq!((state.cursor, state.positions.len()), (2, 0));
    let left = "SELECT (SELECT count(*) FROM positions) + (SELECT count(*) FROM deliveries \
                WHERE status < 3) + (SELECT count(*) FROM delivery_attempts WHERE seq = 2)";
    let count: i64 = client.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(count, 0);

    // What was over by then goes with its age.
    let swept = store.sweep(Sweep {
        now: START.after(Duration::from_secs(15 * 86_400)),
        tenants: Default::default(),
        rows: 100,
    });
    assert_eq!(swept.await.unwrap().removed, 2);
}

/// Makes three live collections, three accounts that are being erased and three connections that
/// are due, in the first shard of the node, and as many accounts and connections that rest.
async fn live_things(node: &mut Node) -> Vec<Aggregate> {
    let mut live = [Vec::new(), Vec::new(), Vec::new()];
    for n in 0..3 {
        let now = START.after(Duration::from_secs(n));
        live[0].push(node.accepted(now, TENANT).await.id.into());
        let account = node.account(now, TENANT, None).await;
        live[2].push(node.connected(now, &account).await.id.into());
        let resting = node.connected(now, &account).await;
        rest(node, &resting).await;
        live[1].push(erasing(node, now).await.id.into());
    }
    live.concat()
}

async fn rest(node: &mut Node, connection: &Connection) {
    let fetching = node.fetching(connection, START).await;
    let fetched = Input::Fetched {
        started: START,
        partial: None,
    };
    let resting = node.moved(&fetching, START, fetched).await;
    assert_eq!(resting.next_wakeup(), None);
}

async fn erasing(node: &mut Node, now: Timestamp) -> Account {
    let account = node.account(now, TENANT, None).await;
    let step = account.clone().erase(now, Actor::Operator);
    node.account_stepped(now, &account, step).await;
    account
}

fn write_of(batch: &mut Batch) -> &mut ConnectionWrite {
    match batch.writes.first_mut() {
        Some(Write::Connection(write)) => write,
        write => panic!("{write:?}"),
    }
}
