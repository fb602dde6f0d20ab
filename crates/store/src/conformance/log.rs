//! The log's readers, and lists.

use std::time::Duration;

use wellspring_core::{CollectionStatus, TenantId, Verb};
use wellspring_engine::{Before, Cursor, CursorError, Settings, Sweep};

use super::{Harness, Node, START, TENANT};

/// A reader goes through all of its tenant's entries and through nobody else's.
pub async fn readers_see_their_tenants_entries_in_order(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let other = TenantId::from_bytes([2; 16]);
    let head = node.store.head().await.expect("reads");
    let mine = node.delivered(START, TENANT).await;
    node.delivered(START, other).await;

    let mut cursor = head.clone();
    let mut paths = Vec::new();
    loop {
        let page = node.store.changes(TENANT, cursor, 2).await.expect("reads");
        for entry in &page.entries {
            assert_eq!((entry.verb, entry.at), (Verb::Updated, START));
            assert!(
                entry.body.get().contains("\"provider\":\"gas\""),
                "{}",
                entry.body
            );
            paths.push((
                entry.path.clone(),
                entry.event.clone(),
                entry.actor.clone(),
                entry.cause.clone(),
            ));
        }
        cursor = Cursor::parse(&page.next.to_text()).expect("reads back");
        if !page.has_more {
            break;
        }
    }
    let status = |status: &str| format!("/collections/{}/status/{status}", mine.id);
    let text = |text: &str| text.to_owned();
    assert_eq!(
        paths,
        [
            (
                status("requested"),
                Some(text("CollectionRequested")),
                text("operator"),
                text("CollectRequested")
            ),
            (
                status("collected"),
                Some(text("CollectionSuccessful")),
                text("engine"),
                text("Fetched")
            ),
            (
                status("delivered"),
                None,
                text("engine"),
                text("DeliverySucceeded")
            ),
        ]
    );
    assert_eq!(
        cursor,
        node.store.head().await.expect("reads"),
        "caught up with the head"
    );
    assert!(
        node.store
            .changes(TENANT, cursor, 10)
            .await
            .expect("reads")
            .entries
            .is_empty()
    );
}

/// Cursors of another life of the log, or from the future, lead nowhere.
pub async fn a_cursor_from_elsewhere_is_refused(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let accepted = node.accepted(START, TENANT).await;
    let head = node.store.head().await.expect("reads");
    let strange = Cursor {
        life: head.life.wrapping_add(1),
        ..head.clone()
    };
    assert_eq!(
        node.store.changes(TENANT, strange, 10).await.err(),
        Some(CursorError::Unknown)
    );
    let mut future = head;
    future.seen.insert(accepted.id.shard(), 1_000_000);
    assert_eq!(
        node.store.changes(TENANT, future, 10).await.err(),
        Some(CursorError::Unknown)
    );
}

/// A list goes through everything once, newest first, and filters by status.
pub async fn lists_page_through_what_there_is(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let mut delivered = Vec::new();
    for n in 0..5 {
        let at = START.after(Duration::from_secs(n));
        node.accepted(at, TENANT).await;
        delivered.push(node.delivered(at, TENANT).await.id);
        node.accepted(at, TenantId::from_bytes([2; 16])).await;
    }
    delivered.reverse();
    let (mut all, mut some) = (Vec::new(), Vec::new());
    for (status, into) in [
        (None, &mut all),
        (Some(CollectionStatus::Delivered), &mut some),
    ] {
        let mut before = None;
        loop {
            let page = node
                .store
                .collections(TENANT, status, before, 2)
                .await
                .expect("reads");
            into.extend(page.rows.iter().map(|row| row.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
    }
    assert_eq!(all.len(), 10);
    assert!(all.is_sorted_by(|a, b| a > b));
    assert_eq!(some, delivered);
    let failed = node
        .store
        .collections(TENANT, Some(CollectionStatus::Failed), None, 10)
        .await
        .expect("reads");
    assert!(failed.rows.is_empty() && failed.next.is_none());
    node.store.ping().await.expect("answers");
}

/// Small pages over several shards end, and what retention removed before the first page does not matter.
pub async fn who_begins_at_the_start_never_expires(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let later = START.after(Duration::from_secs(86_400 * 31));
    for at in [START, later] {
        for shard in node.shards().into_iter().take(3) {
            let (id, step) = node.accept_in(shard, at, TENANT);
            let batch = node.batch(at, Before::New, id, step);
            node.commit(batch).await;
        }
    }
    let kept = node.shards().len().min(3);
    let tenants = [(TENANT, Settings::default())].into_iter().collect();
    let sweep = Sweep {
        now: later,
        tenants,
        rows: 100,
    };
    while !node.store.sweep(sweep.clone()).await.expect("sweeps").done {}
    let mut cursor = Cursor::start(node.store.head().await.expect("reads").life);
    let mut found = 0;
    loop {
        let page = node
            .store
            .changes(TENANT, cursor, 1)
            .await
            .expect("has not expired");
        found += page.entries.len();
        cursor = page.next;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(found, kept);
}
