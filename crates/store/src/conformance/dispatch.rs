//! What the dispatcher keeps, and how it reads the log.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::connection::Input;
use wellspring_core::{Actor, Error, ErrorClass, Shard, SubscriptionId, TenantId, Timestamp, Verb};
use wellspring_engine::{
    Batch, CommitError, DeliveryAttempt, DeliveryFilter, DeliveryRow, DeliveryStatus, Disabled,
    DisabledReason, DispatchState, DispatchWrites, LogSlice, Position, Subscription, Sweep,
};

use super::steps::subscription;
use super::{Harness, Node, START, TENANT};

/// Positions, cursors and open deliveries are there for whoever has the shard next, and no
/// fenced node writes any.
pub async fn what_the_dispatcher_keeps_reads_back(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let shard = node.shards()[0];
    let empty = node.store.dispatch_state(shard).await;
    assert_eq!(empty, Ok(DispatchState::default()));
    let (one, two) = (subscription(1), subscription(2));
    for subscription in [&one, &two] {
        let put = node.store.put_subscription(subscription.clone(), None);
        assert_eq!(put.await, Ok(true));
    }
    let position = Position {
        subscription: one.id,
        shard,
        seen: 41,
        failing_since: Some(START),
    };
    let rows = [
        delivery(&one, shard, 3, DeliveryStatus::Retrying),
        delivery(&two, shard, 1, DeliveryStatus::Waiting),
        delivery(&one, shard, 2, DeliveryStatus::Delivered),
        delivery(&one, shard, 1, DeliveryStatus::Waiting),
        delivery(&one, shard, 4, DeliveryStatus::Exhausted),
    ];
    let writes = DispatchWrites {
        cursors: vec![(shard, 40)],
        positions: vec![position],
        caught_up: vec![(two.id, shard)],
        deliveries: rows.to_vec(),
        attempts: vec![attempt(&rows[0], 1, None)],
        disabled: vec![(two.id, DisabledReason::Failing, START)],
    };
    let mut fenced = node.batch_in(shard);
    fenced.dispatch = writes.clone();
    for (_, epoch) in &mut fenced.epochs {
        *epoch += 1;
    }
    let outcome = node.store.commit(Arc::new(fenced)).await;
    assert_eq!(outcome, Err(CommitError::Fenced));
    let state = node.store.dispatch_state(shard).await.expect("reads");
    assert_eq!((state.cursor, state.open), (0, Vec::new()));

    let batch = Batch {
        dispatch: writes,
        ..node.batch_in(shard)
    };
    let number = batch.number;
    node.commit(batch).await;
    let store = harness.open().await;
    assert_eq!(store.committed(node.incarnation, number).await, Ok(true));
    let state = store.dispatch_state(shard).await.expect("reads");
    assert_eq!((state.cursor, &state.positions), (40, &vec![position]));
    let places: Vec<u64> = state.open.iter().map(|row| row.seq).collect();
    assert_eq!(places, [1, 1, 3], "in the order of their places");
    assert!(rows.iter().filter(|row| state.open.contains(row)).count() == 3);
    let of_one = store.subscription_state(one.id, shard).await;
    let of_one = of_one.expect("reads");
    assert_eq!(of_one.position, Some(position));
    assert_eq!(of_one.open, [rows[3].clone(), rows[0].clone()]);
    let of_two = store.subscription_state(two.id, shard).await;
    let of_two = of_two.expect("reads");
    assert_eq!(of_two.position, None, "caught up");
    assert_eq!(of_two.open, [rows[1].clone()]);

    let moved = Position {
        seen: 50,
        failing_since: None,
        ..position
    };
    let taken = DeliveryRow {
        status: DeliveryStatus::Delivered,
        attempts: 2,
        next_attempt_at: None,
        ended_at: Some(START),
        ..rows[0].clone()
    };
    let writes = DispatchWrites {
        cursors: vec![(shard, 45), (shard, 51)],
        positions: vec![moved],
        deliveries: vec![taken.clone()],
        disabled: vec![(two.id, DisabledReason::Gone, START.after(DAY))],
        ..DispatchWrites::default()
    };
    node.dispatched(shard, writes).await;
    let state = store.dispatch_state(shard).await.expect("reads");
    assert_eq!((state.cursor, state.positions), (51, vec![moved]));
    assert_eq!(state.open.len(), 2);
    let place = (shard, taken.seq);
    let view = store.delivery(TENANT, one.id, place).await.expect("reads");
    assert_eq!(view.expect("is kept").row, taken);
    let reason = DisabledReason::Failing;
    let disabled = Subscription {
        disabled: Some(Disabled { reason, at: START }),
        version: 2,
        ..two.clone()
    };
    let kept = store.subscriptions().await;
    assert_eq!(kept, Ok(vec![one, disabled]), "the first reason stays");
    for other in node.shards().into_iter().skip(1) {
        let state = store.dispatch_state(other).await.expect("reads");
        assert_eq!((state.cursor, state.open.len()), (0, 0));
        assert_eq!(state.positions.len(), 2, "as they began");
    }
}

/// Lists go newest change first, by subscription and by how they stand.
pub async fn deliveries_are_listed_with_their_attempts(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let shard = node.shards()[0];
    let (one, two) = (subscription(1), subscription(2));
    let theirs = Subscription {
        tenant: TenantId::from_bytes([2; 16]),
        ..subscription(3)
    };
    for subscription in [&one, &two, &theirs] {
        let put = node.store.put_subscription(subscription.clone(), None);
        assert_eq!(put.await, Ok(true));
    }
    let stands = [
        DeliveryStatus::Delivered,
        DeliveryStatus::Retrying,
        DeliveryStatus::Delivered,
        DeliveryStatus::Exhausted,
        DeliveryStatus::Waiting,
    ];
    let mut rows = Vec::new();
    for of in [&one, &two, &theirs] {
        let each = (1..).zip(stands);
        rows.extend(each.map(|(seq, status)| delivery(of, shard, seq, status)));
    }
    let error = Error {
        class: ErrorClass::UnknownError,
        code: "http_503".to_owned(),
        message: "the endpoint answered 503".to_owned(),
    };
    let attempts = [
        attempt(&rows[1], 2, None),
        attempt(&rows[1], 1, Some(error.clone())),
        attempt(&rows[6], 1, None),
    ];
    let writes = DispatchWrites {
        deliveries: rows.clone(),
        attempts: attempts.to_vec(),
        ..DispatchWrites::default()
    };
    node.dispatched(shard, writes).await;

    let store = harness.open().await;
    let list = async |subscription, status, before, limit| {
        let filter = DeliveryFilter {
            subscription,
            status,
            before,
        };
        let rows = store.deliveries(TENANT, filter, limit).await;
        let rows = rows.expect("reads").into_iter();
        rows.map(|row| (row.subscription, row.seq))
            .collect::<Vec<_>>()
    };
    let of_one = |places: &[u64]| places.iter().map(|seq| (one.id, *seq)).collect::<Vec<_>>();
    let all = list(None, None, None, 100).await;
    let places: Vec<u64> = all.iter().map(|(_, seq)| *seq).collect();
    assert_eq!(places, [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]);
    assert_eq!(list(None, None, None, 3).await, all[..3]);
    let one_only = list(Some(one.id), None, None, 100).await;
    assert_eq!(one_only, of_one(&[5, 4, 3, 2, 1]));
    let done = Some(DeliveryStatus::Delivered);
    assert_eq!(list(Some(one.id), done, None, 9).await, of_one(&[3, 1]));
    let failed = Some(DeliveryStatus::Exhausted);
    assert_eq!(list(Some(one.id), failed, None, 9).await, of_one(&[4]));
    assert_eq!(list(None, failed, None, 9).await.len(), 2);
    for status in [DeliveryStatus::Waiting, DeliveryStatus::Retrying] {
        assert_eq!(list(None, Some(status), None, 9).await.len(), 2);
    }
    let before = Some((rows[2].created_at, shard, rows[2].seq));
    assert_eq!(list(Some(one.id), None, before, 9).await, of_one(&[2, 1]));
    assert_eq!(list(Some(one.id), done, before, 9).await, of_one(&[1]));
    let begin = Some((rows[0].created_at, shard, rows[0].seq));
    assert_eq!(list(None, None, begin, 9).await, []);

    let place = |seq| (shard, seq);
    let view = store.delivery(TENANT, one.id, place(2)).await;
    let view = view.expect("reads").expect("is kept");
    assert_eq!(view.row, rows[1]);
    assert_eq!(view.attempts, [attempts[1].clone(), attempts[0].clone()]);
    let other = store.delivery(TENANT, one.id, place(1)).await;
    assert!(other.expect("reads").expect("is kept").attempts.is_empty());
    assert_eq!(store.delivery(TENANT, one.id, place(9)).await, Ok(None));
    let walls = store.delivery(TENANT, theirs.id, place(1)).await;
    assert_eq!(walls, Ok(None));
}

/// Slices go through all entries once, of one tenant or of all, and tell what is missing.
pub async fn the_log_is_read_in_slices(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let other = TenantId::from_bytes([2; 16]);
    let account = node.account(START, TENANT, None).await;
    let shard = account.id.shard();
    let theirs = node.account(START, other, None).await;
    let connection = node.connected(START, &account).await;
    let document = node.document(&connection, START, 1);
    let input = Input::Uploaded(Box::new(document.clone()), Actor::Operator);
    node.moved(&connection, START, input).await;
    node.account(START.after(DAY * 40), other, None).await;

    let store = harness.open().await;
    let slice = async |after, tenant, limit| {
        let slice = store.log(shard, after, tenant, limit).await;
        slice.expect("reads")
    };
    let whole = slice(0, None, 100).await;
    assert_eq!(places(&whole), [1, 2, 3, 4, 5, 6]);
    assert_eq!((whole.seen, whole.has_more, whole.gap), (6, false, false));
    let types: Vec<_> = whole.entries.iter().map(|one| one.message_type).collect();
    assert_eq!(
        types,
        [
            "account.created",
            "account.created",
            "connection.created",
            "connection.state.updated",
            "document.created",
            "account.created",
        ]
    );
    let tenants = [TENANT, other, TENANT, TENANT, TENANT, other];
    for (entry, tenant) in whole.entries.iter().zip(tenants) {
        assert_eq!(entry.tenant, tenant);
        let is_document = entry.message_type == "document.created";
        assert_eq!(entry.document, is_document.then_some(document.id));
        let seq = entry.view.seq;
        let line = match seq {
            1 => *account.id.as_bytes(),
            2 => *theirs.id.as_bytes(),
            3..=5 => *connection.id.as_bytes(),
            _ => entry.line,
        };
        assert_eq!((entry.view.shard, entry.line), (shard, line));
        let one = store.entry(tenant, (shard, seq)).await.expect("reads");
        let one = one.expect("is kept");
        let (one_json, json) = (
            serde_json::to_string(&one.view),
            serde_json::to_string(&entry.view),
        );
        assert_eq!(one_json.expect("JSON"), json.expect("JSON"));
        assert_eq!((one.line, one.document), (entry.line, entry.document));
    }
    let view = &whole.entries[4].view;
    assert_eq!((view.verb, view.at), (Verb::Created, START));
    let path = format!(
        "/accounts/{}/connections/{}/documents/{}",
        account.id, connection.id, document.id
    );
    assert_eq!(view.path, path);
    assert!(
        view.body.get().contains("\"kind\":\"bill\""),
        "{}",
        view.body
    );
    assert!(
        store
            .entry(other, (shard, 1))
            .await
            .expect("reads")
            .is_none()
    );
    assert!(
        store
            .entry(TENANT, (shard, 99))
            .await
            .expect("reads")
            .is_none()
    );

    let (mut after, mut found) = (0, Vec::new());
    loop {
        let slice = slice(after, None, 2).await;
        assert!(slice.entries.len() <= 2 && slice.seen > after);
        found.extend(places(&slice));
        after = slice.seen;
        if !slice.has_more {
            break;
        }
    }
    assert_eq!((found, after), (vec![1, 2, 3, 4, 5, 6], 6));
    let first = slice(0, Some(other), 1).await;
    assert_eq!((places(&first), first.has_more), (vec![2], true));
    let second = slice(first.seen, Some(other), 1).await;
    assert_eq!((places(&second), second.seen), (vec![6], 6));
    let at_the_end = slice(6, None, 2).await;
    assert_eq!((places(&at_the_end), at_the_end.seen), (Vec::new(), 6));

    let sweep = Sweep {
        now: START.after(DAY * 41),
        tenants: Default::default(),
        rows: 100,
    };
    while !store.sweep(sweep.clone()).await.expect("sweeps").done {}
    for (after, tenant, left, gap) in [
        (0, None, vec![6], true),
        (4, None, vec![6], true),
        (5, None, vec![6], false),
        (0, Some(TENANT), Vec::new(), true),
        (2, Some(other), vec![6], false),
        (1, Some(other), vec![6], true),
    ] {
        let slice = slice(after, tenant, 10).await;
        assert_eq!((places(&slice), slice.gap), (left, gap), "{after}");
        assert_eq!((slice.seen, slice.has_more), (6, false));
    }
}

/// Deletion takes what was kept of it, and what was on its way to the store is nobody's.
pub async fn what_a_deleted_subscription_had_is_gone(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let shard = node.shards()[0];
    let (gone, stays) = (subscription(1), subscription(2));
    let mut writes = DispatchWrites::default();
    for of in [&gone, &stays] {
        let put = node.store.put_subscription(of.clone(), None);
        assert_eq!(put.await, Ok(true));
        let row = delivery(of, shard, 1, DeliveryStatus::Retrying);
        writes.attempts.push(attempt(&row, 1, None));
        writes.deliveries.push(row);
        writes.positions.push(Position {
            subscription: of.id,
            shard,
            seen: 1,
            failing_since: None,
        });
    }
    node.dispatched(shard, writes.clone()).await;
    let other = TenantId::from_bytes([2; 16]);
    let store = harness.open().await;
    assert_eq!(store.delete_subscription(other, gone.id).await, Ok(false));
    assert_eq!(store.delete_subscription(TENANT, gone.id).await, Ok(true));
    assert_eq!(store.delete_subscription(TENANT, gone.id).await, Ok(false));

    writes.caught_up.push((gone.id, shard));
    let disabled = (gone.id, DisabledReason::Gone, START);
    writes.disabled.push(disabled);
    writes.cursors.push((shard, 9));
    for _ in 0..2 {
        let of_gone = store.subscription_state(gone.id, shard).await;
        assert_eq!(of_gone, Ok(Default::default()));
        assert_eq!(store.delivery(TENANT, gone.id, (shard, 1)).await, Ok(None));
        assert_eq!(store.subscriptions().await, Ok(vec![stays.clone()]));
        let state = store.dispatch_state(shard).await.expect("reads");
        let ids = |ids: Vec<SubscriptionId>| ids;
        let positions = state.positions.iter().map(|row| row.subscription);
        assert_eq!(ids(positions.collect()), [stays.id]);
        let open = state.open.iter().map(|row| row.subscription);
        assert_eq!(ids(open.collect()), [stays.id]);
        let listed = store.deliveries(TENANT, DeliveryFilter::default(), 10);
        assert_eq!(listed.await.expect("reads").len(), 1);
        node.dispatched(shard, writes.clone()).await;
    }
    let state = store.dispatch_state(shard).await.expect("reads");
    assert_eq!(state.cursor, 9, "the rest of the batch is written");
}

/// Makes a delivery of the change that was written `seq` seconds after the start.
pub fn delivery(
    subscription: &Subscription,
    shard: Shard,
    seq: u64,
    status: DeliveryStatus,
) -> DeliveryRow {
    let created_at = START.after(Duration::from_secs(seq));
    let open = matches!(status, DeliveryStatus::Waiting | DeliveryStatus::Retrying);
    let later = Some(created_at.after(Duration::from_secs(5)));
    DeliveryRow {
        subscription: subscription.id,
        tenant: subscription.tenant,
        shard,
        seq,
        line: [7; 16],
        message_id: format!("chg_{seq}"),
        status,
        attempts: 3,
        failures: 2,
        created_at,
        next_attempt_at: later.filter(|_: &Timestamp| open),
        ended_at: later.filter(|_| !open),
    }
}

/// Makes an attempt of a delivery.
pub fn attempt(row: &DeliveryRow, number: u16, error: Option<Error>) -> DeliveryAttempt {
    DeliveryAttempt {
        subscription: row.subscription,
        shard: row.shard,
        seq: row.seq,
        number,
        at: row.created_at.after(Duration::from_secs(u64::from(number))),
        duration: Duration::from_millis(250),
        status: error.is_none().then_some(204),
        snippet: "\u{2713} thank you".to_owned(),
        error,
    }
}

fn places(slice: &LogSlice) -> Vec<u64> {
    slice.entries.iter().map(|entry| entry.view.seq).collect()
}

const DAY: Duration = Duration::from_secs(86_400);
