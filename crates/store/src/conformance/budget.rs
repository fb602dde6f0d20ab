//! What was spent of budgets.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::budget::{Ask, BudgetName, Correction, Spender, Spends, Spent, Window, hour};
use wellspring_core::{TenantId, Timestamp};
use wellspring_engine::{Backend, Batch, CommitError, Sweep};

use super::{Harness, Node, START, TENANT};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A commit grants what is left, first come first served, and what it granted is there after a
/// crash; a commit that fails has spent nothing.
pub async fn budgets_are_spent_once_and_survive_a_crash(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let one = [ask(&[0], 3)];
    let both = [ask(&[0], 1), ask(&[0, 1], 1), ask(&[0, 1], 4)];

    let first = spend(&mut node, START, &[("bank", 6)], &one).await;
    assert_eq!(first.granted, [3]);
    let budgets = [("bank", 6), ("bank/login", 20)];
    let second = spend(&mut node, START, &budgets, &both).await;
    assert_eq!(second.granted, [1, 1, 1], "six a minute, not nine");
    assert_eq!(used(&second, 0), [6]);
    assert_eq!(used(&second, 1), [2]);
    let third = spend(&mut node, START, &budgets, &both).await;
    assert_eq!(third.granted, [0, 0, 0]);

    let mut stale = batch(&mut node, START, &[("bank/login", 20)], &one);
    stale.epochs[0].1 += 1;
    let outcome = node.store.commit(Arc::new(stale)).await;
    assert_eq!(outcome, Err(CommitError::Fenced));

    let store = harness.open().await;
    let names = ["none", "bank/login", "bank"].map(BudgetName::new).to_vec();
    let kept = store.budgets(START, names).await.expect("reads");
    assert_eq!(used(&kept, 0), [0_u32; 0]);
    assert_eq!(used(&kept, 1), [2]);
    assert_eq!(used(&kept, 2), [6]);
    let denied = spend(&mut node, START, &[("bank", 6)], &one).await;
    assert_eq!(denied.granted, [0]);
    let more = spend(&mut node, START, &[("bank", 8)], &one).await;
    assert_eq!(more.granted, [2], "two more since the file was changed");
}

/// What a source says of its rest is kept with its budget, and nothing is granted meanwhile.
pub async fn a_source_that_wants_no_calls_gets_none(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let one = [ask(&[0], 1)];
    let mut batch = batch(&mut node, START, &[("bank", 6)], &[]);
    batch.spends.blocks = vec![(0, START.after(HOUR))];
    let told = node.store.commit(Arc::new(batch)).await.expect("commits");
    let until = told.ledgers[0].blocked_until();
    assert_eq!(until, Some(told.now.after(HOUR)));

    let denied = spend(&mut node, START, &[("bank", 6)], &one).await;
    assert_eq!(denied.granted, [0]);
    let store = harness.open().await;
    let names = vec![BudgetName::new("bank")];
    let kept = store.budgets(START, names).await.expect("reads");
    assert_eq!(kept.ledgers[0].blocked_until(), until);
}

/// What a source has left by its own count is granted and no more, and is known after a crash.
pub async fn a_source_that_counts_more_than_is_known_is_believed(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let budgets = [("bank", 6)];
    let mut told = batch(&mut node, START, &budgets, &[ask(&[0], 1), ask(&[0], 4)]);
    let said = Correction {
        of: None,
        left: 3,
        until: START.after(HOUR),
        counted_until: START,
        on_way: 0,
    };
    told.spends.corrections = vec![(0, said)];
    let told = node.store.commit(Arc::new(told)).await.expect("commits");
    assert_eq!(told.granted, [1, 2]);

    let store = harness.open().await;
    let names = vec![BudgetName::new("bank")];
    let mut kept = store.budgets(START, names).await.expect("reads");
    let now = kept.now.after(MINUTE * 2);
    assert_eq!(used(&kept, 0), [3]);
    assert_eq!(kept.ledgers[0].room(now), 0, "though its minute is over");
    assert_eq!(kept.ledgers[0].room(now.after(HOUR)), 6);
}

/// The row of a budget goes once nothing in it counts.
pub async fn what_is_spent_is_forgotten_when_it_no_longer_counts(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let spent = spend(&mut node, START, &[("bank", 6)], &[ask(&[0], 2)]).await;
    let names = || vec![BudgetName::new("bank")];

    swept(node.store.as_ref(), spent.now).await;
    let kept = node.store.budgets(START, names()).await.expect("reads");
    assert_eq!(used(&kept, 0), [2]);
    swept(node.store.as_ref(), spent.now.after(HOUR * 26)).await;
    let kept = node.store.budgets(START, names()).await.expect("reads");
    assert_eq!(used(&kept, 0), [0_u32; 0]);
}

/// What is granted counts once for its tenant, from however many budgets it is spent; what is
/// not granted, or is not committed, counts for nobody.
pub async fn what_is_granted_is_counted_for_who_got_it(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let by = |ask, source: &str, tenant| Ask {
        by: Some(Spender {
            source: source.parse().expect("a name"),
            tenant,
        }),
        ..ask
    };
    let bank = |of: &[usize], calls, tenant| by(ask(of, calls), "bank", tenant);
    let budgets = [("bank", 7), ("bank/login", 20), ("gas", 9)];

    let asks = [
        bank(&[0, 1], 1, OTHER),
        by(ask(&[2], 2), "gas", TENANT),
        bank(&[0], 1, TENANT),
        ask(&[0], 1),
        bank(&[0, 1], 1, TENANT),
    ];
    let first = spend(&mut node, START, &budgets, &asks).await;
    assert_eq!(first.granted, [1, 2, 1, 1, 1]);
    let asks = [bank(&[0, 1], 5, OTHER), bank(&[0, 1], 1, TENANT)];
    let second = spend(&mut node, START, &budgets, &asks).await;
    assert_eq!(second.granted, [3, 0], "seven a minute");
    let third = spend(&mut node, START, &budgets, &asks).await;
    assert_eq!(third.granted, [0, 0]);
    let mut stale = batch(
        &mut node,
        START,
        &budgets,
        &[by(ask(&[2], 2), "gas", TENANT)],
    );
    stale.epochs[0].1 += 1;
    let outcome = node.store.commit(Arc::new(stale)).await;
    assert_eq!(outcome, Err(CommitError::Fenced));

    let store = harness.open().await;
    let began = hour(first.now);
    let read = async |source: &str, since| {
        let source = source.parse().expect("a name");
        store.spenders(source, since).await.expect("reads")
    };
    assert_eq!(read("bank", began).await, [(OTHER, 4), (TENANT, 2)]);
    assert_eq!(read("gas", began).await, [(TENANT, 2)]);
    assert_eq!(read("ban", began).await, []);
    assert_eq!(read("bank", began.after(HOUR * 2)).await, []);
}

/// Hours in which calls were spent are kept until they ended 31 days ago.
pub async fn who_spent_is_forgotten_after_a_month(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let source = || "bank".parse().expect("a name");
    let mut asked = ask(&[0], 2);
    asked.by = Some(Spender {
        source: source(),
        tenant: TENANT,
    });
    let spent = spend(&mut node, START, &[("bank", 6)], &[asked]).await;
    let (began, store) = (hour(spent.now), node.store.as_ref());

    let ended = began.after(HOUR * (31 * 24 + 1));
    swept(store, ended).await;
    assert_eq!(store.spenders(source(), began).await, Ok(vec![(TENANT, 2)]));
    swept(store, ended.after(Duration::from_millis(1))).await;
    assert_eq!(store.spenders(source(), began).await, Ok(Vec::new()));
}

const OTHER: TenantId = TenantId::from_bytes([2; 16]);

fn ask(of: &[usize], calls: u32) -> Ask {
    Ask {
        of: of.to_vec(),
        calls,
        good_for: Duration::from_millis(300),
        by: None,
    }
}

/// Spends from budgets of so many calls a minute.
async fn spend(node: &mut Node, at: Timestamp, budgets: &[(&str, u32)], asks: &[Ask]) -> Spent {
    let batch = batch(node, at, budgets, asks);
    node.store.commit(Arc::new(batch)).await.expect("commits")
}

fn batch(node: &mut Node, at: Timestamp, budgets: &[(&str, u32)], asks: &[Ask]) -> Batch {
    let budgets = budgets.iter().map(|(name, calls)| {
        let window = Window {
            calls: *calls,
            per: MINUTE,
        };
        (BudgetName::new(*name), Arc::from([window]))
    });
    let shard = node.leases[0].shard;
    Batch {
        spends: Spends {
            at,
            budgets: budgets.collect(),
            asks: asks.to_vec(),
            blocks: Vec::new(),
            corrections: Vec::new(),
        },
        ..node.batch_in(shard)
    }
}

fn used(spent: &Spent, place: usize) -> Vec<u32> {
    let standings = spent.ledgers[place].standings(spent.now);
    standings.iter().map(|standing| standing.used).collect()
}

async fn swept(store: &dyn Backend, now: Timestamp) {
    let sweep = || Sweep {
        now,
        tenants: std::collections::BTreeMap::new(),
        rows: 100,
    };
    while !store.sweep(sweep()).await.expect("sweeps").done {}
}
