//! People are told from outside: once when something is the matter, once when it is over.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use wellspring_sandbox::{Delivery, Receiver, VerifyingKey};

use common::PATIENCE;
use common::bank::Bank;
use common::child::Server;

type Heard = Arc<Mutex<Vec<(String, Value)>>>;

#[tokio::test]
async fn a_person_is_told_once_of_an_issue_and_once_of_its_end_over_a_kill() {
    let bank = Bank::start();
    let mut server = Server::start(bank.world.serve(None)).await.unwrap();
    let secret = bank
        .call(&server, Method::GET, "/v1/callback-secret", Value::Null)
        .await;
    let key: VerifyingKey = secret["secret"].as_str().unwrap().parse().unwrap();
    let (url, heard) = listen(&bank, key);
    let account = bank.account(&server).await;
    let contact = json!({"name": "Ada", "webhook": url, "language": "de"});
    bank.call(
        &server,
        Method::PUT,
        &format!("/v1/accounts/{account}/contact"),
        contact,
    )
    .await;

    let connection = bank.connect(&server, &account, "down").await;
    bank.until_state(&server, &connection, "error").await;
    until(&heard, 1).await;
    server.kill().await.unwrap();
    let (server, _) = server.restart().await.unwrap();
    let credentials = json!({"credentials": {"username": "user", "password": "statements"}});
    let path = format!("{connection}/credentials");
    bank.call(&server, Method::PUT, &path, credentials).await;
    bank.call(
        &server,
        Method::POST,
        &format!("{connection}/fetch"),
        Value::Null,
    )
    .await;
    bank.until_state(&server, &connection, "waiting").await;
    until(&heard, 2).await;

    let heard = heard.lock().unwrap().clone();
    let of = |place: usize, key: &str| heard[place].1["data"]["events"][0][key].clone();
    let types: Vec<_> = heard.iter().map(|(_, message)| &message["type"]).collect();
    assert_eq!(types, ["notification.plaid_connection_issue"; 2]);
    assert_eq!(
        (of(0, "state"), of(1, "state")),
        (json!("opened"), json!("mended"))
    );
    assert_eq!(of(0, "reason"), "failing");
    assert_eq!(heard[1].1["data"]["subject"], "bank ist wieder verbunden");
    assert_ne!(heard[0].0, heard[1].0);
    let listed = bank
        .call(
            &server,
            Method::GET,
            &format!("/v1/accounts/{account}/notifications?unread_only=true"),
            Value::Null,
        )
        .await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    bank.world.tasks.stop();
}

/// Starts what takes the tenant's notifications; keeps ids and messages.
fn listen(bank: &Bank, key: VerifyingKey) -> (String, Heard) {
    let heard = Heard::default();
    let kept = Arc::clone(&heard);
    let receiver = Receiver::bind("127.0.0.1:0".parse().unwrap(), 7).unwrap();
    let receiver = receiver.on_delivery(Arc::new(move |delivery: &Delivery| {
        if delivery.status.is_success() {
            assert!(delivery.is_signed_by(&key));
            let id = delivery.webhook_id.clone().unwrap();
            let message = serde_json::from_slice(&delivery.body).unwrap();
            kept.lock().unwrap().push((id, message));
        }
    }));
    let url = format!("http://{}/notifications", receiver.local_addr());
    let stop = bank.world.tasks.stop_token().clone();
    let serving = receiver.run(async move { stop.cancelled().await });
    bank.world.tasks.spawn("receiver of notifications", serving);
    (url, heard)
}

async fn until(heard: &Heard, many: usize) {
    let deadline = Instant::now() + PATIENCE;
    while heard.lock().unwrap().len() < many {
        assert!(Instant::now() < deadline, "{:?}", heard.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
