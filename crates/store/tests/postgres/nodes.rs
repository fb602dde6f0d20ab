//! Several nodes on one database.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::budget::{Ask, BudgetName, Spender, Spends, Window};
use wellspring_core::{CollectionId, Shard, TenantId, Timestamp};
use wellspring_engine::{Before, CommitError, KeyRow, Queries, Store, StoreError};
use wellspring_store::conformance::{Node, START, TENANT};
use wellspring_store::{PostgresOptions, PostgresStore};

use super::harness::{Postgres, collect, eventually};

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
        [accepted.id.into()]
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
async fn nodes_that_spend_at_once_get_together_what_the_budget_has() {
    let database = Postgres::new().await;
    let window = Window {
        calls: 30,
        per: Duration::from_secs(3_600),
    };
    let budgets = ["a", "b"].map(|name| (BudgetName::new(name), Arc::from([window])));
    let spenders = (0..4_usize).map(|_| {
        let (store, budgets) = (database.store(), budgets.to_vec());
        async move {
            let mut node = Node::join(Arc::new(store.await)).await;
            let mut granted = [0, 0];
            for _ in 0..20 {
                let ask = |of: Vec<usize>| Ask {
                    of,
                    calls: 1,
                    good_for: Duration::from_secs(1),
                    by: None,
                };
                let mut batch = node.batch_in_none();
                batch.spends = Spends {
                    at: START,
                    budgets: budgets.clone(),
                    asks: vec![ask(vec![0]), ask(vec![1, 0])],
                    blocks: Vec::new(),
                    corrections: Vec::new(),
                };
                let spent = node.store.commit(Arc::new(batch)).await.unwrap();
                granted[0] += spent.granted.iter().sum::<u32>();
                granted[1] += spent.granted[1];
            }
            granted
        }
    });
    let granted = futures_util::future::join_all(spenders).await;
    assert_eq!(granted.iter().map(|one| one[0]).sum::<u32>(), 30);

    let names = ["a", "b"].map(BudgetName::new).to_vec();
    let kept = database.store().await.budgets(START, names).await.unwrap();
    let used = |place: usize| kept.ledgers[place].standings(kept.now)[0].used;
    assert_eq!(used(0), 30);
    assert_eq!(used(1), granted.iter().map(|one| one[1]).sum::<u32>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_spend_for_the_same_tenants_count_every_call() {
    let database = Postgres::new().await;
    let window = Window {
        calls: 100_000,
        per: Duration::from_secs(3_600),
    };
    // Many, so that a commit takes long enough to meet another.
    let tenants: Vec<TenantId> = (1..=100).map(|n| TenantId::from_bytes([n; 16])).collect();
    let every = tenants.as_slice();
    // No two have a budget in common, so nothing but the counts makes them wait for each other.
    let nodes = (0..4_usize).map(|number| {
        let store = database.store();
        async move {
            let mut node = Node::join(Arc::new(store.await)).await;
            let name = BudgetName::new(format!("bank/{number}"));
            for _ in 0..15 {
                let mut asks: Vec<Ask> = ["bank", "gas"]
                    .into_iter()
                    .flat_map(|source| every.iter().map(move |tenant| (source, *tenant)))
                    .map(|(source, tenant)| Ask {
                        of: vec![0],
                        calls: 1,
                        good_for: Duration::from_secs(1),
                        by: Some(Spender {
                            source: source.parse().unwrap(),
                            tenant,
                        }),
                    })
                    .collect();
                asks.rotate_left(number * 50);
                let mut batch = node.batch_in_none();
                batch.spends = Spends {
                    at: START,
                    budgets: vec![(name.clone(), Arc::from([window]))],
                    asks,
                    blocks: Vec::new(),
                    corrections: Vec::new(),
                };
                node.store.commit(Arc::new(batch)).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(nodes).await;

    let store = database.store().await;
    for source in ["bank", "gas"] {
        let spent = store.spenders(source.parse().unwrap(), Timestamp::from_millis(0));
        let sixty = tenants.iter().map(|tenant| (*tenant, 60)).collect();
        assert_eq!(spent.await, Ok(sixty));
    }
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
            id: id.into(),
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

const DEADLINE: Duration = Duration::from_secs(10);
