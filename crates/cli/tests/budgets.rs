//! A source that counts every call and punishes each that is one too many: none is, and what it
//! allows is used.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use wellspring_sandbox::{Budget, BudgetWindow, Settings, Source, Tells, WindowCount};

use common::bank::Bank;
use common::child::Server;
use common::database::Database;
use common::{PATIENCE, World};

/// Both hold at once: the first fills the beginning of every ten seconds, the second stops the
/// next ten short of that.
const WINDOWS: [(u32, Duration); 2] = [
    (200, Duration::from_secs(10)),
    (350, Duration::from_secs(20)),
];
/// More than is called while the test looks.
const WORK: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_one_too_many_and_what_is_allowed_is_used() {
    let world = strict_world(&WINDOWS, Tells::RetryAfter);
    let server = Server::start(world.serve(None)).await.unwrap();

    feed(&world, &[&server]).await;
    // Well into the stretch that follows the longer window.
    calls(&world, 450).await;

    assert_within_budget(&world);
    world.tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_knows_afterwards_what_it_has_called() {
    let world = strict_world(&WINDOWS, Tells::RetryAfter);
    let mut server = Server::start(world.serve(None)).await.unwrap();

    feed(&world, &[&server]).await;
    // Once while it calls and once while nothing is left of what is allowed.
    for killed_after in [275, 340] {
        calls(&world, killed_after).await;
        server.kill().await.unwrap();
        (server, _) = server.restart().await.unwrap();
    }
    calls(&world, 450).await;

    assert_within_budget(&world);
    assert_all_counted(&world, &server).await;
    world.tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_keep_to_one_budget_also_when_one_of_them_is_killed() {
    let database = Database::create().await;
    let world = strict_world(&WINDOWS, Tells::RetryAfter);
    let one = Server::start(world.serve(Some(&database.url)))
        .await
        .unwrap();
    let other_folder = tempfile::tempdir().unwrap();
    let mut start = world.serve(Some(&database.url));
    start.arguments[2] = other_folder.path().join("data").display().to_string();
    let mut two = Server::start(start).await.unwrap();

    feed(&world, &[&one, &two]).await;
    calls(&world, 275).await;
    two.kill().await.unwrap();
    calls(&world, 450).await;

    assert_within_budget(&world);
    assert_all_counted(&world, &one).await;
    world.tasks.stop();
    drop(one);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_spend_of_a_source_is_learnt_from_its_good_answers() {
    const CALLS: u32 = 100;
    for tells in [Tells::RateLimit, Tells::XRateLimit] {
        let world = strict_world(&[(CALLS, Duration::from_secs(5))], tells);
        let server = Server::start(world.serve(None)).await.unwrap();
        let url = format!("{}/providers/gas", world.sandbox_url);
        for _ in 0..CALLS * 7 / 10 {
            let get = http::Method::GET;
            let answer = common::child::send(&world.client, get, &url, None, Default::default());
            assert_eq!(answer.await.unwrap().status, 200);
        }

        feed(&world, &[&server]).await;
        // More than is left of two stretches.
        calls(&world, u64::from(CALLS) * 5 / 2).await;

        let windows = windows(&world);
        assert_eq!(windows[0].violations, 0, "{windows:#?}");
        world.tasks.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_of_a_connector_keeps_to_the_windows_of_its_endpoint_also_after_a_kill() {
    const CONNECTIONS: usize = 12;
    let bank = Bank::start();
    let windows = [(40, None), (5, Some("login"))];
    let per = Duration::from_secs(5);
    let strict = windows.map(|(calls, endpoint)| BudgetWindow {
        calls,
        per,
        endpoint: endpoint.map(Into::into),
    });
    let budget = Budget {
        windows: strict.into(),
        block: Duration::from_secs(3),
        tells: Tells::RetryAfter,
    };
    let settings = Settings {
        budget: Some(budget),
        ..Settings::reliable()
    };
    bank.world.sandbox.set(Source::SandboxBank, settings);
    let path = bank.world.folder.path().join("sources/bank.yaml");
    let mut yaml = std::fs::read_to_string(&path).unwrap();
    yaml.push_str(
        "concurrency: 4\nbudget:\n  - { calls: 40, per: 5s }\n  \
         - { calls: 5, per: 5s, endpoint: login }\n  - { calls: 30, per: 5s, scope: connection }\n",
    );
    std::fs::write(&path, yaml).unwrap();
    let mut server = Server::start(bank.world.serve(None)).await.unwrap();
    let account = bank.account(&server).await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(bank.connect(&server, &account, "notices").await);
    }
    let called = bank
        .world
        .sandbox
        .wait_until(Source::SandboxBank, |counts| counts.total >= 30);
    tokio::time::timeout(PATIENCE, called).await.unwrap();
    server.kill().await.unwrap();
    (server, _) = server.restart().await.unwrap();

    let deadline = Instant::now() + PATIENCE;
    for connection in &connections {
        loop {
            let get = http::Method::GET;
            let shown = bank.call(&server, get, connection, Value::Null).await;
            if shown["state"] == "waiting" && shown["outcome"]["kind"] == "success" {
                break;
            }
            assert!(Instant::now() < deadline, "{shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let windows = bank.world.sandbox.windows(Source::SandboxBank);
    let broken = windows.iter().any(|window| window.violations > 0);
    assert!(!broken, "{windows:#?}");
    // There is always somebody who waits for a login.
    assert_eq!(windows[1].fullest, 5, "{windows:#?}");
    let called = bank.world.sandbox.counts(Source::SandboxBank).total;
    let path = "/v1/sources/bank/budgets";
    let shown = bank
        .call(&server, http::Method::GET, path, Value::Null)
        .await;
    // Calls are counted and no attempts, also those of the killed server.
    let spent = shown["spenders"][0]["calls"].as_u64().unwrap();
    assert!(spent >= called, "{called} calls: {shown}");
    let shown: Vec<_> = shown["windows"].as_array().unwrap().iter().collect();
    let of = |key: &str| shown.iter().map(|one| one[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("scope"), ["source", "source", "connection"]);
    assert_eq!(of("endpoint"), [Value::Null, json!("login"), Value::Null]);
    assert_eq!(shown[2]["used"], Value::Null);
    bank.world.tasks.stop();
}

/// Starts a world whose source `gas` is strict, and has the binary keep to what it allows.
fn strict_world(windows: &[(u32, Duration)], tells: Tells) -> Arc<World> {
    let world = World::start("{ interval: 50ms, rate: 1.5, max_delay: 500ms, max_retries: 100 }");
    let strict = windows.iter().map(|(calls, per)| BudgetWindow {
        calls: *calls,
        per: *per,
        endpoint: None,
    });
    let budget = Budget {
        windows: strict.collect(),
        block: Duration::from_secs(3),
        tells,
    };
    world.sandbox.set(
        Source::Gas,
        Settings {
            budget: Some(budget),
            ..Settings::reliable()
        },
    );
    let path = world.folder.path().join("sources/gas.yaml");
    let mut yaml = std::fs::read_to_string(&path).unwrap();
    yaml.push_str("concurrency: 4\nbudget:\n");
    for (calls, per) in windows {
        let seconds = per.as_secs();
        yaml.push_str(&format!("  - {{ calls: {calls}, per: {seconds}s }}\n"));
    }
    std::fs::write(&path, yaml).unwrap();
    Arc::new(world)
}

/// Leaves as much work as there is ever to do, in turn at each of the servers.
async fn feed(world: &Arc<World>, servers: &[&Server]) {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let server = servers[caller % servers.len()];
        let (world, url) = (Arc::clone(world), server.url("/collect"));
        let body = json!({"provider": "gas", "callbackUrl": world.callback}).to_string();
        callers.spawn(async move {
            for n in 0..WORK / CALLERS {
                let key = format!("work-{caller}-{n}");
                let deadline = Instant::now() + PATIENCE;
                loop {
                    let body = body.clone().into();
                    let post = http::Method::POST;
                    let sent =
                        common::child::send(&world.client, post, &url, Some(&key), body).await;
                    if sent.is_ok_and(|answer| answer.status == 202) {
                        break;
                    }
                    // Shards may be changing hands.
                    assert!(Instant::now() < deadline, "{key} is not taken");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
}

/// Waits until the source was called so often, or was called once too often.
async fn calls(world: &World, wanted: u64) {
    let enough = world.sandbox.wait_until(Source::Gas, |counts| {
        counts.total >= wanted || counts.over_budget > 0
    });
    let counts = || world.sandbox.counts(Source::Gas);
    let waited = tokio::time::timeout(PATIENCE, enough).await;
    assert!(waited.is_ok(), "not {wanted} calls: {:?}", counts());
    assert_eq!(counts().over_budget, 0, "{:#?}", windows(world));
}

/// Holds the source's count against what it allows.
fn assert_within_budget(world: &World) {
    let windows = windows(world);
    for window in &windows {
        assert_eq!(window.violations, 0, "{windows:#?}");
        let nearly = window.fullest * 100 >= window.window.calls * 95;
        assert!(nearly, "{windows:#?}");
    }
    // From its first call on there was work all the time; what a killed server had spent and not
    // called yet is lost.
    let allowed = u64::from(WINDOWS[1].0);
    let used = windows[1].stretches[0];
    assert!(
        used * 100 >= allowed * 95,
        "{used} of {allowed}: {windows:#?}"
    );
}

/// Holds what the servers have counted against the source's count: what was spent and not called
/// is counted as well, and nothing was called that is not.
async fn assert_all_counted(world: &World, server: &Server) {
    let called = world.sandbox.counts(Source::Gas).total;
    let url = server.url("/v1/sources/gas/budgets");
    let get = http::Method::GET;
    let sent = common::child::send(&world.client, get, &url, None, Default::default()).await;
    let shown: Value = serde_json::from_slice(&sent.unwrap().body).unwrap();
    let spenders = shown["spenders"].as_array().unwrap();
    assert_eq!(spenders.len(), 1, "{shown}");
    let spent = spenders[0]["calls"].as_u64().unwrap();
    assert!(spent >= called, "{called} calls: {shown}");
    assert_eq!(spenders[0]["share"], 100.0);
}

fn windows(world: &World) -> Vec<WindowCount> {
    world.sandbox.windows(Source::Gas)
}

const CALLERS: usize = 6;
