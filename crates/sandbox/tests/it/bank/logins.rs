use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::time::{Duration, advance};

use super::{assert_refused, call, documents, log_in, log_in_as, post, read, session, texts};
use crate::client::sandbox;

#[tokio::test]
async fn happy_passwords_log_in_and_have_their_kind_of_documents_every_time() {
    let (client, control, running) = sandbox(1);

    for _ in 0..2 {
        for (password, kinds) in [
            ("pass", ["statement"].repeat(3)),
            ("statements", ["statement"].repeat(3)),
            ("bills", ["bill"].repeat(2)),
            ("notices", ["notice"].to_vec()),
            ("nodocs", [].to_vec()),
            (
                "all",
                [
                    "statement",
                    "bill",
                    "statement",
                    "notice",
                    "bill",
                    "statement",
                ]
                .to_vec(),
            ),
        ] {
            let session = session(&client, password).await;
            let list = read(&client, &session, "/bank/documents").await.json();
            assert_eq!(texts(&list["documents"], "kind"), kinds, "{password}");
            assert_eq!(list["next_page"], json!(null));
            let account = read(&client, &session, "/bank/account").await.json();
            assert_eq!(account["holder"], "Sam Sample");
        }
    }

    let other = session(&client, "otheraccount").await;
    let account = read(&client, &other, "/bank/account").await.json();
    assert_eq!(account["id"], "4712");
    let usual = session(&client, "pass").await;
    assert_ne!(
        documents(&client, &other).await,
        documents(&client, &usual).await
    );
    assert_eq!(control.bank_counts().logins, 14);
    running.stop().await;
}

#[tokio::test]
async fn refused_logins_say_why_every_time() {
    let (client, control, running) = sandbox(1);

    for _ in 0..3 {
        for (password, status, code, retry_after) in [
            ("wrong", 401, "INVALID_CREDENTIALS", None),
            ("hunter2", 401, "INVALID_CREDENTIALS", None),
            ("down", 503, "INSTITUTION_DOWN", None),
            ("maintenance", 503, "MAINTENANCE", Some("60")),
            ("throttled", 429, "TOO_MANY_REQUESTS", Some("30")),
        ] {
            let answer = log_in(&client, password).await;
            assert_refused(&answer, status, code);
            assert_eq!(answer.header("retry-after"), retry_after, "{password}");
        }
    }
    let stranger = log_in_as(&client, "somebody", "pass").await;
    assert_refused(&stranger, 401, "INVALID_CREDENTIALS");
    for body in [
        json!({"username": "user"}),
        json!("user"),
        json!({"username": 1, "password": 2}),
    ] {
        assert_refused(
            &post(&client, "/bank/login", &body).await,
            400,
            "UNREADABLE",
        );
    }
    let huge = json!({"username": "user", "password": "p".repeat(70_000)});
    assert_refused(&post(&client, "/bank/login", &huge).await, 413, "TOO_LARGE");
    let got = client.get("/bank/login").await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(got.header("allow"), Some("POST"));
    assert_refused(&client.get("/bank/vault").await, 404, "NOT_FOUND");
    assert_eq!(client.get("/bankrupt").await.status, StatusCode::NOT_FOUND);
    assert_eq!(control.bank_counts().logins, 20);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_end_with_a_logout_an_hour_or_a_word_from_the_control() {
    let (client, control, running) = sandbox(1);
    let expired = async |session: &str| {
        for path in [
            "account",
            "documents",
            "documents/4711-statement-0001",
            "transactions",
        ] {
            let answer = read(&client, session, &format!("/bank/{path}")).await;
            assert_refused(&answer, 401, "SESSION_EXPIRED");
        }
    };

    let first = session(&client, "pass").await;
    let second = session(&client, "pass").await;
    assert_ne!(first, second);
    let bye = call(&client, Method::DELETE, &first, "/bank/session")
        .await
        .unwrap();
    assert_eq!(bye.status, StatusCode::NO_CONTENT);
    expired(&first).await;
    assert_eq!(documents(&client, &second).await.len(), 3);

    advance(Duration::from_secs(3_599)).await;
    assert_eq!(documents(&client, &second).await.len(), 3);
    advance(Duration::from_secs(1)).await;
    expired(&second).await;

    let third = session(&client, "pass").await;
    control.expire_sessions();
    expired(&third).await;
    let fourth = session(&client, "pass").await;
    client
        .put("/control/sandbox-bank", r#"{"expire_sessions": true}"#)
        .await;
    expired(&fourth).await;
    for nobody in ["", "0", &"0".repeat(32), &"+".repeat(32)] {
        expired(nobody).await;
    }
    assert_refused(&client.get("/bank/documents").await, 401, "SESSION_EXPIRED");
    running.stop().await;
}

#[tokio::test]
async fn one_seed_mints_the_same_sessions() {
    let (first, control, first_running) = sandbox(5);
    let (second, _, second_running) = sandbox(5);
    let (third, _, third_running) = sandbox(6);

    let minted = session(&first, "pass").await;

    assert_eq!(minted, session(&second, "bills").await);
    assert_ne!(minted, session(&third, "pass").await);
    control.reset();
    assert_eq!(minted, session(&first, "pass").await);
    first_running.stop().await;
    second_running.stop().await;
    third_running.stop().await;
}

#[tokio::test]
async fn the_banks_front_page_lists_the_passwords() {
    let (client, _, running) = sandbox(1);

    let page = client.get("/bank").await;

    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let text = std::str::from_utf8(&page.body).unwrap();
    assert!(text.contains("<code>onetimeauthmultiple</code>"));
    running.stop().await;
}
