//! Accounts: read back, listed, and erased with all that hangs on them.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::connection::Input;
use wellspring_core::{Account, AccountId, Actor, Connection, DocumentId, Lane, TenantId};
use wellspring_engine::{Aggregate, Backend, CommitError, Live, Loaded, RunInputs};
use wellspring_engine::{Record, TokenKind, TokenRecord, Write};

use super::steps::sealed;
use super::{Harness, Node, START, TENANT};

/// They read back as they were written, one by one and in pages, each to its tenant.
pub async fn accounts_read_back_and_are_listed(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let later = |n: u64| START.after(Duration::from_secs(n));
    let other = TenantId::from_bytes([2; 16]);
    let first = node.account(START, TENANT, Some("ann")).await;
    let second = node.account(later(1), TENANT, None).await;
    let theirs = node.account(later(2), other, Some("ann")).await;
    let third = node.account(later(3), TENANT, Some("bob")).await;
    let step = third
        .clone()
        .patch(Some("carl".to_owned()), Actor::Operator);
    let third = {
        node.account_stepped(later(4), &third, step.clone()).await;
        step.next.expect("is there")
    };
    assert_eq!(third.version, 2);

    let store = harness.open().await;
    for (account, tenant) in [(&first, TENANT), (&second, TENANT), (&theirs, other)] {
        let read = store.account(tenant, account.id).await;
        assert_eq!(read, Ok(Some(account.clone())));
    }
    assert_eq!(store.account(other, first.id).await, Ok(None), "walls");
    let list = async |tenant, external_id: Option<&str>, before, limit| {
        let external_id = external_id.map(str::to_owned);
        let rows = store.accounts(tenant, external_id, before, limit).await;
        rows.expect("reads")
    };
    let all = [third.clone(), second.clone(), first.clone()];
    assert_eq!(list(TENANT, None, None, 10).await, all);
    assert_eq!(list(TENANT, None, None, 2).await, all[..2]);
    assert_eq!(list(TENANT, None, Some(second.id), 2).await, all[2..]);
    assert_eq!(list(TENANT, Some("ann"), None, 2).await, all[2..]);
    assert_eq!(list(TENANT, Some("bob"), None, 2).await, [], "renamed");
    assert_eq!(list(other, Some("ann"), None, 2).await, [theirs]);
    assert_eq!(list(TENANT, Some("ann"), Some(first.id), 2).await, []);

    let gone = AccountId::from_bytes([9; 16]);
    let ids = vec![third.id.into(), gone.into(), first.id.into()];
    let rows = store.load(ids).await.expect("loads");
    let mut loaded: Vec<Account> = rows.iter().map(account).cloned().collect();
    loaded.sort_by_key(|account| account.id);
    assert_eq!(loaded, [first, third]);
}

/// The version is asserted, and nothing of the batch is written.
pub async fn a_stale_account_writes_nothing(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let stale = Account {
        version: 7,
        ..account.clone()
    };
    let collection = node.accept(START, TENANT);
    for (before, step) in [
        (
            wellspring_engine::Before::Live(7),
            stale.clone().patch(Some("x".to_owned()), Actor::Operator),
        ),
        (wellspring_engine::Before::Live(7), stale.erased()),
        (
            wellspring_engine::Before::New,
            Account::create(START, account.id, TENANT, None, Actor::Operator),
        ),
        (
            wellspring_engine::Before::Finished(1),
            account.clone().patch(Some("y".to_owned()), Actor::Operator),
        ),
    ] {
        let (id, accepted) = collection.clone();
        let mut more = node.batch(START, wellspring_engine::Before::New, id, accepted);
        let mut batch = node.account_batch(START, (account.id, before, TENANT), step);
        batch.writes.insert(0, more.writes.remove(0));
        assert_eq!(
            node.store.commit(Arc::new(batch)).await,
            Err(CommitError::Stale(account.id.into())),
            "{before:?}"
        );
        let rows = node.store.load(vec![id.into(), account.id.into()]).await;
        let rows = rows.expect("loads");
        assert_eq!(rows.len(), 1);
        assert_eq!(self::account(&rows[0]), &account);
    }
}

/// Erasure goes over the connections to the account, and nothing but the log remembers.
///
/// # Panics
///
/// As the whole suite does.
pub async fn an_erased_account_leaves_nothing(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let beside = full(&mut node).await;
    let one = full(&mut node).await;
    let (account, connections) = (one.account.clone(), one.connections.clone());
    let erasing = account.clone().erase(START, Actor::Operator);
    node.account_stepped(START, &account, erasing.clone()).await;
    let erasing = erasing.next.expect("is there");

    let store = harness.open().await;
    let read = store.account(TENANT, account.id).await;
    assert_eq!(read, Ok(Some(erasing.clone())), "the actor is kept");
    let scanned = store.scan(node.shards(), None, 100).await.expect("scans");
    let live = Live {
        id: account.id.into(),
        due: START,
        since: START,
        lane: Lane::ALARM,
        tenant: TENANT,
        awaited: false,
    };
    assert!(scanned.contains(&live), "goes on after a crash");
    let ids: Vec<_> = connections.iter().map(|connection| connection.id).collect();
    let mut children = store.children(account.id, 10).await.expect("reads");
    children.sort();
    assert_eq!(children, ids);
    assert_eq!(store.children(account.id, 1).await.expect("reads").len(), 1);
    for connection in &connections {
        let input = Input::DeleteAsked(Actor::Operator);
        let (_, batch) = node.connection_step(connection, START, input);
        node.commit(batch).await;
    }
    assert_eq!(store.children(account.id, 10).await, Ok(Vec::new()));
    let documents = store.documents(TENANT, (Some(account.id), None), None, 10);
    assert_eq!(documents.await.expect("reads").len(), one.documents.len());
    assert_eq!(store.garbage(10).await, Ok(Vec::new()));
    node.account_stepped(START, &erasing, erasing.clone().erased())
        .await;

    is_gone(store.as_ref(), &one).await;
    let mut garbage = store.garbage(10).await.expect("reads");
    garbage.sort();
    assert_eq!(garbage, one.documents, "whose bytes are to go");
    assert_eq!(store.garbage(1).await.expect("reads").len(), 1);
    let (forgotten, left) = one.documents.split_at(1);
    let forget = store.forget_garbage(forgotten.to_vec());
    forget.await.expect("forgets");
    assert_eq!(store.garbage(10).await, Ok(left.to_vec()));
    let forget = store.forget_garbage(one.documents.clone());
    forget.await.expect("forgets what is forgotten, too");
    assert_eq!(store.garbage(10).await, Ok(Vec::new()));

    // Connections that nobody deleted before go with their account.
    let left = full(&mut node).await;
    let (at_once, account) = (left.account.clone().erased(), left.account.clone());
    node.account_stepped(START, &account, at_once).await;
    is_gone(store.as_ref(), &left).await;
    let mut garbage = store.garbage(10).await.expect("reads");
    garbage.sort();
    assert_eq!(garbage, left.documents);

    let kept = store.account(TENANT, beside.account.id).await;
    assert_eq!(kept, Ok(Some(beside.account.clone())), "others stay");
    let known = store.existing_documents(beside.documents.clone()).await;
    assert_eq!(known.expect("reads").len(), beside.documents.len());
    for connection in &beside.connections {
        let inputs = store.run_inputs(connection.id).await.expect("reads");
        assert_eq!(inputs.cursors.len(), 2);
    }
    let token = store.token(token(&beside.account).hash).await;
    assert_eq!(token, Ok(Some(self::token(&beside.account))));
}

/// An account with something of everything, and what it has.
#[derive(Debug)]
pub struct Full {
    /// The account.
    pub account: Account,
    /// Its connections, in the order of their ids.
    pub connections: Vec<Connection>,
    /// Its documents, in the order of their ids.
    pub documents: Vec<DocumentId>,
}

/// Makes an account with two connections, each with a row in every table that there is.
///
/// # Panics
///
/// When the store does not commit it.
pub async fn full(node: &mut Node) -> Full {
    let account = node.account(START, TENANT, Some("full")).await;
    let (mut connections, mut documents) = (Vec::new(), Vec::new());
    for n in 0..2 {
        let connection = node.connected(START, &account).await;
        let connection = node.fetching(&connection, START).await;
        let document = node.document(&connection, START, n + 1);
        documents.push(document.id);
        let input = Input::ItemsCame {
            documents: vec![document],
            records: 2,
        };
        let (step, mut batch) = node.connection_step(&connection, START, input);
        if let Some(Write::Connection(write)) = batch.writes.first_mut() {
            for (stream, key) in [("bills", "1"), ("readings", "1"), ("readings", "2")] {
                let record = Record {
                    key: key.to_owned(),
                    hash: [n; 32],
                    body: sealed(n),
                };
                write.records.push((stream.to_owned(), record));
            }
            for stream in ["bills", "readings"] {
                let cursor = format!("after {stream}");
                write.cursors.push((stream.to_owned(), cursor));
            }
        }
        node.commit(batch).await;
        let connection = step.next.expect("is there");
        let connection = node.asked(&connection, START).await;
        connections.push(connection);
    }
    connections.sort_by_key(|connection| connection.id);
    documents.sort();
    let token = node.store.put_token(token(&account));
    token.await.expect("puts");
    Full {
        account,
        connections,
        documents,
    }
}

/// Asserts that no query finds anything of an account that was erased.
///
/// # Panics
///
/// When one does.
pub async fn is_gone(store: &dyn Backend, one: &Full) {
    let Full {
        account,
        connections,
        documents,
    } = one;
    assert_eq!(store.account(TENANT, account.id).await, Ok(None));
    assert_eq!(store.token(token(account).hash).await, Ok(None));
    let of = (Some(account.id), None);
    let listed = store.documents(TENANT, of, None, 10).await;
    assert_eq!(listed, Ok(Vec::new()));
    let known = store.existing_documents(documents.clone()).await;
    assert_eq!(known, Ok(Vec::new()));
    let listed = store.connections(TENANT, account.id, None, 10).await;
    assert_eq!(listed, Ok(Vec::new()));
    for id in connections.iter().map(|connection| connection.id) {
        assert_eq!(store.connection(TENANT, id).await, Ok(None));
        assert_eq!(store.run_inputs(id).await, Ok(RunInputs::default()));
        assert_eq!(store.interactions(id, 10).await, Ok(Vec::new()));
        assert_eq!(store.fetches(id, None, 10).await, Ok(Vec::new()));
        let known = store.known_document(id, None, Some([1; 32])).await;
        assert_eq!(known, Ok(None));
    }
    let mut ids: Vec<Aggregate> = connections.iter().map(|c| c.id.into()).collect();
    ids.push(account.id.into());
    assert!(store.load(ids).await.expect("loads").is_empty());
}

fn token(account: &Account) -> TokenRecord {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(account.id.as_bytes());
    TokenRecord {
        hash: hash.map(|byte| !byte),
        tenant: TENANT,
        account: account.id,
        kind: TokenKind::Client,
        connection: None,
        source: None,
        return_url: None,
        created_at: START,
        expires_at: START.after(Duration::from_secs(60)),
        spent_at: None,
    }
}

fn account(loaded: &Loaded) -> &Account {
    match loaded {
        Loaded::Account(account) => account,
        Loaded::Collection(_) | Loaded::Connection(_) | Loaded::Source(_) => {
            panic!("{} is no account", loaded.id())
        }
    }
}
