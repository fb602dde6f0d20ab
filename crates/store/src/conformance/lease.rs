//! Incarnations, shards, the scan at start and the inbox.

use std::collections::BTreeSet;
use std::sync::Arc;

use std::time::Duration;
use wellspring_core::connection::{Input, Wakeup};
use wellspring_core::{Actor, Lane};
use wellspring_engine::{Aggregate, Before, CommitError, KeyRow, Live, Request, StoreError};

use super::{Harness, Node, START, TENANT};

/// Two incarnations compete: the one that was found dead writes nothing any more.
pub async fn a_later_incarnation_fences_the_earlier(harness: &dyn Harness) {
    let mut earlier = Node::join(harness.open().await).await;
    let accepted = earlier.accepted(START, TENANT).await;
    let (late, step) = earlier.accept(START, TENANT);
    let late_batch = earlier.batch(START, Before::New, late, step);

    harness.expire(earlier.incarnation).await;
    let store = harness.open().await;
    let probe = Node::join(Arc::clone(&store)).await;
    if store.renewal().is_some() {
        let membership = store.renew(probe.incarnation).await.expect("renews");
        assert!(membership.nodes.contains(&probe.incarnation));
        assert!(
            !membership.nodes.contains(&earlier.incarnation),
            "the dead are not among the living"
        );
        assert!(
            membership
                .owners
                .values()
                .all(|owner| *owner != earlier.incarnation)
        );
    }
    let leases = store
        .acquire(probe.incarnation, store.shards())
        .await
        .expect("acquires");
    assert_eq!(
        leases.len(),
        store.shards().len(),
        "all shards are free or its own"
    );
    assert!(
        leases
            .iter()
            .any(|lease| lease.shard == accepted.id.shard() && lease.next_seq == 2)
    );

    assert_eq!(
        earlier.store.commit(Arc::new(late_batch)).await,
        Err(CommitError::Fenced)
    );
    assert!(
        store
            .collection(TENANT, late)
            .await
            .expect("reads")
            .is_none()
    );
    assert_eq!(
        earlier.store.renew(earlier.incarnation).await,
        Err(StoreError::Fenced)
    );
    let rows = store.scan(store.shards(), None, 10).await.expect("scans");
    assert_eq!(
        rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        [accepted.id.into()]
    );
}

/// The scan at start goes through all live rows, page by page, and through nothing else.
pub async fn the_scan_finds_live_rows_in_pages(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let mut live = BTreeSet::new();
    for _ in 0..7 {
        live.insert(Aggregate::from(node.accepted(START, TENANT).await.id));
        node.delivered(START, TENANT).await;
    }
    let mut found = BTreeSet::new();
    let mut after: Option<Aggregate> = None;
    loop {
        let rows = node
            .store
            .scan(node.shards(), after, 3)
            .await
            .expect("scans");
        assert!(
            rows.iter()
                .all(|row| after.is_none_or(|after| row.id > after))
        );
        for row in &rows {
            assert_eq!((row.due, row.since), (START, START));
            assert!(!row.lane.is_receiver());
            assert!(found.insert(row.id), "each is found once");
        }
        after = rows.last().map(|row| row.id);
        if rows.len() < 3 {
            break;
        }
    }
    assert_eq!(found, live);
    assert!(
        node.store
            .scan(Vec::new(), None, 10)
            .await
            .expect("scans")
            .is_empty()
    );
}

/// Collections, then accounts that are being erased, then connections that go on by themselves.
pub async fn the_scan_goes_through_all_kinds_in_order(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let at = |n: u64| START.after(Duration::from_secs(n));
    let quiet = node.account(START, TENANT, None).await;
    let gone = node.account(START, TENANT, None).await;
    let erasing = gone.clone().erase(at(9), Actor::Operator);
    node.account_stepped(at(9), &gone, erasing).await;
    let due = node.connected(at(1), &quiet).await;
    let asked = node.connected(at(2), &quiet).await;
    let asked = node.fetching(&asked, at(3)).await;
    let asked = node.asked(&asked, at(4)).await;
    let begun = node.connected(at(5), &quiet).await;
    let begun = node.fetching(&begun, at(5)).await;
    let resting = node.connected(at(5), &quiet).await;
    let resting = node.fetching(&resting, at(6)).await;
    let fetched = Input::Fetched {
        started: at(6),
        partial: None,
    };
    let resting = node.moved(&resting, at(7), fetched).await;
    assert_eq!(resting.next_wakeup(), None);
    let collection = node.accepted(at(8), TENANT).await;

    let expires = match asked.next_wakeup() {
        Some(Wakeup::Alarm(at)) => at,
        wakeup => panic!("{wakeup:?}"),
    };
    let source = Lane::source(&due.source);
    let live = |id: Aggregate, due, lane, awaited| Live {
        id,
        due,
        since: due,
        lane,
        tenant: TENANT,
        awaited,
    };
    let expected = [
        live(collection.id.into(), at(8), source, false),
        live(gone.id.into(), at(9), Lane::ALARM, false),
        live(due.id.into(), at(1), source, true),
        live(asked.id.into(), expires, Lane::ALARM, false),
        live(begun.id.into(), at(5), source, true),
    ];
    let store = harness.open().await;
    for limit in [1, 2, 3, 4, 5, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let rows = store.scan(node.shards(), after, limit).await;
            let rows = rows.expect("scans");
            assert!(rows.len() <= limit);
            let Some(last) = rows.last() else { break };
            after = Some(last.id);
            found.extend(rows);
        }
        assert_eq!(found, expected, "in pages of {limit}");
    }
    let others = store.shards().into_iter();
    let others = others.filter(|shard| *shard != collection.id.shard());
    let rows = store.scan(others.collect(), None, 10).await;
    assert_eq!(rows.expect("scans"), []);
}

/// What another node accepted waits for the owner, and goes in the same commit as its step.
pub async fn the_inbox_keeps_commands_until_they_are_consumed(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let (id, step) = node.accept(START, TENANT);
    let request = Request::Collect {
        id: Some(id),
        tenant: TENANT,
        source: "gas".parse().expect("a name"),
        callback_url: "http://127.0.0.1:9/callback".into(),
        actor: Actor::Operator,
    };
    let key = KeyRow {
        tenant: TENANT,
        key: [5; 32],
        fingerprint: [6; 32],
        id: id.into(),
        at: START,
    };
    node.store
        .post(id.shard(), request.clone(), Some(key.clone()))
        .await
        .expect("posts");
    let again = node
        .store
        .post(id.shard(), request.clone(), Some(key))
        .await;
    assert_eq!(again, Err(CommitError::KeysTaken(vec![0])));

    let rows = harness
        .open()
        .await
        .inbox(node.shards(), 10)
        .await
        .expect("reads");
    assert_eq!(
        rows.iter()
            .map(|row| row.request.clone())
            .collect::<Vec<_>>(),
        [request]
    );
    let mut batch = node.batch(START, Before::New, id, step);
    batch.consumed.push(rows[0].number);
    node.commit(batch).await;
    assert!(
        node.store
            .inbox(node.shards(), 10)
            .await
            .expect("reads")
            .is_empty()
    );
}

/// A shard that changes hands in good order keeps its place in the log.
pub async fn a_released_shard_goes_on_where_it_was(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let accepted = node.accepted(START, TENANT).await;
    let shard = accepted.id.shard();
    let (late, step) = node.accept(START, TENANT);
    let late_batch = node.batch(START, Before::New, late, step);
    node.store
        .release(node.incarnation, vec![shard])
        .await
        .expect("releases");
    assert_eq!(
        node.store.commit(Arc::new(late_batch)).await,
        Err(CommitError::Fenced)
    );

    let mut next = Node::join(harness.open().await).await;
    assert!(next.shards().contains(&shard));
    next.accepted(START, TENANT).await;
    let head = next.store.head().await.expect("reads");
    assert_eq!(head.seen.values().sum::<u64>(), 2);
}
