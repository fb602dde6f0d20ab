//! Failures that no rule matched: counted by kind with the steps that show them.

use std::time::Duration;

use wellspring_core::{Shard, Timestamp, Unclassified, UnclassifiedId};
use wellspring_engine::{
    Backend, CommitError, MOST_UNCLASSIFIED, Sweep, UnclassifiedView, UnclassifiedWrite,
};

use super::{Harness, Node, START};

/// A kind is counted over batches and crashes, listed by source and page, and forgotten once.
pub async fn failures_are_counted_by_kind(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let at = |n: u64| START.after(Duration::from_secs(n));
    met(
        &mut node,
        vec![write("gas", 1, at(1), 2), write("gas", 2, at(2), 1)],
    )
    .await;
    let mut again = write("gas", 1, at(3), 5);
    again.last_at = at(4);
    met(&mut node, vec![again, write("water", 3, at(3), 1)]).await;
    // A step that is not written has met nothing.
    let mut stale = node.batch_in(Shard(0));
    stale.epochs = stale
        .epochs
        .iter()
        .map(|(shard, epoch)| (*shard, epoch + 1))
        .collect();
    stale.unclassified = vec![write("gas", 9, at(5), 1)];
    let refused = node.store.commit(std::sync::Arc::new(stale)).await;
    assert_eq!(refused, Err(CommitError::Fenced));

    let store = harness.open().await;
    let first = UnclassifiedView {
        id: write("gas", 1, at(1), 0).id,
        kept: kept("gas", 1),
        count: 7,
        first_at: at(1),
        last_at: at(4),
    };
    let all = listed(store.as_ref(), None, None, 10).await;
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(all[2], first);
    let ids: Vec<UnclassifiedId> = all.iter().map(|view| view.id).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    let of_gas = listed(store.as_ref(), Some("gas"), None, 10).await;
    assert_eq!(of_gas, all[1..]);
    let page = listed(store.as_ref(), None, Some(ids[0]), 1).await;
    assert_eq!(page, all[1..2]);

    assert_eq!(store.forget_unclassified(ids[2]).await, Ok(true));
    assert_eq!(store.forget_unclassified(ids[2]).await, Ok(false));
    assert_eq!(listed(store.as_ref(), None, None, 10).await, all[..2]);
    met(&mut node, vec![write("gas", 1, at(9), 1)]).await;
    let anew = listed(store.as_ref(), Some("gas"), None, 1).await;
    assert_eq!((anew[0].count, anew[0].first_at), (1, at(9)));

    let sweep = |after: u64| Sweep {
        now: START.after(Duration::from_secs(after)),
        tenants: std::collections::BTreeMap::new(),
        rows: 100,
    };
    while !store.sweep(sweep(29 * 86_400)).await.expect("sweeps").done {}
    assert_eq!(listed(store.as_ref(), None, None, 10).await.len(), 3);
    while !store
        .sweep(sweep(30 * 86_400 + 5))
        .await
        .expect("sweeps")
        .done
    {}
    assert_eq!(
        listed(store.as_ref(), None, None, 10).await,
        anew,
        "younger"
    );
}

/// Of one source there are only so many kinds; those that are kept are counted on.
pub async fn failures_of_one_source_are_of_so_many_kinds(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let most = u16::try_from(MOST_UNCLASSIFIED).expect("few");
    let many = (0..most).map(|kind| write("gas", kind, START, 1));
    met(&mut node, many.collect()).await;
    let beyond = vec![
        write("gas", 7, START, 1),
        write("gas", most, START, 1),
        write("water", 1, START, 1),
    ];
    met(&mut node, beyond).await;

    let store = harness.open().await;
    let of_gas = listed(store.as_ref(), Some("gas"), None, 1_000).await;
    assert_eq!(of_gas.len(), MOST_UNCLASSIFIED);
    let counts: u64 = of_gas.iter().map(|view| view.count).sum();
    assert_eq!(counts, u64::from(most) + 1);
    assert_eq!(
        listed(store.as_ref(), Some("water"), None, 10).await.len(),
        1
    );
}

async fn met(node: &mut Node, writes: Vec<UnclassifiedWrite>) {
    let mut batch = node.batch_in(Shard(0));
    batch.unclassified = writes;
    node.commit(batch).await;
}

async fn listed(
    store: &dyn Backend,
    source: Option<&str>,
    before: Option<UnclassifiedId>,
    limit: usize,
) -> Vec<UnclassifiedView> {
    let source = source.map(|name| name.parse().expect("a name"));
    let listed = store.unclassified(source, before, limit).await;
    listed.expect("reads")
}

fn write(source: &str, kind: u16, at: Timestamp, count: u32) -> UnclassifiedWrite {
    let mut digest = [0; 32];
    digest[..2].copy_from_slice(&kind.to_be_bytes());
    digest[2] = source.as_bytes()[0];
    UnclassifiedWrite {
        id: UnclassifiedId::derived(at, u64::from_be_bytes(*digest.first_chunk().expect("long"))),
        digest,
        kept: kept(source, kind),
        count,
        first_at: at,
        last_at: at,
    }
}

fn kept(source: &str, kind: u16) -> Unclassified {
    Unclassified {
        source: source.parse().expect("a name"),
        operation: "fetch".to_owned(),
        status: Some(700),
        error_type: None,
        error_code: Some(format!("E{kind}")),
        shape: "Account # is \u{0} odd".to_owned(),
    }
}
