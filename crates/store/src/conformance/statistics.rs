//! Fetches that ended, added up, and kept longer than themselves.

use std::time::Duration;

use wellspring_core::connection::{FetchStatus, Input};
use wellspring_core::reliability::{Day, FetchStatistics, FetchTally};
use wellspring_core::{Actor, Connection, Error, ErrorClass, TenantId, Timestamp};
use wellspring_engine::{Backend, FetchScope, Sweep};

use super::{Harness, Node, START, TENANT};

const DAY: Duration = Duration::from_secs(86_400);

/// Ended fetches are counted once each, in their day, for their connection, account and source.
pub async fn fetches_that_ended_are_added_up(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let other = TenantId::from_bytes([2; 16]);
    let account = node.account(START, TENANT, None).await;
    let neighbour = node.account(START, TENANT, None).await;
    let stranger = node.account(START, other, None).await;
    let first = node.connected(START, &account).await;
    let second = node.connected(START, &account).await;
    let theirs = node.connected(START, &neighbour).await;
    let elsewhere = node.connected(START, &stranger).await;

    let first = fetched(&mut node, &first, (START, 7), Ending::Whole(2)).await;
    let first = fetched(&mut node, &first, (START, 7), Ending::Whole(3)).await;
    let later = START.after(DAY * 2);
    let first = fetched(&mut node, &first, (later, 90), Ending::Part).await;
    let throttled = Ending::Failed(ErrorClass::RateLimitExceeded);
    fetched(&mut node, &second, (later, 1), throttled).await;
    fetched(&mut node, &theirs, (START, 7), Ending::Whole(1)).await;
    fetched(&mut node, &elsewhere, (START, 7), Ending::Whole(1)).await;
    // One that goes on is in no statistics.
    let again = node
        .moved(&first, later, Input::FetchAsked(Actor::Operator))
        .await;
    node.fetching(&again, later).await;

    let store = harness.open().await;
    let today = Day::of(START);
    let read = async |tenant, of: FetchScope, since| {
        let rows = store.fetch_statistics(tenant, of, since).await;
        rows.expect("reads")
    };
    let of_first = read(TENANT, FetchScope::Connection(first.id), today).await;
    let told: Vec<_> = of_first.iter().map(told).collect();
    let whole = (today, FetchStatus::Success, [2, 2, 5, 0, 14_000]);
    let part = (Day(today.0 + 2), FetchStatus::Partial, [1, 1, 0, 1, 90_000]);
    assert_eq!(told, [whole, part]);
    let since = read(TENANT, FetchScope::Connection(first.id), Day(today.0 + 1)).await;
    assert_eq!(since, of_first[1..]);
    let none = read(other, FetchScope::Connection(first.id), today).await;
    assert_eq!(none, [], "walls");

    let source = || FetchScope::Source("gas".parse().expect("a name"));
    let sums = async |tenant, of| FetchStatistics::of(read(tenant, of, today).await).all;
    let of_account = sums(TENANT, FetchScope::Account(account.id)).await;
    assert_eq!((of_account.success, of_account.partial), (2, 1));
    assert_eq!((of_account.rate_limited, of_account.total()), (1, 4));
    let of_source = sums(TENANT, source()).await;
    assert_eq!((of_source.success, of_source.total()), (3, 5));
    assert_eq!(sums(other, source()).await.total(), 1);
    let nowhere = FetchScope::Source("nowhere".parse().expect("a name"));
    assert_eq!(sums(TENANT, nowhere).await.total(), 0);

    let deleted = store.connection(TENANT, second.id).await.expect("reads");
    let deleted = deleted.expect("is there");
    let (_, batch) = node.connection_step(&deleted, later, Input::DeleteAsked(Actor::Operator));
    node.commit(batch).await;
    let of_account = sums(TENANT, FetchScope::Account(account.id)).await;
    assert_eq!(
        of_account.total(),
        3,
        "what is gone is the account's no more"
    );
    assert_eq!(
        sums(TENANT, source()).await,
        of_source,
        "and the source's as before"
    );
}

/// The fetch log goes after its time, what it added up to stays for two years.
pub async fn statistics_outlive_the_fetch_log(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let account = node.account(START, TENANT, None).await;
    let mut connections = Vec::new();
    for _ in 0..5 {
        let connection = node.connected(START, &account).await;
        connections.push(fetched(&mut node, &connection, (START, 1), Ending::Whole(1)).await);
    }
    let young = fetched(
        &mut node,
        &connections[0],
        (START.after(DAY), 1),
        Ending::Whole(1),
    )
    .await;
    let store = harness.open().await;
    let counted = async || {
        let of = FetchScope::Account(account.id);
        let rows = store.fetch_statistics(TENANT, of, Day(0)).await;
        FetchStatistics::of(rows.expect("reads")).all.total()
    };
    swept(store.as_ref(), START.after(DAY * 60)).await;
    let fetches = store.fetches(young.id, None, 10).await;
    assert_eq!(fetches, Ok(Vec::new()));
    assert_eq!(counted().await, 6);
    swept(store.as_ref(), Day::of(START).start().after(DAY * 731)).await;
    assert_eq!(counted().await, 6);
    swept(store.as_ref(), Day::of(START).start().after(DAY * 732)).await;
    assert_eq!(counted().await, 1);
}

enum Ending {
    Whole(u32),
    Part,
    Failed(ErrorClass),
}

/// Has a connection fetched from `at` for so many seconds, whatever it rested for.
async fn fetched(
    node: &mut Node,
    connection: &Connection,
    (at, seconds): (Timestamp, u64),
    ending: Ending,
) -> Connection {
    let ended = at.after(Duration::from_secs(seconds));
    let asked = node
        .moved(connection, at, Input::FetchAsked(Actor::Operator))
        .await;
    let connecting = node.fetching(&asked, at).await;
    let error = |class| Error {
        class,
        code: "http_500".to_owned(),
        message: "It does not want to".to_owned(),
    };
    let (documents, records, end) = match ending {
        Ending::Whole(records) => (
            Vec::new(),
            records,
            Input::Fetched {
                started: at,
                partial: None,
            },
        ),
        Ending::Part => {
            let partial = Some(error(ErrorClass::ProductNotAvailable));
            let documents = vec![node.document(&connecting, at, 1)];
            (
                documents,
                0,
                Input::Fetched {
                    started: at,
                    partial,
                },
            )
        }
        Ending::Failed(class) => {
            let failed = Input::FetchFailed {
                started: at,
                error: error(class),
                retry_at: None,
                follow: wellspring_core::Action::Default,
                probe: false,
            };
            (Vec::new(), 0, failed)
        }
    };
    let items = Input::ItemsCame { documents, records };
    let uploading = node.moved(&connecting, at, items).await;
    let rested = node.moved(&uploading, ended, end).await;
    let fetch = uploading.fetch().expect("is under way").id;
    let view = node.store.fetch(rested.id, fetch).await;
    let view = view.expect("reads").expect("is kept");
    let attempt = view.attempts.last().expect("was made");
    assert_eq!(
        (attempt.documents, attempt.records),
        (view.record.documents, view.record.records)
    );
    assert_eq!(attempt.next_at, rested.next().map(|next| next.at));
    assert_eq!(view.record.next_attempt_at, attempt.next_at);
    rested
}

fn told(tally: &FetchTally) -> (Day, FetchStatus, [u64; 5]) {
    let sums = [
        tally.fetches,
        tally.attempts,
        tally.records,
        tally.documents,
        tally.duration_ms,
    ];
    (tally.day, tally.status, sums)
}

async fn swept(store: &dyn Backend, now: Timestamp) {
    let sweep = Sweep {
        now,
        tenants: Default::default(),
        rows: 3,
    };
    for _ in 0..100 {
        if store.sweep(sweep.clone()).await.expect("sweeps").done {
            return;
        }
    }
    panic!("a sweep ends");
}
