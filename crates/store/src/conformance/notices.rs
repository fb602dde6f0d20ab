//! Messages to people.

use std::time::Duration;

use serde_json::{Map, Value};
use wellspring_core::notification::{Channel, Issue, NotificationKind, Observation, Preferences};
use wellspring_core::{Account, Actor, ConnectionId, NotificationId, Timestamp};
use wellspring_engine::{
    CommitError, Notice, NoticeBatch, NoticeStatus, Notification, NotificationFilter, Person,
};

use super::steps::sealed;
use super::{Harness, Node, START, TENANT};

/// Contacts and preferences are written over by who knows their version.
pub async fn how_people_are_reached_reads_back(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let person = Person {
        account: account.id,
        tenant: TENANT,
        version: 1,
        contact: Some(sealed(1)),
        preferences: Preferences::default(),
    };
    let store = &node.store;
    assert_eq!(store.people(vec![account.id]).await, Ok(vec![]));
    assert_eq!(store.put_person(person.clone(), 1).await, Ok(false));
    assert_eq!(store.put_person(person.clone(), 0).await, Ok(true));
    assert_eq!(store.put_person(person.clone(), 0).await, Ok(false));
    let mut changed = Person {
        version: 2,
        contact: None,
        ..person
    };
    changed.preferences.time_zone = "Europe/Berlin".to_owned();
    assert_eq!(store.put_person(changed.clone(), 1).await, Ok(true));
    assert_eq!(store.put_person(changed.clone(), 1).await, Ok(false));
    let again = harness.open().await;
    assert_eq!(again.people(vec![account.id]).await, Ok(vec![changed]));
}

/// What is told is written with the place in the log, once, and under the fence of the shard.
pub async fn messages_to_people_are_written_once_and_listed(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let shard = account.id.shard();
    let connection = ConnectionId::from_bytes([5; 16]);
    let mut issue = Issue::default();
    let broken = Observation {
        state: "error",
        access: "valid",
        outcome: Some("item_error"),
        reason: None,
    };
    issue.observe(START, &broken);
    let at = |seconds| START.after(Duration::from_secs(seconds));
    let first = message(&account, 1, at(1), NotificationKind::PlaidConnectionIssue);
    let second = message(&account, 2, at(2), NotificationKind::BankMaintenance);
    let hidden = Notification {
        in_app: false,
        ..message(&account, 3, at(3), NotificationKind::BankMaintenance)
    };
    let notice = notice(&first, Channel::Email, at(1));
    let batch = NoticeBatch {
        cursor: Some((0, 7)),
        issues: vec![(connection, account.id, issue.clone())],
        notifications: vec![first.clone(), second.clone()],
        notices: vec![notice.clone()],
        ..batch(&node, &account)
    };
    let store = &node.store;
    let stale = NoticeBatch {
        epoch: batch.epoch + 1,
        ..batch.clone()
    };
    assert_eq!(store.commit_notices(stale).await, Err(CommitError::Fenced));
    assert_eq!(store.commit_notices(batch.clone()).await, Ok(()));
    let twice = store.commit_notices(batch.clone()).await;
    assert_eq!(twice, Err(CommitError::Fenced), "the cursor has moved on");
    store
        .add_notification(hidden.clone(), vec![])
        .await
        .expect("adds");
    let other = Notification {
        in_app: true,
        ..hidden.clone()
    };
    store
        .add_notification(other, vec![])
        .await
        .expect("stays as it is");

    let store = harness.open().await;
    let cursors = store.notice_cursors(vec![shard]).await.expect("reads");
    assert_eq!(cursors.get(&shard), Some(&7));
    let issues = store.issues(vec![connection]).await.expect("reads");
    assert_eq!(issues.get(&connection), Some(&issue));
    let list = async |filter| {
        store
            .notifications(account.id, filter, 10)
            .await
            .expect("lists")
    };
    let all = NotificationFilter::default();
    assert_eq!(
        list(all).await,
        [hidden.clone(), second.clone(), first.clone()]
    );
    let in_app = NotificationFilter {
        in_app_only: true,
        ..all
    };
    assert_eq!(list(in_app).await, [second.clone(), first.clone()]);
    let before = NotificationFilter {
        before: Some(second.id),
        ..all
    };
    assert_eq!(list(before).await, std::slice::from_ref(&first));
    let kind = NotificationFilter {
        kind: Some(NotificationKind::BankMaintenance),
        in_app_only: true,
        ..all
    };
    assert_eq!(list(kind).await, std::slice::from_ref(&second));
    let by_id = store.notifications_of(vec![second.id, first.id]).await;
    assert_eq!(by_id, Ok(vec![first.clone(), second.clone()]));

    let read = store.read_notification(account.id, first.id, at(9)).await;
    assert_eq!(read, Ok(true));
    let again = store.read_notification(account.id, first.id, at(10)).await;
    assert_eq!(again, Ok(true));
    let absent = NotificationId::from_bytes([9; 16]);
    let read = store.read_notification(account.id, absent, at(9)).await;
    assert_eq!(read, Ok(false));
    let unread = NotificationFilter {
        unread_only: true,
        ..in_app
    };
    assert_eq!(list(unread).await, [second]);
    let is_read = &list(before).await[0];
    assert_eq!(is_read.read_at, Some(at(9)), "the first time counts");

    let over = NoticeBatch {
        issues: vec![(connection, account.id, Issue::default())],
        notices: vec![Notice {
            status: NoticeStatus::Sent,
            ..notice
        }],
        cursor: Some((7, 8)),
        notifications: vec![],
        ..batch
    };
    assert_eq!(store.commit_notices(over).await, Ok(()));
    assert_eq!(store.issues(vec![connection]).await, Ok([].into()));
    let kept = store.notices(first.id).await.expect("reads");
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].status, NoticeStatus::Sent);
    assert_eq!(store.sweep_notifications(at(2), 10).await, Ok(1));
    assert_eq!(list(before).await, []);
    assert_eq!(store.notices(first.id).await, Ok(vec![]));
}

/// They are those of the shards that are asked for; nothing is left of an account that is erased.
pub async fn due_messages_come_by_channel_and_an_erased_person_leaves_none(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let shard = account.id.shard();
    let at = |seconds| START.after(Duration::from_secs(seconds));
    let mut all = Vec::new();
    for (number, status) in (1..).zip(<NoticeStatus as wellspring_core::Stored>::MEMBERS) {
        let message = message(&account, number, at(1), NotificationKind::AccountUpdate);
        let notice = Notice {
            status: *status,
            ..notice(&message, Channel::Push, at(10 - u64::from(number)))
        };
        let added = node.store.add_notification(message, vec![notice.clone()]);
        added.await.expect("adds");
        all.push(notice);
    }
    let due = async |channel, shards, by| {
        let due = node.store.due_notices(channel, shards, by, 10).await;
        due.expect("reads")
    };
    let open = [all[1].clone(), all[0].clone()];
    assert_eq!(due(Channel::Push, vec![shard], at(9)).await, open);
    assert_eq!(due(Channel::Push, vec![shard], at(8)).await, open[..1]);
    assert_eq!(due(Channel::Email, vec![shard], at(9)).await, []);
    assert_eq!(due(Channel::Push, vec![], at(9)).await, []);
    let person = Person {
        account: account.id,
        tenant: TENANT,
        version: 1,
        contact: Some(sealed(1)),
        preferences: Preferences::default(),
    };
    let put = node.store.put_person(person.clone(), 0).await;
    assert_eq!(put, Ok(true));

    let erasing = account.clone().erase(at(20), Actor::Operator);
    node.account_stepped(at(20), &account, erasing.clone())
        .await;
    let due = node
        .store
        .due_notices(Channel::Push, vec![shard], at(30), 10);
    assert_eq!(due.await, Ok(vec![]), "nothing could be noted of them");
    let late = message(&account, 9, at(21), NotificationKind::AccountUpdate);
    let added = node.store.add_notification(late.clone(), vec![]).await;
    assert_eq!(added, Ok(()));
    let found = node.store.notifications_of(vec![late.id]).await;
    assert_eq!(found, Ok(vec![]), "it is on its way");
    let erasing = erasing.next.expect("is there");
    let gone = erasing.clone().erased();
    node.account_stepped(at(22), &erasing, gone).await;
    let store = harness.open().await;
    assert_eq!(store.people(vec![account.id]).await, Ok(vec![]));
    let none = NotificationFilter::default();
    assert_eq!(store.notifications(account.id, none, 10).await, Ok(vec![]));
    assert_eq!(store.notices(all[0].notification).await, Ok(vec![]));
    assert_eq!(store.put_person(person, 0).await, Ok(false));
}

fn message(account: &Account, number: u8, at: Timestamp, kind: NotificationKind) -> Notification {
    let mut event = Map::new();
    event.insert("state".to_owned(), Value::from("open"));
    Notification {
        id: NotificationId::from_bytes([number; 16]),
        tenant: account.tenant,
        account: account.id,
        kind,
        at,
        read_at: None,
        in_app: true,
        event,
    }
}

fn notice(of: &Notification, channel: Channel, due: Timestamp) -> Notice {
    Notice {
        notification: of.id,
        channel,
        slot: u64::MAX,
        tenant: of.tenant,
        account: of.account,
        kind: of.kind,
        due,
        gathers: false,
        status: NoticeStatus::Planned,
        attempts: 0,
        epoch: 0,
        order: None,
        reason: None,
        receipt: None,
    }
}

fn batch(node: &Node, account: &Account) -> NoticeBatch {
    let shard = account.id.shard();
    let lease = node.leases.iter().find(|lease| lease.shard == shard);
    NoticeBatch {
        incarnation: node.incarnation,
        shard,
        epoch: lease.expect("owns the shard").epoch,
        cursor: None,
        issues: Vec::new(),
        notifications: Vec::new(),
        notices: Vec::new(),
    }
}
