//! The binary as an application and an operator meet it.

mod common;

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use wellspring_sandbox::Outage;

use common::child::{self, KEY, Server};
use common::{World, json as body, program, request_id};

const FAST: &str = "{ interval: 30ms, rate: 1.5, max_delay: 200ms, max_retries: 3 }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_collection_goes_all_the_way_and_its_callback_verifies() {
    let world = World::start(FAST);
    world
        .sandbox
        .update(wellspring_sandbox::Source::Gas, |gas| {
            gas.failure_rate = 0.0
        });
    let server = Server::start(world.serve(None)).await.unwrap();
    let head = body(
        &child::get(&world.client, &server.url("/v1/changes/head"))
            .await
            .unwrap(),
    );
    let accepted = world.post(&server, "gas", Some("once")).await.unwrap();
    let id = request_id(&accepted);
    assert_eq!(
        body(&accepted)["statusUrl"],
        server.url(&format!("/collect/{id}"))
    );
    let shown = world.until_status(&server, &id, "delivered").await;
    let stages: Vec<&str> = shown["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["collect", "deliver"]);

    let again = world.post(&server, "gas", Some("once")).await.unwrap();
    assert_eq!(request_id(&again), id, "the key makes it the same request");
    let other = world.post(&server, "internet", Some("once")).await.unwrap();
    assert_eq!(other.status, 422, "the same key for another request");

    let secret = body(
        &child::get(&world.client, &server.url("/v1/callback-secret"))
            .await
            .unwrap(),
    );
    let verifier = standardwebhooks::Webhook::new(secret["secret"].as_str().unwrap()).unwrap();
    let (webhook_id, record) = world.receiver.records().into_iter().next().unwrap();
    assert_eq!((record.requests, record.accepted), (1, 1));
    let raw = world.receiver.bodies(&webhook_id).remove(0);
    assert!(
        String::from_utf8_lossy(&raw).contains("\"amount\":30.00"),
        "the data is passed on byte for byte"
    );
    let delivered: serde_json::Value = serde_json::from_slice(&raw).unwrap();
    assert_eq!(delivered["data"]["requestId"], id);
    let signed = verifier.sign(&webhook_id, 1_800_000_000, &raw).unwrap();
    assert!(signed.starts_with("v1,"), "{signed}");

    let url = format!(
        "/v1/changes?after={}&pattern=UPDATED%20/collections/*/status/*",
        head["cursor"].as_str().unwrap()
    );
    let changes = body(&child::get(&world.client, &server.url(&url)).await.unwrap());
    let paths: Vec<&str> = changes["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["path"].as_str().unwrap())
        .collect();
    let status = |status: &str| format!("/collections/{id}/status/{status}");
    assert_eq!(
        paths,
        [
            status("requested"),
            status("collected"),
            status("delivered")
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spent_retries_are_told_parked_listed_and_can_be_resumed() {
    let world = World::start(FAST);
    world
        .sandbox
        .update(wellspring_sandbox::Source::Gas, |gas| {
            gas.outage = Some(Outage::ServerError)
        });
    let server = Server::start(world.serve(None)).await.unwrap();
    let id = request_id(&world.post(&server, "gas", None).await.unwrap());
    let shown = world.until_status(&server, &id, "failed").await;
    assert_eq!(shown["error"]["class"], "connection_failure");
    world
        .receiver
        .wait_until(|counts| counts.accepted == 1)
        .await;
    let (first, _) = world.receiver.records().into_iter().next().unwrap();
    let message: serde_json::Value =
        serde_json::from_slice(&world.receiver.bodies(&first)[0]).unwrap();
    assert_eq!(message["type"], "collection.failed");
    assert_eq!(message["data"]["error"]["code"], "http_500");
    let listed = body(
        &child::get(&world.client, &server.url("/collect?status=failed"))
            .await
            .unwrap(),
    );
    assert_eq!(listed["data"][0]["requestId"], id);

    world.sandbox.reset();
    world
        .sandbox
        .update(wellspring_sandbox::Source::Gas, |gas| {
            gas.failure_rate = 0.0
        });
    let url = server.url(&format!("/collect/{id}/retry"));
    let resumed = child::send(&world.client, http::Method::POST, &url, None, "".into())
        .await
        .unwrap();
    assert_eq!(
        resumed.status,
        202,
        "{}",
        String::from_utf8_lossy(&resumed.body)
    );
    world.until_status(&server, &id, "delivered").await;
    assert_eq!(
        world.receiver.records().len(),
        2,
        "the success is a new message"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_folder_refuses_and_commands_go_through_the_first() {
    let world = World::start(FAST);
    let mut server = Server::start(world.serve(None)).await.unwrap();
    let run = |arguments: &[&str]| {
        let data = world.folder.path().join("data");
        let output = Command::new(program())
            .args(arguments)
            .args(["--data-dir", &data.display().to_string()])
            .env_remove("WELLSPRING_DATABASE_URL")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, _, error) = run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("WS0001") && error.contains("in use"),
        "{error}"
    );

    let (code, key, error) = run(&["key", "create", "--tenant", "second"]);
    assert_eq!(code, Some(0), "{error}");
    let (_, listed, _) = run(&["key", "list", "--json"]);
    assert!(
        listed.contains("second") && !listed.contains(&key),
        "a key is shown once: {listed}"
    );
    let list = |key: String| {
        let url = server.url("/collect");
        let client = world.client.clone();
        async move {
            let mut headers = http::HeaderMap::new();
            headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
            let policy = wellspring_outbound::AddressPolicy::unrestricted();
            let target = wellspring_outbound::Target::parse(&url, &policy).unwrap();
            let request = wellspring_outbound::Request {
                method: http::Method::GET,
                target,
                headers,
                body: bytes::Bytes::new(),
                deadline: Duration::from_secs(5),
                max_body: 1 << 20,
            };
            client.send(request).await.unwrap().status
        }
    };
    assert_eq!(list(key.clone()).await, 200, "it works at once");
    let id = serde_json::from_str::<serde_json::Value>(&listed).unwrap()["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["tenant"] == "second")
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (code, _, error) = run(&["key", "revoke", &id]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(list(key).await, 401, "and then no longer");

    let copy = world.folder.path().join("copy.db");
    let (code, _, error) = run(&["backup", &copy.display().to_string()]);
    assert_eq!(code, Some(0), "{error}");
    let (code, found, _) = run(&["doctor"]);
    assert_eq!(code, Some(0), "{found}");
    assert!(found.contains("SQLite answers"), "{found}");
    let (code, schema, error) = run(&["migrate", "--json"]);
    assert_eq!(
        (code, schema.as_str()),
        (Some(0), "{\"schema\":12}"),
        "{error}"
    );

    server.kill().await.unwrap();
    let (code, _, error) = run(&["restore", &copy.display().to_string()]);
    assert_eq!(
        code,
        Some(1),
        "a folder with a database is not written over"
    );
    assert!(error.contains("exists"), "{error}");
    let (code, listed, error) = run(&["key", "list"]);
    assert_eq!(code, Some(0), "a free folder is opened directly: {error}");
    assert!(listed.contains("second"), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_goes_on_and_old_cursors_are_told() {
    let world = World::start(FAST);
    let mut server = Server::start(world.serve(None)).await.unwrap();
    let id = request_id(&world.post(&server, "internet", None).await.unwrap());
    world
        .receiver
        .wait_until(|counts| counts.accepted >= 1)
        .await;
    let cursor = body(
        &child::get(&world.client, &server.url("/v1/changes/head"))
            .await
            .unwrap(),
    );
    let copy = world.folder.path().join("copy.db");
    let data = world.folder.path().join("data");
    let run = |arguments: &[&str], data: &std::path::Path| {
        let output = Command::new(program())
            .args(arguments)
            .args(["--data-dir", &data.display().to_string()])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    run(&["backup", &copy.display().to_string()], &data);
    server.kill().await.unwrap();
    let key = std::fs::read(data.join("master.key")).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    run(&["restore", &copy.display().to_string()], &data);
    std::fs::write(data.join("master.key"), key).unwrap();

    let (server, _) = server.restart().await.unwrap();
    let shown = world.show(&server, &id).await;
    assert_eq!(shown["requestId"], json!(id));
    let url = server.url(&format!(
        "/v1/changes?after={}",
        cursor["cursor"].as_str().unwrap()
    ));
    let refused = child::get(&world.client, &url).await.unwrap();
    assert_eq!(
        (refused.status.as_u16(), body(&refused)["code"].as_str()),
        (410, Some("cursor_unknown"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_refuses_new_work_and_goes_on_with_the_old() {
    let world = World::start(FAST);
    let server = Server::start(world.serve(None)).await.unwrap();
    world
        .sandbox
        .update(wellspring_sandbox::Source::Gas, |gas| {
            gas.failure_rate = 0.0;
            gas.latency = Duration::from_millis(300);
        });
    let id = request_id(&world.post(&server, "gas", None).await.unwrap());
    let blocker =
        rusqlite::Connection::open(world.folder.path().join("data/wellspring.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = world.post(&server, "gas", None).await.unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains_key("retry-after"));
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    loop {
        let ready = child::get(&world.client, &server.url("/readyz"))
            .await
            .unwrap();
        if ready.status == 503 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "readyz says so");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let live = child::get(&world.client, &server.url("/livez"))
        .await
        .unwrap();
    assert_eq!(live.status, 200);
    blocker.execute_batch("ROLLBACK").unwrap();
    world.until_status(&server, &id, "delivered").await;
    let accepted = world.post(&server, "gas", None).await.unwrap();
    let id = request_id(&accepted);
    world.until_status(&server, &id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_are_taken_over_as_their_files_change_and_a_broken_one_changes_nothing() {
    let world = World::start(FAST);
    let server = Server::start(world.serve(None)).await.unwrap();
    let unknown = world.post(&server, "water", None).await.unwrap();
    assert_eq!(
        (
            unknown.status.as_u16(),
            body(&unknown)["errors"][0]["pointer"].as_str()
        ),
        (422, Some("/provider"))
    );
    let sources = world.folder.path().join("sources");
    let gas = std::fs::read_to_string(sources.join("gas.yaml")).unwrap();
    std::fs::write(sources.join("broken.yaml"), "name: [").unwrap();
    std::fs::remove_file(sources.join("broken.yaml")).unwrap();
    std::fs::write(
        sources.join("water.yaml"),
        gas.replace("name: gas", "name: water"),
    )
    .unwrap();
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    loop {
        let answer = world.post(&server, "water", None).await.unwrap();
        if answer.status == 202 {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_refused_and_nothing_accepted_is_dropped() {
    let world = World::start(FAST);
    world
        .sandbox
        .update(wellspring_sandbox::Source::Gas, |gas| {
            gas.failure_rate = 0.0;
            gas.latency = Duration::from_millis(500);
        });
    let config = world.folder.path().join("wellspring.toml");
    std::fs::write(&config, "[limits]\nbacklog = 20\n").unwrap();
    let mut start = world.serve(None);
    start
        .arguments
        .extend(["--config".to_owned(), config.display().to_string()]);
    let server = Server::start(start).await.unwrap();
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for _ in 0..60 {
        let response = world.post(&server, "gas", None).await.unwrap();
        if response.status == 202 {
            accepted.push(request_id(&response));
        } else {
            assert_eq!(response.status, 503);
            assert!(response.headers.contains_key("retry-after"));
            assert_eq!(body(&response)["code"], "overloaded");
            refused += 1;
        }
    }
    assert!(
        refused > 0 && accepted.len() >= 20,
        "{refused} refused, {} accepted",
        accepted.len()
    );
    for id in &accepted {
        world.until_status(&server, id, "delivered").await;
    }
    assert_eq!(
        world.post(&server, "gas", None).await.unwrap().status,
        202,
        "and then there is room again"
    );
}

#[tokio::test]
async fn wrong_configuration_is_refused_with_its_key_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("wellspring.toml");
    let run = |arguments: &[&str]| {
        let output = Command::new(program())
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    std::fs::write(&config, "retries = 3\n").unwrap();
    let (code, error) = run(&["serve"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("retries") && error.contains("wellspring.toml"),
        "{error}"
    );
    std::fs::write(&config, "").unwrap();

    std::fs::create_dir_all(folder.path().join("wellspring-data/sources")).unwrap();
    let source = folder.path().join("wellspring-data/sources/gas.yaml");
    std::fs::write(
        &source,
        "name: gas\nconnector: http_json\nurl: ftp://x\ncolour: red\n",
    )
    .unwrap();
    let (code, error) = run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("WS0005") && error.contains("gas.yaml") && error.contains("colour"),
        "{error}"
    );
    std::fs::remove_file(source).unwrap();

    let (code, error) = run(&["serve", "--nonsense"]);
    assert_eq!(code, Some(2), "{error}");
    let (code, error) = run(&["key", "list", "--database", "postgres://127.0.0.1:1/x"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("WS0006"), "{error}");
    assert!(!KEY.is_empty());
}
