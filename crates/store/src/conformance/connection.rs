//! Connections: every state reads back, with interactions, fetches, secrets and items.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::connection::{
    Action, Connection, FetchStatus, Input, SecretWrite, Slot, State,
};
use wellspring_core::interaction::Closed;
use wellspring_core::{Actor, ConnectionState, Error, ErrorClass, Sealed, TenantId};
use wellspring_engine::{
    Backend, Before, CommitError, ConnectionWrite, InteractionView, Loaded, Record, RunInputs,
    Write,
};

use super::steps::{question, sealed};
use super::{Harness, Node, START, TENANT};

/// A fetch with a question, items, a failure and a good end; after each step a crash loses nothing.
pub async fn the_life_of_a_connection_reads_back(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let at = |n: u64| START.after(Duration::from_secs(n));
    let account = node.account(START, TENANT, None).await;
    let created = node.connected(START, &account).await;
    let id = created.id;
    let store = harness.open().await;
    reads_back(store.as_ref(), &created).await;
    let inputs = RunInputs {
        credentials: Some(sealed(1)),
        ..RunInputs::default()
    };
    assert_eq!(store.run_inputs(id).await, Ok(inputs.clone()));

    let connecting = node.fetching(&created, at(1)).await;
    reads_back(store.as_ref(), &connecting).await;
    let fetch = connecting.fetch().expect("is under way").id;
    let view = store.fetch(id, fetch).await.expect("reads").expect("kept");
    assert_eq!(view.record.status, FetchStatus::Running);
    assert!(view.attempts.is_empty());

    let asked = node.asked(&connecting, at(2)).await;
    reads_back(store.as_ref(), &asked).await;
    let interaction = asked.open_interaction().expect("is open");
    let open = InteractionView {
        id: interaction,
        connection: id,
        question: question(),
        created_at: at(2),
        expires_at: Some(at(302)),
        closed: None,
        hash: None,
    };
    assert_eq!(
        store.interaction(id, interaction).await,
        Ok(Some(open.clone()))
    );
    let with_resume = RunInputs {
        resume: Some(sealed(2)),
        ..inputs
    };
    assert_eq!(store.run_inputs(id).await, Ok(with_resume.clone()));

    let answer = Input::QuestionAnswered {
        interaction,
        answer: sealed(3),
        hash: [5; 32],
        action: Action::Continue,
        actor: Actor::Person(account.id),
    };
    let answered = node.moved(&asked, at(3), answer).await;
    reads_back(store.as_ref(), &answered).await;
    let closed = InteractionView {
        closed: Some((Closed::Answered, at(3))),
        hash: Some([5; 32]),
        ..open
    };
    assert_eq!(store.interactions(id, 10).await, Ok(vec![closed]));
    let with_answer = RunInputs {
        answer: Some(sealed(3)),
        ..with_resume
    };
    assert_eq!(store.run_inputs(id).await, Ok(with_answer.clone()));

    let going_on = node.fetching(&answered, at(4)).await;
    let document = node.document(&going_on, at(4), 1);
    let items = Input::ItemsCame {
        documents: vec![document.clone()],
        records: 2,
    };
    let (step, mut batch) = node.connection_step(&going_on, at(4), items);
    let with = write_of(&mut batch);
    for (key, byte) in [("a", 1), ("b", 2), ("a", 3)] {
        let record = Record {
            key: key.to_owned(),
            hash: [byte; 32],
            body: sealed(byte),
        };
        with.records.push(("bills".to_owned(), record));
    }
    for (stream, cursor) in [("bills", "1"), ("readings", "\u{2713}"), ("bills", "2")] {
        with.cursors.push((stream.to_owned(), cursor.to_owned()));
    }
    node.commit(batch).await;
    let uploading = step.next.expect("is there");
    assert_eq!(uploading.state(), ConnectionState::Uploading);
    reads_back(store.as_ref(), &uploading).await;
    let cursors = [("bills", "2"), ("readings", "\u{2713}")];
    let cursors = cursors.map(|(stream, cursor)| (stream.to_owned(), cursor.to_owned()));
    let with_cursors = RunInputs {
        cursors: cursors.into(),
        ..with_answer
    };
    assert_eq!(store.run_inputs(id).await, Ok(with_cursors));
    let read = store.document(TENANT, document.id).await;
    assert_eq!(read, Ok(Some(document)));

    let error = Error {
        class: ErrorClass::ConnectionFailure,
        code: "http_500".to_owned(),
        message: "the source answered 500 \"\u{2014}\"".to_owned(),
    };
    let failed = Input::FetchFailed {
        started: at(4),
        error: error.clone(),
        retry_at: None,
        follow: wellspring_core::Action::Default,
        probe: false,
    };
    let again = node.moved(&uploading, at(6), failed).await;
    reads_back(store.as_ref(), &again).await;
    let fetched = Input::Fetched {
        started: at(7),
        partial: Some(error.clone()),
    };
    let waiting = node.moved(&again, at(8), fetched).await;
    assert!(matches!(waiting.state, State::Waiting { .. }));
    reads_back(store.as_ref(), &waiting).await;

    let view = store.fetch(id, fetch).await.expect("reads").expect("kept");
    let record = &view.record;
    assert_eq!(
        (record.status, record.started_at, record.ended_at),
        (FetchStatus::Partial, at(1), Some(at(8)))
    );
    assert_eq!((record.documents, record.records), (1, 2));
    assert_eq!(record.error, Some(error.clone()));
    assert_eq!(record.outcome, waiting.outcome.as_ref().map(|one| one.kind));
    let errors: Vec<_> = view.attempts.iter().map(|one| one.error.clone()).collect();
    assert_eq!(errors, [None, Some(error.clone()), Some(error)]);
    let numbers: Vec<u16> = view.attempts.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(view.attempts[1].duration, Duration::from_secs(2));
    assert_eq!(
        (view.attempts[1].fetch, view.attempts[1].at),
        (fetch, at(4))
    );
    let elsewhere = wellspring_core::ConnectionId::from_bytes([9; 16]);
    assert_eq!(store.fetch(elsewhere, fetch).await, Ok(None));
    assert_eq!(store.interaction(elsewhere, interaction).await, Ok(None));
    let inputs = store.run_inputs(id).await.expect("reads");
    assert_eq!((inputs.resume, inputs.answer), (None, None));
}

/// Lists go newest first, in pages, and each account and connection has its own.
pub async fn connections_and_their_fetches_are_listed(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let at = |n: u64| START.after(Duration::from_secs(n));
    let account = node.account(START, TENANT, None).await;
    let other = node.account(START, TENANT, None).await;
    let mut connections = Vec::new();
    for n in 0..3 {
        connections.push(node.connected(at(n), &account).await);
        node.connected(at(n), &other).await;
    }
    connections.reverse();
    let store = harness.open().await;
    let list = async |before, limit| {
        let rows = store.connections(TENANT, account.id, before, limit).await;
        rows.expect("reads")
    };
    assert_eq!(list(None, 10).await, connections);
    assert_eq!(list(None, 2).await, connections[..2]);
    assert_eq!(list(Some(connections[1].id), 10).await, connections[2..]);
    let elsewhere = TenantId::from_bytes([2; 16]);
    let walls = store.connections(elsewhere, account.id, None, 10).await;
    assert_eq!(walls, Ok(Vec::new()));
    let wall = store.connection(elsewhere, connections[0].id).await;
    assert_eq!(wall, Ok(None));

    let mut fetched = connections[0].clone();
    let (mut fetches, mut interactions) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let connecting = node.fetching(&fetched, at(10 * (n + 1))).await;
        fetches.push(connecting.fetch().expect("is under way").id);
        let asked = node.asked(&connecting, at(10 * (n + 1))).await;
        interactions.push(asked.open_interaction().expect("is open"));
        let rested = node
            .moved(&asked, at(10 * (n + 1)), Input::QuestionExpired)
            .await;
        let ask = Input::FetchAsked(Actor::Operator);
        fetched = node.moved(&rested, at(10 * (n + 1) + 1), ask).await;
    }
    fetches.reverse();
    interactions.reverse();
    let id = fetched.id;
    let list = async |before, limit| {
        let rows = store.fetches(id, before, limit).await.expect("reads");
        rows.iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, fetches);
    assert_eq!(list(None, 2).await, fetches[..2]);
    assert_eq!(list(Some(fetches[1]), 10).await, fetches[2..]);
    let rows = store.interactions(id, 2).await.expect("reads");
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    assert_eq!(ids, interactions[..2]);
    assert_eq!(
        rows[0].closed.map(|(reason, _)| reason),
        Some(Closed::Expired)
    );
}

/// What is put stays until it is moved or deleted; what moves leaves nothing where it was.
pub async fn secrets_are_kept_in_their_slots(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let beside = node.connected(START, &account).await;
    let mut connection = node.connected(START, &account).await;
    let (new, old) = (Slot::Credentials, Slot::PreviousCredentials);
    let put = |slot, byte| SecretWrite::Put(slot, sealed(byte));
    let steps: [(Vec<SecretWrite>, [Option<u8>; 3]); 10] = [
        (vec![put(new, 2)], [Some(2), None, None]),
        (vec![SecretWrite::Move(new, old)], [None, None, None]),
        (vec![SecretWrite::Move(old, new)], [Some(2), None, None]),
        (
            vec![SecretWrite::Move(old, new)],
            // Nothing was there before the repair, so nothing is there after it.
            [None, None, None],
        ),
        (
            vec![put(new, 3), SecretWrite::Move(new, old), put(new, 4)],
            [Some(4), None, None],
        ),
        (vec![SecretWrite::Move(old, new)], [Some(3), None, None]),
        (
            vec![put(Slot::Resume, 5), put(Slot::Answer, 6)],
            [Some(3), Some(5), Some(6)],
        ),
        (
            vec![SecretWrite::Delete(new), SecretWrite::Delete(new)],
            [None, Some(5), Some(6)],
        ),
        (
            vec![put(old, 7), SecretWrite::Move(new, old)],
            [None, Some(5), Some(6)],
        ),
        (
            vec![
                SecretWrite::Move(old, new),
                SecretWrite::Delete(Slot::Resume),
            ],
            [None, None, Some(6)],
        ),
    ];
    for (n, (secrets, expected)) in steps.into_iter().enumerate() {
        let (step, mut batch) = node.connection_step(&connection, START, Input::Checkpointed);
        write_of(&mut batch).secrets = secrets;
        node.commit(batch).await;
        connection = step.next.expect("is there");
        let inputs = harness.open().await.run_inputs(connection.id).await;
        let inputs = inputs.expect("reads");
        let found = [inputs.credentials, inputs.resume, inputs.answer];
        let byte = |sealed: Sealed| sealed.as_bytes()[0];
        assert_eq!(found.map(|sealed| sealed.map(byte)), expected, "step {n}");
    }
    let inputs = node.store.run_inputs(beside.id).await.expect("reads");
    assert_eq!(inputs.credentials, Some(sealed(1)), "its own");
}

/// The version is asserted, and what came with the step is not written either.
pub async fn a_stale_connection_writes_nothing(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let connection = node.connected(START, &account).await;
    let id = connection.id;
    for (before, delete) in [
        (Before::Live(connection.version + 1), false),
        (Before::Live(connection.version - 1), false),
        (Before::Live(connection.version + 1), true),
        (Before::New, false),
        (Before::Finished(connection.version), false),
    ] {
        let input = if delete {
            Input::DeleteAsked(Actor::Operator)
        } else {
            let document = node.document(&connection, START, 1);
            Input::Uploaded(Box::new(document), Actor::Operator)
        };
        let (_, mut batch) = node.connection_step(&connection, START, input);
        let write = write_of(&mut batch);
        write.before = before;
        write
            .secrets
            .push(SecretWrite::Put(Slot::Credentials, sealed(9)));
        write.cursors.push(("bills".to_owned(), "9".to_owned()));
        assert_eq!(
            node.store.commit(Arc::new(batch)).await,
            Err(CommitError::Stale(id.into())),
            "{before:?}"
        );
        reads_back(node.store.as_ref(), &connection).await;
        let inputs = RunInputs {
            credentials: Some(sealed(1)),
            ..RunInputs::default()
        };
        assert_eq!(node.store.run_inputs(id).await, Ok(inputs));
        let known = node.store.known_document(id, None, Some([1; 32])).await;
        assert_eq!(known, Ok(None));
    }

    // Steps of one aggregate may share a batch; each assumes what the one before left.
    let (first, mut batch) = node.connection_step(&connection, START, Input::Checkpointed);
    let between = first.next.expect("is there");
    let (second, mut more) = node.connection_step(&between, START, Input::Checkpointed);
    more.writes.insert(0, batch.writes.remove(0));
    node.commit(more).await;
    let last = second.next.expect("is there");
    reads_back(node.store.as_ref(), &last).await;
    let gone = Input::DeleteAsked(Actor::Operator);
    let (_, batch) = node.connection_step(&last, START, gone.clone());
    node.commit(batch).await;
    let (_, batch) = node.connection_step(&last, START, gone);
    let outcome = node.store.commit(Arc::new(batch)).await;
    assert_eq!(outcome, Err(CommitError::Stale(id.into())), "it is gone");
}

/// Documents are the account's: they stay when their connection goes.
pub async fn a_deleted_connection_leaves_its_documents(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let one = super::account::full(&mut node).await;
    let (gone, stays) = (&one.connections[0], &one.connections[1]);
    let input = Input::DeleteAsked(Actor::Operator);
    let (_, batch) = node.connection_step(gone, START, input);
    node.commit(batch).await;

    let store = harness.open().await;
    assert_eq!(store.connection(TENANT, gone.id).await, Ok(None));
    assert!(
        store
            .load(vec![gone.id.into()])
            .await
            .expect("loads")
            .is_empty()
    );
    assert_eq!(store.run_inputs(gone.id).await, Ok(RunInputs::default()));
    assert_eq!(store.interactions(gone.id, 10).await, Ok(Vec::new()));
    assert_eq!(store.fetches(gone.id, None, 10).await, Ok(Vec::new()));
    let of = (None, Some(gone.id));
    let documents = store.documents(TENANT, of, None, 10).await;
    assert_eq!(documents.expect("reads").len(), 1);
    assert_eq!(store.garbage(10).await, Ok(Vec::new()));
    reads_back(store.as_ref(), stays).await;
    assert_eq!(
        store.interactions(stays.id, 10).await.expect("reads").len(),
        1
    );
    assert_eq!(
        store
            .fetches(stays.id, None, 10)
            .await
            .expect("reads")
            .len(),
        1
    );
    let inputs = store.run_inputs(stays.id).await.expect("reads");
    assert_eq!((inputs.resume, inputs.cursors.len()), (Some(sealed(2)), 2));
    assert_eq!(store.children(one.account.id, 10).await, Ok(vec![stays.id]));
}

async fn reads_back(store: &dyn Backend, connection: &Connection) {
    let id = connection.id;
    let read = store.connection(connection.tenant, id).await;
    assert_eq!(read, Ok(Some(connection.clone())));
    let rows = store.load(vec![id.into()]).await.expect("loads");
    match rows.as_slice() {
        [Loaded::Connection(loaded)] => assert_eq!(**loaded, *connection),
        rows => panic!("{rows:?}"),
    }
}

fn write_of(batch: &mut wellspring_engine::Batch) -> &mut ConnectionWrite {
    match batch.writes.first_mut() {
        Some(Write::Connection(write)) => write,
        write => panic!("{write:?}"),
    }
}
