//! Messages to people.

use std::time::Duration;

use serde_json::{Map, Value};
use wellspring_core::notification::{
    Channel, Issue, Maintenance, NotificationKind, Observation, Preferences,
};
use wellspring_core::{
    Account, Actor, ConnectionId, IncidentId, NotificationId, SourceName, Timestamp,
};
use wellspring_engine::{
    Allowance, CommitError, IncidentStage, IncidentTelling, IncidentWrite, Notice, NoticeBatch,
    NoticeStatus, Notification, NotificationFilter, Person, PhoneMark, RequestMark,
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
        phone: Some([7; 16]),
        heard: vec![[8; 16], [9; 16]],
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
    assert_eq!(
        store.people_called([7; 16]).await,
        Ok(vec![Person {
            version: 1,
            contact: Some(sealed(1)),
            preferences: Preferences::default(),
            ..changed.clone()
        }])
    );
    changed.phone = None;
    changed.heard = vec![];
    assert_eq!(store.put_person(changed.clone(), 1).await, Ok(true));
    assert_eq!(store.people_called([7; 16]).await, Ok(vec![]));
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
        phone: Some([7; 16]),
        heard: vec![[8; 16], [9; 16]],
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
    assert_eq!(added, Ok(None));
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

/// Messages are numbered by person in the order in which they come, whatever their ids say.
pub async fn messages_are_streamed_in_the_order_in_which_they_come(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let other = node.account(START, TENANT, None).await;
    let kind = NotificationKind::AccountUpdate;
    let store = &node.store;
    assert_eq!(store.notification_head(account.id).await, Ok(0));
    let (first, second) = (
        message(&account, 2, START, kind),
        message(&account, 1, START, kind),
    );
    let hidden = Notification {
        in_app: false,
        ..message(&account, 3, START, kind)
    };
    let theirs = message(&other, 4, START, kind);
    for one in [&first, &hidden, &theirs] {
        let added = store.add_notification(one.clone(), vec![]).await;
        assert_eq!(added, Ok(None));
    }
    let batch = NoticeBatch {
        notifications: vec![second.clone()],
        ..batch(&node, &account)
    };
    assert_eq!(store.commit_notices(batch).await, Ok(()));
    let store = harness.open().await;
    assert_eq!(store.notification_head(account.id).await, Ok(3));
    assert_eq!(store.notification_head(other.id).await, Ok(1));
    let since = async |after, limit| {
        let since = store.notifications_since(account.id, after, limit).await;
        since.expect("reads")
    };
    let (first, second) = ((1, first), (3, second));
    assert_eq!(since(0, 10).await, [first.clone(), second.clone()]);
    assert_eq!(since(0, 1).await, [first]);
    assert_eq!(since(1, 10).await, [second]);
    assert_eq!(since(3, 10).await, []);
    assert_eq!(since(u64::MAX, 10).await, []);
}

/// A request of the same key finds what came by it before, whatever it says; the other person's is another.
pub async fn a_message_that_is_asked_for_twice_is_written_once(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let other = node.account(START, TENANT, None).await;
    let asked = |account: &Account, number, said| Notification {
        request: Some(RequestMark {
            key: [1; 16],
            said: [said; 16],
        }),
        ..message(account, number, START, NotificationKind::AccountUpdate)
    };
    let first = asked(&account, 1, 1);
    let told = notice(&first, Channel::Email, START);
    let store = &node.store;
    let added = store
        .add_notification(first.clone(), vec![told.clone()])
        .await;
    assert_eq!(added, Ok(None));
    let theirs = store.add_notification(asked(&other, 2, 1), vec![]).await;
    assert_eq!(theirs, Ok(None));
    let store = harness.open().await;
    let again = asked(&account, 3, 2);
    let late = notice(&again, Channel::Email, START);
    let added = store.add_notification(again.clone(), vec![late]).await;
    assert_eq!(added, Ok(Some(first.clone())));
    assert_eq!(store.notifications_of(vec![again.id]).await, Ok(vec![]));
    assert_eq!(store.notices(again.id).await, Ok(vec![]));
    assert_eq!(store.notices(first.id).await, Ok(vec![told]));
}

/// It is known whosever the number is, and what one message says again changes nothing.
pub async fn a_number_that_wants_no_messages_is_known_until_it_wants_them_again(
    harness: &dyn Harness,
) {
    let store = harness.open().await;
    let (one, other) = ([1; 16], [2; 16]);
    let hear = async |phone, by, stopped| {
        let heard = store.hear_phone(phone, by, stopped).await;
        assert_eq!(heard, Ok(()));
        let stopped = store.stopped_phones(vec![one, other]).await;
        stopped.expect("reads")
    };
    let none = Vec::<PhoneMark>::new();
    assert_eq!(hear(one, Some([9; 16]), false).await, none);
    assert_eq!(hear(one, Some([10; 16]), true).await, [one]);
    assert_eq!(hear(one, Some([11; 16]), false).await, none);
    assert_eq!(hear(one, Some([10; 16]), true).await, none, "said before");
    assert_eq!(hear(one, None, true).await, [one]);
    assert_eq!(hear(other, None, true).await, [one, other]);
    assert_eq!(hear(one, Some([11; 16]), false).await, [one, other]);
    for number in 20..40 {
        hear(one, Some([number; 16]), true).await;
    }
    assert_eq!(hear(one, Some([12; 16]), false).await, [other]);
    assert_eq!(hear(one, Some([39; 16]), true).await, [other], "heard");
    let again = harness.open().await;
    assert_eq!(again.stopped_phones(vec![one]).await, Ok(vec![]));
    assert_eq!(again.stopped_phones(vec![other]).await, Ok(vec![other]));
    assert_eq!(again.stopped_phones(vec![]).await, Ok(vec![]));
}

/// An allowance is an account's own, outlives the program, and is whole again when its window is over.
pub async fn an_allowance_is_used_so_often_and_no_oftener(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let other = node.account(START, TENANT, None).await;
    let (tests, changes) = (Allowance::TestMessages, Allowance::ContactChanges);
    let next = START.after(tests.window());
    for used in 0..tests.most() {
        let at = START.after(Duration::from_secs(u64::from(used)));
        assert_eq!(node.store.spend(account.id, tests, at).await, Ok(None));
    }
    let store = harness.open().await;
    let late = next.before(Duration::from_millis(1));
    assert_eq!(store.spend(account.id, tests, late).await, Ok(Some(next)));
    assert_eq!(store.spend(account.id, changes, late).await, Ok(None));
    assert_eq!(store.spend(other.id, tests, late).await, Ok(None));
    let all = (0..tests.most()).map(|_| store.spend(account.id, tests, next));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|one| *one == Ok(None)), "{all:?}");
    let again = next.after(tests.window());
    assert_eq!(store.spend(account.id, tests, next).await, Ok(Some(again)));

    let erasing = account.clone().erase(START, Actor::Operator);
    node.account_stepped(START, &account, erasing.clone()).await;
    let erasing = erasing.next.expect("is there");
    let gone = erasing.clone().erased();
    node.account_stepped(START, &erasing, gone).await;
    assert_eq!(store.spend(account.id, tests, next).await, Ok(None));
}

/// Who is at a source is paged through, and what was told stands with how far it was told.
pub async fn people_at_a_source_are_told_in_pages(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let connection = node.connected(START, &account).await;
    node.connected(START, &account).await;
    let shard = account.id.shard();
    let mut there = vec![(account.id, TENANT)];
    for _ in 0..2 {
        let next = node.account(START, TENANT, None).await;
        node.connected(START, &next).await;
        there.push((next.id, TENANT));
    }
    there.sort();
    let store = harness.open().await;
    let source = &connection.source;
    let page = async |source: &SourceName, after, limit| {
        let page = store.accounts_at(source.clone(), shard, after, limit).await;
        page.expect("reads")
    };
    assert_eq!(page(source, None, 10).await, there);
    assert_eq!(page(source, None, 2).await, there[..2]);
    assert_eq!(page(source, Some(there[1].0), 10).await, there[2..]);
    let absent = "nowhere".parse().expect("a name");
    assert_eq!(page(&absent, None, 10).await, []);
    let others = node.leases.iter().find(|lease| lease.shard != shard);
    if let Some(lease) = others {
        let other = store.accounts_at(source.clone(), lease.shard, None, 10);
        assert_eq!(other.await, Ok(vec![]));
    }

    let incident = IncidentId::from_bytes([3; 16]);
    let mut told = Maintenance::default();
    told.begun(START, incident).expect("is news");
    let key = (account.id, source.clone());
    let step = |from, stage| IncidentWrite {
        id: incident,
        from,
        to: IncidentTelling {
            source: source.clone(),
            stage,
        },
    };
    let stage = IncidentStage::Beginning(Some(account.id));
    let held = Notice {
        gathers: true,
        ..notice(
            &message(&account, 5, START, NotificationKind::BankMaintenance),
            Channel::Email,
            START,
        )
    };
    let failed = Notice {
        attempts: 1,
        gathers: false,
        channel: Channel::Sms,
        ..held.clone()
    };
    let sending = Notice {
        status: NoticeStatus::Sending,
        channel: Channel::Push,
        ..failed.clone()
    };
    let fresh = Notice {
        gathers: false,
        channel: Channel::Webhook,
        ..held.clone()
    };
    let first = NoticeBatch {
        maintenance: vec![(key.0, key.1.clone(), Some(told.clone()))],
        incidents: vec![step(None, stage)],
        notices: vec![held.clone(), failed.clone(), sending, fresh],
        ..batch(&node, &account)
    };
    assert_eq!(store.commit_notices(first.clone()).await, Ok(()));
    // Who goes on from elsewhere has not heard what was told; nothing of it is written.
    let late = message(&account, 6, START, NotificationKind::BankMaintenance);
    let elsewhere = [
        None,
        Some(IncidentStage::Beginning(None)),
        Some(IncidentStage::Begun),
    ];
    for (from, to) in elsewhere
        .into_iter()
        .flat_map(|from| [(from, IncidentStage::Begun), (from, IncidentStage::Ended)])
    {
        let again = NoticeBatch {
            incidents: vec![step(from, to)],
            notifications: vec![late.clone()],
            ..batch(&node, &account)
        };
        let outcome = store.commit_notices(again).await;
        assert_eq!(outcome, Err(CommitError::Fenced), "from {from:?}");
    }
    let found = store.notifications_of(vec![late.id]).await;
    assert_eq!(found, Ok(vec![]));
    let store = harness.open().await;
    let found = store.maintenance_told(vec![key.clone()]).await;
    assert_eq!(found, Ok([(key.clone(), told.clone())].into()));
    let at = async |source: &SourceName, after, limit| {
        let page = store.accounts_told(source.clone(), shard, after, limit);
        page.await.expect("reads")
    };
    let others = there.iter().filter(|(id, _)| *id != account.id);
    let others = others.map(|(id, _)| (*id, source.clone(), Some(told.clone())));
    let others = NoticeBatch {
        maintenance: others.collect(),
        ..batch(&node, &account)
    };
    assert_eq!(at(source, None, 10).await, [(account.id, TENANT)]);
    assert_eq!(store.commit_notices(others).await, Ok(()));
    assert_eq!(at(source, None, 10).await, there);
    assert_eq!(at(source, None, 2).await, there[..2]);
    assert_eq!(at(source, Some(there[1].0), 10).await, there[2..]);
    assert_eq!(at(&absent, None, 10).await, []);
    if let Some(lease) = node.leases.iter().find(|lease| lease.shard != shard) {
        let other = store.accounts_told(source.clone(), lease.shard, None, 10);
        assert_eq!(other.await, Ok(vec![]));
    }
    let found = store.incidents_told(vec![shard]).await;
    assert_eq!(
        found,
        Ok([((shard, incident), step(None, stage).to)].into())
    );
    assert_eq!(store.incidents_told(vec![]).await, Ok([].into()));
    let mut found = store.held_notices(vec![account.id]).await.expect("reads");
    found.sort_by_key(|notice| notice.channel);
    let mut waiting = [held, failed];
    waiting.sort_by_key(|notice| notice.channel);
    assert_eq!(found, waiting);

    let over = NoticeBatch {
        maintenance: vec![(key.0, key.1.clone(), None)],
        incidents: vec![step(Some(stage), IncidentStage::Ended)],
        ..batch(&node, &account)
    };
    assert_eq!(store.commit_notices(over).await, Ok(()));
    assert_eq!(store.maintenance_told(vec![key]).await, Ok([].into()));
    assert_eq!(store.incidents_told(vec![shard]).await, Ok([].into()));
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
        request: None,
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
        maintenance: Vec::new(),
        incidents: Vec::new(),
        notifications: Vec::new(),
        notices: Vec::new(),
    }
}
