use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Duration, advance};
use wellspring_sandbox::{BankSettings, RateLimit, Settings, Source};

use super::{assert_refused, documents, log_in, post, read, respond, session, session_of};
use crate::client::sandbox;

#[tokio::test]
async fn the_bank_takes_the_common_settings_and_its_own_and_starts_reliable() {
    let (client, control, running) = sandbox(1);
    assert_eq!(control.settings(Source::SandboxBank), Settings::reliable());

    let set = client
        .put(
            "/control/sandbox-bank",
            r#"{"latency_ms": 1, "new_documents": 4, "new_transactions": 5, "captcha": "ABCD23",
                "document_latency_ms": 6, "truncate_documents": true, "code_expires_in_s": 7}"#,
        )
        .await;

    assert_eq!(set.status, StatusCode::OK);
    assert_eq!(
        set.json()["settings"],
        json!({
            "failure_rate": 0.0, "latency_ms": 1, "outage": false, "rate_limit": null,
            "budget": null, "maintenance_until": null, "junk_rate": 0.0, "new_documents": 4,
            "new_transactions": 5, "document_latency_ms": 6, "truncate_documents": true,
            "code_expires_in_s": 7, "captcha": "ABCD23",
        })
    );
    let merged = client
        .put("/control/sandbox-bank", r#"{"document_latency_ms": null}"#)
        .await;
    assert_eq!(
        merged.json()["settings"]["document_latency_ms"],
        Value::Null
    );
    assert_eq!(
        control.bank_settings(),
        BankSettings {
            new_documents: 4,
            new_transactions: 5,
            document_latency: None,
            truncate_documents: true,
            code_expires_in: Duration::from_secs(7),
            captcha: "ABCD23".to_owned(),
        }
    );

    let faulty = client
        .put(
            "/control/sandbox-bank",
            r#"{"failure_rate": 2, "new_documents": 1001, "new_transactions": -1,
                "document_latency_ms": "slow", "truncate_documents": 1, "code_expires_in_s": 90000,
                "expire_sessions": "yes", "captcha": "WELL0", "captchas": []}"#,
        )
        .await;
    assert_eq!(faulty.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(faulty.json()["errors"].as_array().unwrap().len(), 9);
    let not_its_own = client.put("/control/gas", r#"{"new_documents": 1}"#).await;
    assert_eq!(not_its_own.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(control.bank_settings().new_documents, 4);

    client.delete("/control").await;
    assert_eq!(control.bank_settings(), BankSettings::default());
    running.stop().await;
}

#[tokio::test]
async fn calls_are_counted_by_what_they_ask_for_and_a_reset_forgets_them() {
    let (client, control, running) = sandbox(1);

    let open = session(&client, "pass").await;
    let listed = documents(&client, &open).await;
    for id in &listed {
        read(&client, &open, &format!("/bank/documents/{id}")).await;
    }
    read(&client, &open, "/bank/transactions").await;
    read(&client, &open, "/bank/account").await;
    let asked = session_of(&log_in(&client, "pinfail").await);
    respond(&client, &asked, json!({})).await;
    log_in(&client, "wrong").await;
    client.get("/bank/vault").await;
    client.get("/bank").await;

    let shown = client.get("/control").await.json();
    assert_eq!(
        shown["sources"]["sandbox-bank"]["calls"],
        json!({
            "total": 11, "ok": 10, "failed": 0, "throttled": 0, "over_budget": 0,
            "blocked": 0, "maintenance": 0, "junk": 0,
            "outage": 0, "not_found": 1, "reset": 0, "max_in_flight": 1,
            "logins": 3, "max_logins_per_minute": 3, "challenges": 2, "answers": 1, "consents": 0,
            "accounts": 1, "document_lists": 1, "documents": 3, "transactions": 1, "logouts": 0,
        })
    );
    assert!(shown["sources"]["gas"]["calls"].get("logins").is_none());
    let reset = client.delete("/control").await.json();
    assert_eq!(reset["sources"]["sandbox-bank"]["calls"]["total"], 0);
    assert_eq!(reset["sources"]["sandbox-bank"]["calls"]["logins"], 0);
    let forgotten = read(&client, &open, "/bank/documents").await;
    assert_refused(&forgotten, 401, "SESSION_EXPIRED");
    assert_eq!(control.bank_counts().document_lists, 1);
    running.stop().await;
}

#[tokio::test]
async fn common_settings_meet_the_bank_in_its_own_words() {
    let (client, control, running) = sandbox(1);
    let open = session(&client, "pass").await;
    let set = async |settings: Value| {
        let answer = client
            .put("/control/sandbox-bank", &settings.to_string())
            .await;
        assert_eq!(answer.status, StatusCode::OK);
    };

    set(json!({"rate_limit": {"per_minute": 2}})).await;
    assert_eq!(
        read(&client, &open, "/bank/account").await.status,
        StatusCode::OK
    );
    session(&client, "pass").await;
    let over = log_in(&client, "pass").await;
    assert_refused(&over, 429, "TOO_MANY_REQUESTS");
    assert!(over.header("retry-after").is_some());
    assert_eq!(client.get("/bank").await.status, StatusCode::OK);
    set(json!({"rate_limit": null, "maintenance_until": "2999-01-01T00:00:00Z"})).await;
    let closed = read(&client, &open, "/bank/documents").await;
    assert_refused(&closed, 503, "MAINTENANCE");
    assert!(closed.header("retry-after").is_some());
    set(json!({"maintenance_until": null, "failure_rate": 1})).await;
    assert_eq!(log_in(&client, "pass").await.body, "#fail");
    set(json!({"failure_rate": 0, "junk_rate": 1})).await;
    let junk = read(&client, &open, "/bank/documents").await;
    assert!(junk.status == StatusCode::OK && junk.body.starts_with(b"<!doctype"));
    for outage in ["truncate", "reset"] {
        set(json!({"junk_rate": 0, "outage": outage})).await;
        let body = json!({"username": "user", "password": "pass"}).to_string();
        let login = client.send(hyper::Method::POST, "/bank/login", &[], &body);
        assert!(login.await.is_err(), "{outage}");
    }
    set(json!({"outage": false})).await;
    assert_eq!(documents(&client, &open).await.len(), 3);
    let counts = control.counts(Source::SandboxBank);
    assert_eq!(
        (
            counts.throttled,
            counts.maintenance,
            counts.failed,
            counts.junk
        ),
        (1, 1, 1, 1)
    );
    assert_eq!((counts.outage, counts.reset), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn the_most_calls_in_flight_are_those_held_at_one_time() {
    let (client, control, running) = sandbox(1);
    for _ in 0..5 {
        log_in(&client, "wrong").await;
    }
    assert_eq!(control.counts(Source::SandboxBank).max_in_flight, 1);
    control.update(Source::SandboxBank, |bank| {
        bank.latency = Duration::from_secs(600);
    });

    let body = json!({"username": "user", "password": "pass"}).to_string();
    let login = || client.send(hyper::Method::POST, "/bank/login", &[], &body);
    let stop = async {
        control.wait_until_bank(|counts| counts.logins == 9).await;
        control
            .wait_until(Source::SandboxBank, |counts| counts.total == 9)
            .await;
        running.stop().await;
    };
    let held = async { tokio::join!(login(), login(), login(), login()) };
    let (outcomes, ()) = tokio::join!(held, stop);

    assert!(outcomes.0.is_err() && outcomes.3.is_err());
    assert_eq!(control.counts(Source::SandboxBank).max_in_flight, 4);
    assert_eq!(control.counts(Source::Gas).max_in_flight, 0);
    assert_eq!(control.total().max_in_flight, 4);
}

#[tokio::test(start_paused = true)]
async fn the_most_logins_per_minute_are_found_wherever_the_minute_begins() {
    let (client, control, running) = sandbox(1);
    control.update(Source::SandboxBank, |bank| {
        bank.rate_limit = Some(RateLimit::PerMinute(4));
    });
    let body = json!({"username": "user", "password": "pass"});

    for wait in [0, 10, 35, 10, 10, 60, 60] {
        advance(Duration::from_secs(wait)).await;
        post(&client, "/bank/login", &body).await;
    }

    assert_eq!(control.bank_counts().logins, 7);
    // At 10, 45, 55 and 65 seconds; the first one was a minute before the last of them.
    assert_eq!(control.bank_counts().max_logins_per_minute, 4);
    running.stop().await;
}
