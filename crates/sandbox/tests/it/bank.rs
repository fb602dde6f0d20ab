//! The bank, as a connector and a person meet it.

mod challenges;
mod consent;
mod controls;
mod documents;
mod logins;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Answer, Client};

async fn log_in(client: &Client, password: &str) -> Answer {
    log_in_as(client, "user", password).await
}

async fn log_in_as(client: &Client, username: &str, password: &str) -> Answer {
    let body = json!({ "username": username, "password": password });
    post(client, "/bank/login", &body).await
}

/// Logs in with a password that asks nothing, and returns the session.
async fn session(client: &Client, password: &str) -> String {
    let answer = log_in(client, password).await;
    assert_eq!(answer.status, StatusCode::OK, "{password}");
    logged_in(&answer)
}

/// Returns the session of an answer that says that the login is complete.
fn logged_in(answer: &Answer) -> String {
    let session = session_of(answer);
    assert_eq!(answer.json(), json!({ "session": session, "next": null }));
    session
}

fn session_of(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    answer.json()["session"].as_str().unwrap().to_owned()
}

fn challenge(answer: &Answer) -> Value {
    let challenge = answer.json()["challenge"].clone();
    assert!(challenge.is_object(), "{:?}", answer.body);
    challenge
}

/// Returns why a challenge is posed again, if it says so.
fn reason(answer: &Answer) -> Option<String> {
    let part = &challenge(answer)["parts"][0];
    (part["id"] == "reason").then(|| part["text"].as_str().unwrap().to_owned())
}

async fn respond(client: &Client, session: &str, answers: Value) -> Answer {
    let body = json!({ "session": session, "answers": answers });
    post(client, "/bank/challenge", &body).await
}

async fn read(client: &Client, session: &str, path: &str) -> Answer {
    call(client, Method::GET, session, path).await.unwrap()
}

async fn call(
    client: &Client,
    method: Method,
    session: &str,
    path: &str,
) -> anyhow::Result<Answer> {
    let authorization = format!("Bearer {session}");
    let headers = [("authorization", authorization.as_str())];
    client.send(method, path, &headers, "").await
}

async fn post(client: &Client, path: &str, body: &Value) -> Answer {
    client
        .send(Method::POST, path, &[], &body.to_string())
        .await
        .unwrap()
}

/// Returns the ids of all documents, whatever the number of pages.
async fn documents(client: &Client, session: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut page = json!(1);
    while !page.is_null() {
        let path = format!("/bank/documents?page={page}");
        let list = read(client, session, &path).await.json();
        found.extend(texts(&list["documents"], "id"));
        page = list["next_page"].clone();
    }
    found
}

fn texts(list: &Value, field: &str) -> Vec<String> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|entry| entry[field].as_str().unwrap().to_owned())
        .collect()
}

/// Requires that `answer` is a refusal with this status and code.
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{:?}", answer.body);
    let error = &answer.json()["error"];
    assert_eq!(error["code"], code);
    assert!(error["type"].is_string());
    assert!(!error["message"].as_str().unwrap().is_empty());
}
