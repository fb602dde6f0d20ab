//! What a client of one account can make the server do, and how often.

use std::time::Duration;

use futures_util::StreamExt;
use http::Method;
use serde_json::json;
use tower::ServiceExt;
use wellspring_engine::{NoticeResult, TokenKind};
use wellspring_server::Page;

use crate::lab::{Lab, Reply, eventually, request};
use crate::notifications::{notify, put};
use crate::people::say;

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

#[tokio::test]
async fn a_number_that_said_stop_gets_nothing_until_it_says_start() {
    let lab = Lab::new().await;
    let number = json!({"phone": "+4915112345678"});
    let ann = lab.account().await;
    put(&lab, &format!("{ann}/contact"), number.clone()).await;
    // What waits for its time when the number says STOP does not go either.
    let daily = json!({"digest": {"daily": "00:00"}, "types": {"account_update": {"sms": true}}});
    put(&lab, &format!("{ann}/preferences"), daily).await;
    let update = json!({"type": "account_update", "channels": ["sms"]});
    let held = notify(&lab, &ann, update).await;
    let held = format!("{ann}/notifications/{}", held["id"].as_str().unwrap());
    say(&lab, "+4915112345678", "STOP", "SM1").await;
    let shown = put(
        &lab,
        &format!("{ann}/preferences"),
        json!({"channels": {"sms": true}}),
    )
    .await;
    assert_eq!(
        (&shown["sms_stopped"], &shown["channels"]["sms"]),
        (&json!(true), &json!(false))
    );
    put(&lab, &format!("{ann}/preferences"), shown).await;
    let later = lab.account().await;
    put(&lab, &format!("{later}/contact"), number).await;
    let alert = json!({"type": "security_alert", "channels": ["sms"]});
    for account in [&ann, &later] {
        let sent = notify(&lab, account, alert.clone()).await;
        assert_eq!(sent["deliveries"], json!([]));
    }
    lab.clock.forward(Duration::from_secs(2 * 86_400));
    notify(&lab, &ann, alert.clone()).await;
    let way = async || lab.get(&held).await.json()["deliveries"][0].clone();
    eventually(async || way().await["status"] != "planned").await;
    let (status, reason) = (&way().await["status"], &way().await["reason"]);
    assert_eq!((status, reason), (&json!("dropped"), &json!("stopped")));
    assert!(lab.recorder.taken().is_empty());

    say(&lab, "+4915112345678", "START", "SM2").await;
    for account in [&ann, &later] {
        notify(&lab, account, alert.clone()).await;
    }
    eventually(async || lab.recorder.taken().len() == 2).await;
    // The gateway itself knows of a STOP that never came here: the number stays, and gets no more.
    lab.recorder.answer(NoticeResult::Stopped {
        reason: "the SMS gateway answered 400 with 21610".to_owned(),
    });
    let sent = notify(&lab, &ann, alert.clone()).await;
    let told = format!("{ann}/notifications/{}", sent["id"].as_str().unwrap());
    let way = async || lab.get(&told).await.json()["deliveries"][0].clone();
    eventually(async || way().await["status"] == "failed").await;
    let sent = notify(&lab, &later, alert).await;
    assert_eq!(sent["deliveries"], json!([]));
    let contact = lab.get(&format!("{ann}/contact")).await.json();
    assert_eq!(contact["phone"], "+4915112345678");
}

#[tokio::test]
async fn what_was_switched_off_by_one_click_is_on_again_only_by_name() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    let email = json!({"email": "ann@example.com"});
    put(&lab, &format!("{account}/contact"), email).await;
    let update = json!({"type": "account_update", "channels": ["email"]});
    notify(&lab, &account, update).await;
    eventually(async || lab.recorder.taken().len() == 1).await;
    let url = lab.recorder.taken()[0].unsubscribe_url.clone().unwrap();
    let path = url.strip_prefix("http://wellspring.test").unwrap();
    assert_eq!(lab.post(path, "").await.status, 200);

    let path = format!("{account}/preferences");
    let set = async |wishes| {
        let shown = put(&lab, &path, wishes).await;
        shown["types"]["account_update"]["email"].clone()
    };
    assert_eq!(set(json!({})).await, false);
    assert_eq!(set(json!({"channels": {"email": true}})).await, false);
    let push = json!({"types": {"account_update": {"push": true}}});
    assert_eq!(set(push).await, false);
    let shown = lab.get(&path).await.json();
    assert_eq!(set(shown).await, false);
    assert_eq!(set(json!({})).await, false);
    let by_name = json!({"types": {"account_update": {"email": true}}});
    assert_eq!(set(by_name).await, true);
    assert_eq!(set(json!({})).await, true, "it is the default again");
}

#[tokio::test]
async fn a_stream_ends_with_its_token_however_much_there_is_to_tell() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    let token = lab
        .token(&account, TokenKind::Client, Page::default())
        .await;
    let mut changes = Body::open(&lab, &token, "/v1/changes/stream").await;
    let path = format!("{account}/notifications/stream");
    let mut messages = Body::open(&lab, &token, &path).await;
    let update = || json!({"type": "account_update", "channels": ["in_app"]});
    let tell = async || {
        notify(&lab, &account, update()).await;
        let connections = format!("{account}/connections");
        let body = r#"{"source": "bank", "credentials": {"user": "ann", "password": "pw-1"}}"#;
        assert_eq!(lab.post(&connections, body).await.status, 201);
    };
    messages.until("\n\n").await;
    lab.clock.forward(Duration::from_secs(2 * 86_400));
    // Neither goes without an event for as long as a heartbeat takes.
    tell().await;
    assert!(messages.until("event: notification").await);
    assert!(changes.until("event: change").await);
    pass(Duration::from_secs(10)).await;
    tell().await;
    assert!(messages.until("event: notification").await);
    assert!(changes.until("event: change").await);
    pass(Duration::from_secs(10)).await;
    tell().await;
    assert!(!messages.until("event: notification").await);
    while changes.until("event: change").await {}
}

#[tokio::test]
async fn the_clients_of_one_account_have_so_many_streams() {
    let lab = Lab::new().await;
    let (account, other) = (lab.account().await, lab.account().await);
    let client = async |account: &str| lab.token(account, TokenKind::Client, Page::default()).await;
    let (token, second) = (client(&account).await, client(&account).await);
    let path = format!("{account}/notifications/stream");
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(Body::open(&lab, &token, &path).await);
        open.push(Body::open(&lab, &second, "/v1/changes/stream").await);
    }
    for (bearer, path) in [(&token, "/v1/changes/stream"), (&second, path.as_str())] {
        let refused = lab.send(request(bearer, Method::GET, path, "")).await;
        refused.problem(429, "too_many_streams");
    }
    Body::open(&lab, &lab.key, &path).await;
    Body::open(&lab, &client(&other).await, "/v1/changes/stream").await;
    open.pop();
    Body::open(&lab, &token, &path).await;
}

async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// What a stream says.
struct Body {
    body: axum::body::BodyDataStream,
    rest: String,
}

impl Body {
    async fn open(lab: &Lab, bearer: &str, path: &str) -> Self {
        let request = request(bearer, Method::GET, path, "");
        let response = lab.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Self {
            body: response.into_body().into_data_stream(),
            rest: String::new(),
        }
    }

    /// Reads until it has said this; returns whether it did before its end.
    async fn until(&mut self, said: &str) -> bool {
        loop {
            if let Some((_, rest)) = self.rest.split_once(said) {
                self.rest = rest.to_owned();
                return true;
            }
            let more = tokio::time::timeout(Duration::from_secs(10), self.body.next());
            let Some(more) = more.await.expect("nothing came") else {
                return false;
            };
            let more = more.unwrap();
            self.rest.push_str(std::str::from_utf8(&more).unwrap());
        }
    }
}
