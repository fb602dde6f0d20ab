//! Connections from outside: fetched, asked and told of, whatever happens to the process.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::Instant;
use wellspring_sandbox::{Delivery, Receiver, VerifyingKey};

use common::bank::Bank;
use common::child::{self, Server};
use common::{PATIENCE, json as body_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_no_state_no_document_no_question_and_no_webhook() {
    let bank = Bank::start();
    let mut server = Server::start(bank.world.serve(None)).await.unwrap();
    bank.subscribe(&server, &["* /accounts/**"]).await;
    let account = bank.account(&server).await;
    let answers = BTreeMap::from([("*", "Smith")]);
    let mut connections = Vec::new();
    for n in 0..24 {
        let password = ["statements", "mfaquestion", "bills", "notices"][n % 4];
        let documents = [3, 3, 2, 1][n % 4];
        let connection = bank.connect(&server, &account, password).await;
        connections.push((connection, documents));
    }
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    for _ in 0..10 {
        for (connection, _) in &connections {
            bank.answer(&server, connection, &answers).await;
        }
        tokio::time::sleep(Duration::from_millis(u64::from(rng.next_u32() % 60))).await;
        server.kill().await.unwrap();
        let (restarted, _) = server.restart().await.unwrap();
        server = restarted;
        // A person wants something as soon as the server is back.
        let chosen = usize::try_from(rng.next_u32()).unwrap() % connections.len();
        let path = format!("{}/fetch", connections[chosen].0);
        bank.try_call(&server, Method::POST, &path, Value::Null)
            .await
            .ok();
    }
    let deadline = Instant::now() + PATIENCE;
    for (connection, _) in &connections {
        loop {
            bank.answer(&server, connection, &answers).await;
            let shown = bank
                .call(&server, Method::GET, connection, Value::Null)
                .await;
            if shown["state"] == "waiting" && shown["outcome"]["kind"] == "success" {
                break;
            }
            assert!(Instant::now() < deadline, "{shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    let log = bank.log(&server).await;
    let mut states: BTreeMap<String, String> = BTreeMap::new();
    let mut open = BTreeSet::new();
    for change in &log {
        let path = change["path"].as_str().unwrap();
        if let Some((connection, state)) = path.split_once("/state/") {
            states.insert(connection.to_owned(), state.to_owned());
        }
        if path.contains("/interactions/") {
            match change["verb"].as_str().unwrap() {
                "CREATED" => assert!(open.insert(path.to_owned()), "{path} came twice"),
                "DELETED" => assert!(open.remove(path), "{path} went twice"),
                verb => panic!("{verb} {path}"),
            }
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    for (connection, documents) in &connections {
        let path = connection.trim_start_matches("/v1");
        assert_eq!(
            states[path], "waiting",
            "the log ends where the connection is"
        );
        let listed = bank
            .call(
                &server,
                Method::GET,
                &format!("{connection}/documents"),
                Value::Null,
            )
            .await;
        let ids: Vec<&str> = listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|document| document["source_id"].as_str().unwrap())
            .collect();
        let distinct: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(
            (ids.len(), distinct.len()),
            (*documents, *documents),
            "{listed}"
        );
        check_bytes(&bank, &server, &listed["data"][0]).await;
    }

    // Everything that the log has was told, in order for each connection, under one id each.
    let ids: BTreeSet<String> = log.iter().map(|change| text(change, "id")).collect();
    let deadline = Instant::now() + PATIENCE;
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
    let order: BTreeMap<String, usize> = log
        .iter()
        .enumerate()
        .map(|(place, change)| (text(change, "id"), place))
        .collect();
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (id, change) in bank.told.lock().unwrap().iter() {
        assert_eq!(*id, text(change, "id"), "the message bears the change's id");
        if !seen.insert(id.clone()) {
            continue;
        }
        let line = text(change, "path")
            .split('/')
            .take(5)
            .collect::<Vec<_>>()
            .join("/");
        let place = order[id];
        let before = last.insert(line.clone(), place);
        assert!(
            before.is_none_or(|before| before < place),
            "{line} out of order"
        );
    }
    bank.world.tasks.stop();
}

#[tokio::test]
async fn an_open_question_survives_a_kill_and_judges_every_answer() {
    let bank = Bank::start();
    let mut server = Server::start(bank.world.serve(None)).await.unwrap();
    let account = bank.account(&server).await;
    let connection = bank.connect(&server, &account, "mfaquestion").await;
    let shown = bank.until_state(&server, &connection, "question").await;
    let open = text(&shown, "open_interaction_id");
    let path = format!("{connection}/interactions/{open}");
    let question = bank.call(&server, Method::GET, &path, Value::Null).await;
    let inputs = question["parts"].as_array().unwrap();
    let part = inputs
        .iter()
        .find(|part| part["kind"] == "text_input")
        .unwrap()["id"]
        .clone();

    server.kill().await.unwrap();
    let (restarted, _) = server.restart().await.unwrap();
    server = restarted;
    let again = bank.call(&server, Method::GET, &path, Value::Null).await;
    assert_eq!(again, question);
    let fetch = format!("{connection}/fetch");
    let (status, refused) = bank
        .try_call(&server, Method::POST, &fetch, Value::Null)
        .await
        .unwrap();
    assert_eq!(status, 409, "{refused}");

    let respond = format!("{path}/response");
    let answer = |value: &str| json!({"version": question["version"], "parts": [{"id": part, "value": value}]});
    let put = async |body: Value| {
        let put = bank.try_call(&server, Method::PUT, &respond, body);
        put.await.unwrap().0
    };
    let unknown =
        json!({"version": question["version"], "parts": [{"id": "nothing", "value": "x"}]});
    assert_eq!(put(unknown).await, 422);
    assert_eq!(put(answer("Smith")).await, 202);
    assert_eq!(
        put(answer("Smith")).await,
        200,
        "the same answer twice is one answer"
    );
    assert_eq!(
        put(answer("Jones")).await,
        409,
        "a different one is refused"
    );
    bank.until(&server, &connection, |shown| {
        shown["outcome"]["kind"] == "success"
    })
    .await;
    bank.world.tasks.stop();
}

#[tokio::test]
async fn an_erased_account_leaves_nothing_but_ids_in_the_log() {
    let bank = Bank::start();
    let server = Server::start(bank.world.serve(None)).await.unwrap();
    let account = bank.account(&server).await;
    let connection = bank.connect(&server, &account, "statements").await;
    bank.until(&server, &connection, |shown| {
        shown["outcome"]["kind"] == "success"
    })
    .await;
    let asked = bank.connect(&server, &account, "mfaquestion").await;
    bank.until_state(&server, &asked, "question").await;
    let listed = bank
        .call(
            &server,
            Method::GET,
            &format!("{connection}/documents"),
            Value::Null,
        )
        .await;
    let document = text(&listed["data"][0], "id");

    let path = format!("/v1/accounts/{account}");
    assert_eq!(
        bank.try_call(&server, Method::DELETE, &path, Value::Null)
            .await
            .unwrap()
            .0,
        204
    );
    for gone in [
        &path,
        &connection,
        &format!("/v1/documents/{document}/content"),
    ] {
        let (status, _) = bank
            .try_call(&server, Method::GET, gone, Value::Null)
            .await
            .unwrap();
        assert_eq!(status, 404, "{gone}");
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = bank.log(&server).await;
        let last = log.last().unwrap();
        if last["verb"] == "DELETED" && last["path"] == json!(format!("/accounts/{account}")) {
            let order: Vec<String> = log
                .iter()
                .filter(|change| change["verb"] == "DELETED")
                .map(|change| {
                    text(change, "path")
                        .split('/')
                        .nth_back(1)
                        .unwrap()
                        .to_owned()
                })
                .collect();
            assert_eq!(order.last().unwrap(), "accounts", "{order:?}");
            let (question, connection) = (
                order.iter().position(|kind| kind == "interactions"),
                order.iter().rposition(|kind| kind == "connections"),
            );
            assert!(question < connection, "{order:?}");
            break;
        }
        assert!(Instant::now() < deadline, "{last}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bank.world.tasks.stop();
}

#[tokio::test]
async fn a_subscriber_that_was_down_catches_up_in_order() {
    let bank = Bank::start();
    let server = Server::start(bank.world.serve(None)).await.unwrap();
    bank.subscribe(&server, &["UPDATE /accounts/*/connections/*/state/*"])
        .await;
    bank.endpoint.set_failure_rate(1.0);
    let account = bank.account(&server).await;
    let mut connections = Vec::new();
    for _ in 0..10 {
        connections.push(bank.connect(&server, &account, "statements").await);
    }
    for connection in &connections {
        bank.until(&server, connection, |shown| {
            shown["outcome"]["kind"] == "success"
        })
        .await;
    }
    assert!(bank.told.lock().unwrap().is_empty());
    bank.endpoint.set_failure_rate(0.0);
    let deadline = Instant::now() + PATIENCE;
    while bank.told.lock().unwrap().len() < 50 {
        assert!(
            Instant::now() < deadline,
            "{}",
            bank.told.lock().unwrap().len()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = bank.told.lock().unwrap().clone();
    for connection in &connections {
        let path = connection.trim_start_matches("/v1");
        let states: Vec<String> = told
            .iter()
            .map(|(_, change)| text(change, "path"))
            .filter_map(|told| Some(told.strip_prefix(path)?.rsplit('/').next()?.to_owned()))
            .collect();
        assert_eq!(
            states,
            ["created", "connecting", "uploading", "completed", "waiting"]
        );
    }
    bank.world.tasks.stop();
}

async fn check_bytes(bank: &Bank, server: &Server, document: &Value) {
    let url = server.url(&format!("/v1/documents/{}/content", text(document, "id")));
    let response = child::get(&bank.world.client, &url).await.unwrap();
    assert!(response.status.is_success());
    assert!(response.body.starts_with(b"%PDF-"), "{:?}", response.body);
    assert_eq!(document["size"], response.body.len());
}

fn text(value: &Value, member: &str) -> String {
    let text = value[member].as_str();
    text.unwrap_or_else(|| panic!("no {member} in {value}"))
        .to_owned()
}

#[tokio::test]
async fn no_secret_is_found_where_it_could_be_read() {
    const CANARY: &str = "canary-7f3a91c2-never-to-be-read";
    let bank = Bank::start();
    let mut start = bank.world.serve(None);
    for argument in &mut start.arguments {
        if argument == "warn" {
            *argument = "trace".to_owned();
        }
    }
    let start_log = start.log.clone();
    let mut server = Server::start(start).await.unwrap();
    bank.subscribe(&server, &["* /**"]).await;
    let account = bank.account(&server).await;

    // As a password, as one that replaces it, as an answer to a question, as a wrong credential answer.
    let refused = bank.connect(&server, &account, CANARY).await;
    bank.until_state(&server, &refused, "question").await;
    let canary = BTreeMap::from([("*", CANARY)]);
    bank.answer(&server, &refused, &canary).await;
    let asked = bank.connect(&server, &account, "mfaquestion").await;
    bank.until_state(&server, &asked, "question").await;
    bank.answer(&server, &asked, &canary).await;
    let replaced = bank.connect(&server, &account, "statements").await;
    bank.until(&server, &replaced, |shown| {
        shown["outcome"]["kind"] == "success"
    })
    .await;
    let body = json!({"credentials": {"username": "user", "password": CANARY}});
    let path = format!("{replaced}/credentials");
    bank.call(&server, Method::PUT, &path, body).await;
    for connection in [&refused, &asked, &replaced] {
        bank.until_state(&server, connection, "question").await;
        for part in ["", "/fetches", "/interactions"] {
            let path = format!("{connection}{part}");
            let shown = bank.call(&server, Method::GET, &path, Value::Null).await;
            assert!(!shown.to_string().contains(CANARY), "{path}: {shown}");
        }
    }
    let log = bank.log(&server).await;
    assert!(
        !json!(log).to_string().contains(CANARY),
        "the log of changes"
    );
    let told = bank.told.lock().unwrap().clone();
    assert!(
        !told.is_empty() && !format!("{told:?}").contains(CANARY),
        "webhooks"
    );
    let metrics = child::get(&bank.world.client, &server.url("/metrics"))
        .await
        .unwrap();
    assert!(
        !String::from_utf8_lossy(&metrics.body).contains(CANARY),
        "metrics"
    );
    let settings = child::get(&bank.world.client, &server.url("/v1/settings"))
        .await
        .unwrap();
    assert!(!body_of(&settings).to_string().contains(CANARY));

    // What a crash leaves on the disk, the write-ahead log included.
    server.kill().await.unwrap();
    let mut looked_at = 0;
    let mut folders = vec![bank.world.folder.path().to_owned(), start_log];
    while let Some(path) = folders.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            folders.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.is_file() {
            looked_at += 1;
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(CANARY.len())
                .any(|part| part == CANARY.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    assert!(looked_at > 3, "{looked_at}");
    bank.world.tasks.stop();
}

#[tokio::test]
async fn documents_reach_the_receiver_one_by_one_signed_and_whole() {
    let bank = Bank::start();
    let server = Server::start(bank.world.serve(None)).await.unwrap();
    let secret = bank
        .call(&server, Method::GET, "/v1/callback-secret", Value::Null)
        .await;
    let key: VerifyingKey = text(&secret, "secret").parse().unwrap();
    let taken: Arc<Mutex<Vec<Delivery>>> = Arc::default();
    let kept = Arc::clone(&taken);
    let receiver = Receiver::bind("127.0.0.1:0".parse().unwrap(), 6).unwrap();
    let receiver = receiver.on_delivery(Arc::new(move |delivery: &Delivery| {
        kept.lock().unwrap().push(delivery.clone());
    }));
    let url = format!("http://{}/documents", receiver.local_addr());
    let stop = bank.world.tasks.stop_token().clone();
    let serving = receiver.run(async move { stop.cancelled().await });
    bank.world.tasks.spawn("document receiver", serving);
    let settings = json!({"document_receiver": url});
    bank.call(&server, Method::PATCH, "/v1/settings", settings)
        .await;

    let account = bank.account(&server).await;
    let connection = bank.connect(&server, &account, "statements").await;
    let deadline = Instant::now() + PATIENCE;
    while taken.lock().unwrap().len() < 3 {
        assert!(
            Instant::now() < deadline,
            "{} of 3",
            taken.lock().unwrap().len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let deliveries = taken.lock().unwrap().clone();
    let mut ids = BTreeSet::new();
    for delivery in &deliveries {
        assert!(delivery.is_signed_by(&key));
        let parts = delivery.parts().await.unwrap();
        let [metadata, file] = &parts[..] else {
            panic!("{parts:?}");
        };
        assert_eq!((&metadata.name[..], &file.name[..]), ("metadata", "file"));
        let metadata: Value = serde_json::from_slice(&metadata.body).unwrap();
        assert_eq!(metadata["type"], "document.created");
        assert_eq!(metadata["document"]["size"], file.body.len());
        assert!(file.body.starts_with(b"%PDF-"));
        ids.insert(text(&metadata["document"], "id"));
    }
    let listed = bank
        .call(
            &server,
            Method::GET,
            &format!("{connection}/documents"),
            Value::Null,
        )
        .await;
    let listed = listed["data"].as_array().unwrap();
    assert_eq!(
        ids,
        listed.iter().map(|document| text(document, "id")).collect()
    );
    bank.world.tasks.stop();
}
