//! The conformance suite on PostgreSQL, and what only a server with a network can do.

mod postgres {
    pub(crate) mod chaos;
    pub(crate) mod harness;
}

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postgres::chaos::{Chaos, Cut};
use postgres::harness::{Postgres, eventually};
use wellspring_core::{Actor, CollectionId, CollectionStatus, Error, ErrorClass, Input, Shard};
use wellspring_engine::{
    Before, CommitError, Cursor, Directory, KeyRow, Queries, Request, Store, StoreError,
};
use wellspring_store::conformance::{Node, START, TENANT};
use wellspring_store::{PostgresOptions, PostgresStore};

wellspring_store::conformance!(Postgres::new().await);

fn collect(id: CollectionId) -> Request {
    Request::Collect {
        id: Some(id),
        tenant: TENANT,
        source: "gas".parse().expect("a name"),
        callback_url: "http://127.0.0.1:9/callback".into(),
        actor: Actor::Operator,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_the_shards() {
    let database = Postgres::new().await;
    let (one, two) = (database.store().await, database.store().await);
    let mut first = Node::join(Arc::new(one.clone())).await;
    let accepted = first.accepted(START, TENANT).await;
    let second = Node::join(Arc::new(two.clone())).await;
    assert_eq!(
        (first.shards().len(), second.shards().len()),
        (64, 0),
        "what has an owner stays"
    );

    let half: Vec<Shard> = (0..32).map(Shard).collect();
    assert!(half.contains(&accepted.id.shard()));
    one.release(first.incarnation, half.clone()).await.unwrap();
    let leases = two.acquire(second.incarnation, two.shards()).await.unwrap();
    assert_eq!(
        leases
            .iter()
            .map(|lease| lease.shard)
            .collect::<Vec<_>>()
            .len(),
        32
    );
    let membership = one.renew(first.incarnation).await.unwrap();
    assert_eq!(membership.nodes.len(), 2);
    assert!(membership.nodes.is_sorted());
    for shard in one.shards() {
        let owner = if half.contains(&shard) {
            second.incarnation
        } else {
            first.incarnation
        };
        assert_eq!(membership.owners.get(&shard), Some(&owner));
    }
    let rows = two.scan(half, None, 10).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        [accepted.id]
    );
    let others = (32..64).map(Shard).collect();
    assert!(one.scan(others, None, 10).await.unwrap().is_empty());

    two.leave(second.incarnation).await.unwrap();
    let membership = one.renew(first.incarnation).await.unwrap();
    assert_eq!(membership.nodes, [first.incarnation]);
    assert_eq!(membership.owners.len(), 32);
    assert_eq!(two.renew(second.incarnation).await, Err(StoreError::Fenced));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_want_the_same_shards_get_each_once() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let nodes = futures_util::future::join_all((0..8).map(|_| {
        let store = store.clone();
        async move { Node::join(Arc::new(store)).await }
    }))
    .await;
    let mut taken: Vec<Shard> = nodes.iter().flat_map(Node::shards).collect();
    taken.sort_unstable();
    assert_eq!(taken, store.shards());
}

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
        let ids: Vec<CollectionId> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, [older.id, newest.id], "{limit}");
        let rows = store
            .scan(others.clone(), Some(older.id), limit)
            .await
            .unwrap();
        assert_eq!(
            rows.iter().map(|row| row.id).collect::<Vec<_>>(),
            [newest.id]
        );
    }
    assert_eq!(
        store.scan(vec![Shard(0)], None, 100).await.unwrap().len(),
        7
    );
    assert_eq!(
        store
            .scan(vec![Shard(0)], Some(older.id), 3)
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
        let other = wellspring_core::TenantId::from_bytes([2; 16]);
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
async fn a_node_that_hangs_past_its_lease_is_fenced() {
    let database = Postgres::new().await;
    let options = PostgresOptions {
        lease: Duration::from_millis(100),
        ..PostgresOptions::default()
    };
    let hung = PostgresStore::connect(database.url(), options)
        .await
        .unwrap();
    assert_eq!(hung.renewal(), Some(Duration::from_millis(40)));
    let mut hung = Node::join(Arc::new(hung)).await;
    let (late, step) = hung.accept(START, TENANT);
    let late = hung.batch(START, Before::New, late, step);

    let store = database.store().await;
    let node = Node::join(Arc::new(store.clone())).await;
    assert!(node.shards().is_empty());
    // By the database's clock.
    eventually("the lease ends", async || {
        let membership = store.renew(node.incarnation).await.unwrap();
        membership.nodes == [node.incarnation] && membership.owners.is_empty()
    })
    .await;
    let leases = store
        .acquire(node.incarnation, store.shards())
        .await
        .unwrap();
    assert_eq!(leases.len(), 64);
    assert_eq!(
        hung.store.commit(Arc::new(late)).await,
        Err(CommitError::Fenced)
    );
    assert_eq!(
        hung.store.renew(hung.incarnation).await,
        Err(StoreError::Fenced)
    );
    assert_eq!(
        hung.store.committed(hung.incarnation, 1).await,
        Err(StoreError::Fenced)
    );
    let outcome = hung.store.acquire(hung.incarnation, vec![Shard(0)]).await;
    assert_eq!(outcome, Err(StoreError::Fenced));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_late_but_not_fenced_lives_on() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let mut node = Node::join(Arc::new(store.clone())).await;
    database.expire_now(node.incarnation).await;
    store.renew(node.incarnation).await.unwrap();
    node.accepted(START, TENANT).await;
    store.join(node.incarnation).await.unwrap();
    assert_eq!(
        store.committed(node.incarnation, 1).await,
        Ok(true),
        "joining twice is joining once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_in_the_middle_of_a_commit_is_not_fenced() {
    let database = Postgres::new().await;
    let store = database.store().await;
    let busy = Node::join(Arc::new(store.clone())).await;
    let other = Node::join(Arc::new(store.clone())).await;
    database.expire_now(busy.incarnation).await;
    // Stands for the transaction of a commit.
    let client = database.client().await;
    client.batch_execute("BEGIN").await.unwrap();
    let sql = "UPDATE nodes SET last_batch = 1 WHERE incarnation = $1";
    client
        .execute(sql, &[&busy.incarnation.uuid()])
        .await
        .unwrap();

    let membership = store.renew(other.incarnation).await.unwrap();
    assert!(membership.nodes.contains(&busy.incarnation));
    let asked = store.committed(busy.incarnation, 1);
    let (answer, ()) = tokio::join!(asked, async {
        database.until_somebody_waits().await;
        client.batch_execute("COMMIT").await.unwrap();
    });
    assert_eq!(answer, Ok(true), "an answer waits for the commit under way");
    let membership = store.renew(other.incarnation).await.unwrap();
    assert_eq!(membership.nodes, [other.incarnation]);
}

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
        store.load(vec![accepted.id, id]).await.is_ok()
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_wakes_the_owner() {
    let database = Postgres::new().await;
    let (owner, other) = (database.store().await, database.store().await);
    let node = Node::join(Arc::new(owner.clone())).await;
    // The first is for what was there before it listened.
    tokio::time::timeout(DEADLINE, owner.inbox_filled())
        .await
        .unwrap();
    for n in 1..20_u8 {
        let id = CollectionId::from_bytes([n; 16]);
        let key = KeyRow {
            tenant: TENANT,
            key: [n; 32],
            fingerprint: [6; 32],
            id,
            at: START,
        };
        other
            .post(id.shard(), collect(id), Some(key))
            .await
            .unwrap();
        tokio::time::timeout(DEADLINE, owner.inbox_filled())
            .await
            .unwrap();
        eventually("is there", async || {
            owner.inbox(node.shards(), 100).await.unwrap().len() == usize::from(n)
        })
        .await;
    }
    let rows = owner.inbox(vec![Shard(3), Shard(4)], 100).await.unwrap();
    assert_eq!(rows.len(), 2, "each owner reads its own");

    database.kill_all().await;
    eventually("listens again", async || {
        let posted = other
            .post(Shard(0), collect(CollectionId::from_bytes([64; 16])), None)
            .await;
        let heard = tokio::time::timeout(Duration::from_millis(200), owner.inbox_filled()).await;
        posted.is_ok() && heard.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_schemas_and_other_programs_databases_are_refused() {
    let database = Postgres::empty().await;
    let options = PostgresOptions::default;
    assert_eq!(
        PostgresStore::schema_version(database.url(), options()).await,
        Ok(0)
    );
    drop(database.store().await);
    let version = PostgresStore::schema_version(database.url(), options()).await;
    assert_eq!(version, Ok(PostgresStore::SCHEMA));
    let client = database.client().await;
    let newer = i32::try_from(PostgresStore::SCHEMA + 1).unwrap();
    let sql = "INSERT INTO schema_version (number) VALUES ($1)";
    client.execute(sql, &[&newer]).await.unwrap();
    let refused = PostgresStore::connect(database.url(), options())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, StoreError::Refused(why) if why.contains("newer")),
        "{refused}"
    );

    for table in ["shards", "schema_version"] {
        let foreign = Postgres::empty().await;
        let sql = format!("CREATE TABLE {table} (name text)");
        foreign.client().await.batch_execute(&sql).await.unwrap();
        let refused = PostgresStore::connect(foreign.url(), options())
            .await
            .unwrap_err();
        let refused =
            matches!(&refused, StoreError::Refused(why) if why.contains("another program"));
        assert!(refused, "{table}");
    }
    let missing = format!("{}_missing?sslmode=disable", database.url());
    let refused = PostgresStore::connect(&missing, options())
        .await
        .unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    let unreachable = "postgres://wellspring:secret@127.0.0.1:1/wellspring";
    let unavailable = PostgresStore::connect(unreachable, options())
        .await
        .unwrap_err();
    assert!(
        matches!(unavailable, StoreError::Unavailable(_)),
        "{unavailable}"
    );
    assert!(!unavailable.to_string().contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_migrate_once() {
    let database = Postgres::empty().await;
    let stores = futures_util::future::join_all((0..6).map(|_| database.store())).await;
    let row = database
        .client()
        .await
        .query_one("SELECT count(*) FROM shards", &[])
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), stores.len()), (64, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_encrypted_and_certificates_verified() {
    let database = Postgres::new().await;
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("authority.pem");
    let chaos = Chaos::start_encrypted(database.url(), &authorities).await;
    let options = PostgresOptions {
        authorities: Some(authorities),
        ..PostgresOptions::default()
    };
    let url = format!("{}?sslmode=require", chaos.url());
    let store = PostgresStore::connect(&url, options).await.unwrap();
    let mut node = Node::join(Arc::new(store)).await;
    node.accepted(START, TENANT).await;

    let stranger = PostgresStore::connect(&url, PostgresOptions::default())
        .await
        .unwrap_err();
    assert!(stranger.to_string().contains("certificate"), "{stranger}");
    let plain = format!("{}?sslmode=require", database.url());
    assert!(
        PostgresStore::connect(&plain, PostgresOptions::default())
            .await
            .is_err()
    );
    let prefer = format!("{}?sslmode=prefer", database.url());
    assert!(
        PostgresStore::connect(&prefer, PostgresOptions::default())
            .await
            .is_ok()
    );
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
    let error = store.load(vec![accepted.id]).await.unwrap_err();
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

const DEADLINE: Duration = Duration::from_secs(10);
