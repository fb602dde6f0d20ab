//! Several servers on one PostgreSQL.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::Instant;
use wellspring_sandbox::Source;

use common::bank::Bank;
use common::child::{Server, get};
use common::database::Database;
use common::{World, request_id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_node_accepted_is_finished_by_the_other_within_ten_seconds() {
    let database = Database::create().await;
    let world = World::start("{ interval: 50ms, rate: 1.5, max_delay: 500ms, max_retries: 100 }");
    world
        .sandbox
        .update(Source::Gas, |gas| gas.latency = Duration::from_millis(100));
    let one = Server::start(world.serve(Some(&database.url)))
        .await
        .unwrap();
    let other_folder =
        World::start("{ interval: 50ms, rate: 1.5, max_delay: 500ms, max_retries: 100 }");
    let mut start = world.serve(Some(&database.url));
    start.arguments[2] = other_folder
        .folder
        .path()
        .join("data")
        .display()
        .to_string();
    let mut two = Server::start(start).await.unwrap();

    let mut accepted = BTreeSet::new();
    for n in 0..300 {
        let server = if n % 2 == 0 { &one } else { &two };
        let deadline = Instant::now() + common::PATIENCE;
        let id = loop {
            let response = world
                .post(server, "gas", Some(&format!("n{n}")))
                .await
                .unwrap();
            if response.status == 202 {
                break request_id(&response);
            }
            assert!(
                Instant::now() < deadline,
                "{}",
                String::from_utf8_lossy(&response.body)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        accepted.insert(id);
    }
    two.kill().await.unwrap();
    let killed = Instant::now();
    let mut left = accepted.clone();
    while !left.is_empty() {
        let told: BTreeSet<String> = world
            .receiver
            .records()
            .into_iter()
            .filter(|(_, record)| record.accepted > 0)
            .filter_map(|(id, _)| Some(format!("col_{}", id.split('_').nth(1)?)))
            .collect();
        left = accepted.difference(&told).cloned().collect();
        assert!(
            killed.elapsed() < Duration::from_secs(10),
            "{} of {} are late",
            left.len(),
            accepted.len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for id in &accepted {
        world.until_status(&one, id, "delivered").await;
    }
    for (id, record) in world.receiver.records() {
        assert!(record.accepted >= 1, "{id}");
    }
    drop(one);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_is_away_refuses_new_work_and_loses_nothing_of_the_old() {
    let database = Database::create().await;
    let world = World::start("{ interval: 50ms, rate: 1.5, max_delay: 500ms, max_retries: 100 }");
    world.sandbox.update(Source::Gas, |gas| {
        gas.failure_rate = 0.0;
        gas.latency = Duration::from_millis(500);
    });
    let server = Server::start(world.serve(Some(&database.url)))
        .await
        .unwrap();
    let mut accepted = Vec::new();
    for _ in 0..20 {
        accepted.push(request_id(&world.post(&server, "gas", None).await.unwrap()));
    }
    database.close().await;
    let refused = world.post(&server, "gas", None).await.unwrap();
    assert_eq!(
        refused.status,
        503,
        "{}",
        String::from_utf8_lossy(&refused.body)
    );
    assert!(refused.headers.contains_key("retry-after"));
    let deadline = Instant::now() + common::PATIENCE;
    while get(&world.client, &server.url("/readyz"))
        .await
        .unwrap()
        .status
        != 503
    {
        assert!(Instant::now() < deadline, "readyz says so");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    database.open().await;
    for id in &accepted {
        world.until_status(&server, id, "delivered").await;
    }
    let deadline = Instant::now() + common::PATIENCE;
    while world.post(&server, "gas", None).await.unwrap().status != 202 {
        assert!(Instant::now() < deadline, "new work is taken again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(server);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_restarted_goes_on_through_a_rotation_of_the_master_key() {
    let database = Database::create().await;
    let world = World::start("{ interval: 50ms, rate: 1.5, max_delay: 500ms, max_retries: 100 }");
    let old = Server::start(world.serve(Some(&database.url)))
        .await
        .unwrap();
    let file = world.folder.path().join("made");
    std::fs::write(&file, "a5".repeat(32)).unwrap();
    let file = file.display().to_string();
    let rotate = |key: &str, step: &[&str]| {
        let mut command = std::process::Command::new(common::program());
        command.args(["key", "rotate-master"]).args(step);
        command.env("WELLSPRING_DATABASE_URL", &database.url);
        command.env("WELLSPRING_MASTER_KEY", key.repeat(32));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let (done, said) = rotate("5a", &["--new-key-file", &file]);
    assert!(done, "{said}");

    let other = World::start("{ interval: 50ms, rate: 1.5, max_delay: 500ms, max_retries: 100 }");
    let start = |key: &str| {
        let mut start = other.serve(Some(&database.url));
        let given = ("WELLSPRING_MASTER_KEY".to_owned(), key.repeat(32));
        start.environment.push(given);
        start
    };
    let new = Server::start(start("a5")).await.unwrap();
    let (done, said) = rotate("5a", &["--finish"]);
    assert!(!done && said.contains("lock out"), "{said}");
    let (done, said) = rotate("a5", &["--finish"]);
    assert!(done, "{said}");

    for server in [&old, &new] {
        let accepted = request_id(&world.post(server, "internet", None).await.unwrap());
        world.until_status(server, &accepted, "delivered").await;
    }
    let refused = rotate("5a", &["--finish"]);
    assert!(!refused.0 && refused.1.contains("WS0002"), "{}", refused.1);
    drop((old, new));
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_questions_and_webhooks_of_a_killed_node_go_on_at_the_other() {
    let database = Database::create().await;
    let bank = Bank::start();
    let mut one = Server::start(bank.world.serve(Some(&database.url)))
        .await
        .unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut start = bank.world.serve(Some(&database.url));
    start.arguments[2] = other.path().join("data").display().to_string();
    let two = Server::start(start).await.unwrap();
    // Until both have their shards, each of them may say so.
    let deadline = Instant::now() + common::PATIENCE;
    while bank.ready(&two).await != 200 || bank.ready(&one).await != 200 {
        assert!(Instant::now() < deadline, "not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bank.subscribe(&one, &["* /accounts/**"]).await;
    let mut connections = Vec::new();
    for n in 0..16 {
        let (server, password) = if n % 2 == 0 {
            (&one, "statements")
        } else {
            (&two, "mfaquestion")
        };
        let account = bank.account_in_time(server).await;
        connections.push(bank.connect_in_time(server, &account, password).await);
    }
    one.kill().await.unwrap();
    let answers = BTreeMap::from([("*", "Smith")]);
    let deadline = Instant::now() + common::PATIENCE;
    for connection in &connections {
        loop {
            bank.answer(&two, connection, &answers).await;
            let shown = bank.try_call(&two, Method::GET, connection, Value::Null);
            let (status, shown) = shown.await.unwrap();
            if status == 200 && shown["outcome"]["kind"] == "success" {
                break;
            }
            assert!(Instant::now() < deadline, "{connection}: {shown}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let ids: BTreeSet<String> = bank
        .log(&two)
        .await
        .iter()
        .map(|change| change["id"].as_str().unwrap().to_owned())
        .collect();
    loop {
        let told: BTreeSet<String> = bank
            .told
            .lock()
            .unwrap()
            .iter()
            .map(|(id, _)| id.clone())
            .collect();
        if ids.is_subset(&told) {
            break;
        }
        let missing: Vec<_> = ids.difference(&told).take(3).collect();
        assert!(Instant::now() < deadline, "not told: {missing:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bank.world.tasks.stop();
    drop(database);
}
