//! What a client of one account can make the server do, and how often.

use std::time::Duration;

use http::Method;
use serde_json::json;
use wellspring_engine::TokenKind;
use wellspring_server::Page;

use crate::lab::{Lab, Reply, request};
use crate::notifications::put;

#[tokio::test]
async fn an_account_gets_so_many_tests_an_hour_whoever_asks() {
    let lab = Lab::new().await;
    let (account, other) = (lab.account().await, lab.account().await);
    let token = lab
        .token(&account, TokenKind::Client, Page::default())
        .await;
    let email = json!({"email": "ann@example.com"});
    put(&lab, &format!("{account}/contact"), email).await;
    let body = r#"{"type": "account_update", "channels": ["email"]}"#;
    let test = async |bearer: &str, account: &str, key: &str| {
        let id = account.rsplit('/').next().unwrap();
        let path = format!("/api/reliability/notifications/send-test?account={id}");
        let mut request = request(bearer, Method::POST, &path, body);
        let headers = request.headers_mut();
        headers.insert("idempotency-key", key.parse().unwrap());
        lab.send(request).await
    };
    for key in ["k1", "k2", "k3", "k4", "k5"] {
        assert_eq!(test(&token, &account, key).await.status, 200);
    }
    let refused = test(&token, &account, "k6").await;
    let problem = refused.problem(429, "too_many_tests");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&seconds), "{problem}");
    assert_eq!(problem["retry_after"], seconds);
    let again = test(&token, &account, "k5").await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let by_key = test(&lab.key, &account, "k6").await;
    by_key.problem(429, "too_many_tests");
    assert_eq!(lab.recorder.taken().len(), 5);
    assert_eq!(test(&lab.key, &other, "k6").await.status, 200);

    lab.clock.forward(Duration::from_secs(3_600));
    assert_eq!(test(&lab.key, &account, "k6").await.status, 200);
}

#[tokio::test]
async fn a_client_changes_where_its_person_is_reached_so_often_a_day() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    let token = lab
        .token(&account, TokenKind::Client, Page::default())
        .await;
    let path = format!("{account}/contact");
    let set = async |bearer: &str, number: u32, language: &str| -> Reply {
        let body = json!({"phone": format!("+49151123456{number:02}"), "language": language});
        lab.send(request(bearer, Method::PUT, &path, body.to_string()))
            .await
    };
    for number in 0..10 {
        assert_eq!(set(&token, number, "de").await.status, 200);
    }
    let refused = set(&token, 10, "de").await;
    refused.problem(429, "too_many_changes");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(set(&token, 9, "en").await.status, 200, "the same number");
    let shown = lab.get(&path).await.json();
    assert_eq!(shown["phone"], "+4915112345609");
    assert_eq!(set(&lab.key, 10, "de").await.status, 200, "the tenant's");
}
