use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use wellspring_core::Ask;
use wellspring_engine::{Directory, Subscription, SubscriptionKind};

use crate::lab::Lab;

#[tokio::test]
async fn settings_are_merged_and_null_gives_the_default_again() {
    let lab = Lab::new().await;
    let defaults = json!({
        "retention": {"changes": "720h", "collections": "720h", "payloads": "168h", "attempts": "336h"},
        "contact": null,
        "legacy_waiting": false,
        "ask": "user_present",
        "frame_origins": [],
        "return_urls": [],
        "document_receiver": null,
    });
    assert_eq!(lab.get("/v1/settings").await.json(), defaults);

    let patch =
        json!({"retention": {"payloads": "36h", "attempts": "PT1H"}, "contact": "ops@example.com"});
    let reply = lab
        .call(Method::PATCH, "/v1/settings", patch.to_string())
        .await;
    assert_eq!(reply.status, 200);
    let mut changed = defaults.clone();
    changed["retention"]["payloads"] = "36h".into();
    changed["retention"]["attempts"] = "1h".into();
    changed["contact"] = "ops@example.com".into();
    assert_eq!(reply.json(), changed);
    lab.access.reload().await.unwrap();
    assert_eq!(lab.get("/v1/settings").await.json(), changed);

    let patch = json!({"retention": {"payloads": null}, "contact": null});
    lab.call(Method::PATCH, "/v1/settings", patch.to_string())
        .await;
    changed["retention"]["payloads"] = "168h".into();
    changed["contact"] = Value::Null;
    assert_eq!(lab.get("/v1/settings").await.json(), changed);
    lab.call(Method::PATCH, "/v1/settings", r#"{"retention":null}"#)
        .await;
    assert_eq!(lab.get("/v1/settings").await.json(), defaults);
}

#[tokio::test]
async fn what_the_connect_page_and_the_engine_go_by_is_set_and_taken_back() {
    let lab = Lab::new().await;
    let defaults = lab.get("/v1/settings").await.json();
    let patch = json!({
        "legacy_waiting": true,
        "ask": {"hours": {"from": 20, "to": 8}},
        "frame_origins": ["https://app.example.com", "http://localhost:3000"],
        "return_urls": ["https://app.example.com/done?from=bank"],
    });
    let reply = lab
        .call(Method::PATCH, "/v1/settings", patch.to_string())
        .await;
    let changed = reply.json();
    for (name, value) in patch.as_object().unwrap() {
        assert_eq!(&changed[name], value, "{name}");
    }
    lab.access.reload().await.unwrap();
    assert_eq!(lab.get("/v1/settings").await.json(), changed);
    let rules = lab.access.tenant_rules();
    let rules = rules.by_id.values().next().unwrap();
    assert_eq!(rules.ask, Ask::Hours { from: 20, to: 8 });
    assert!(rules.legacy_waiting);
    let nulls =
        json!({"legacy_waiting": null, "ask": null, "frame_origins": null, "return_urls": null});
    let reply = lab
        .call(Method::PATCH, "/v1/settings", nulls.to_string())
        .await;
    assert_eq!(reply.json(), defaults);

    for (patch, place) in [
        (json!({"legacy_waiting": 1}), "/legacy_waiting"),
        (json!({"ask": "never"}), "/ask"),
        (json!({"ask": {"hours": {"from": 24, "to": 8}}}), "/ask"),
        (json!({"ask": {"hours": {"from": 8, "to": 8}}}), "/ask"),
        (
            json!({"frame_origins": "https://a.example"}),
            "/frame_origins",
        ),
        (
            json!({"frame_origins": ["https://a.example; script-src *"]}),
            "/frame_origins/0",
        ),
        (
            json!({"frame_origins": ["https://a.example", "https://a.example/"]}),
            "/frame_origins/1",
        ),
        (
            json!({"frame_origins": ["https://*.example"]}),
            "/frame_origins/0",
        ),
        (
            json!({"return_urls": ["javascript:alert(1)"]}),
            "/return_urls/0",
        ),
        (
            json!({"return_urls": ["https://me@a.example/"]}),
            "/return_urls/0",
        ),
        (json!({"return_urls": [7]}), "/return_urls/0"),
        (
            json!({"document_receiver": "https://refused.example"}),
            "/document_receiver",
        ),
        (json!({"document_receiver": 1}), "/document_receiver"),
    ] {
        let reply = lab
            .call(Method::PATCH, "/v1/settings", patch.to_string())
            .await;
        let problem = reply.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], place, "{patch}");
    }
    assert_eq!(lab.get("/v1/settings").await.json(), defaults);
}

#[tokio::test]
async fn a_document_receiver_has_the_documents_pushed_to_it_until_it_is_taken_away() {
    let lab = Lab::new().await;
    let receivers = async || {
        let all = lab.store.subscriptions().await.unwrap();
        let documents = |row: &Subscription| row.kind == SubscriptionKind::Documents;
        let urls = all.into_iter().filter(documents);
        urls.map(|row| row.url.to_string()).collect::<Vec<_>>()
    };
    for url in ["https://receiver.test/one", "https://receiver.test/two"] {
        let patch = json!({"document_receiver": url}).to_string();
        let reply = lab.call(Method::PATCH, "/v1/settings", patch).await;
        assert_eq!(reply.json()["document_receiver"], url);
        assert_eq!(receivers().await, [url]);
    }
    let patch = r#"{"document_receiver": null}"#;
    lab.call(Method::PATCH, "/v1/settings", patch).await;
    assert_eq!(receivers().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_patch_with_any_fault_changes_nothing() {
    let lab = Lab::new().await;
    let before = lab.get("/v1/settings").await.json();
    let patch = json!({
        "retention": {"changes": "48h", "payloads": "59m", "attempts": 7, "collections": "1000000h", "a/b": "1h"},
        "contact": "",
        "legacy": true,
    });
    let reply = lab
        .call(Method::PATCH, "/v1/settings", patch.to_string())
        .await;
    let problem = reply.problem(422, "validation_failed");
    let mut places: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    places.sort_unstable();
    assert_eq!(
        places,
        [
            "/contact",
            "/legacy",
            "/retention/attempts",
            "/retention/a~1b",
            "/retention/collections",
            "/retention/payloads"
        ]
    );
    for (body, status, code) in [
        ("{", 400, "malformed_json"),
        ("[]", 422, "validation_failed"),
        (r#"{"retention":[]}"#, 422, "validation_failed"),
        (r#"{"contact":"a","contact":"b"}"#, 422, "validation_failed"),
    ] {
        let reply = lab.call(Method::PATCH, "/v1/settings", body).await;
        reply.problem(status, code);
    }
    assert_eq!(lab.get("/v1/settings").await.json(), before);
}

#[tokio::test]
async fn a_rotated_secret_lives_on_for_a_day() {
    let lab = Lab::new().await;
    let tenant = lab.access.authenticate(&lab.key).unwrap().tenant;
    let first = lab.get("/v1/callback-secret").await;
    assert_eq!(first.header("cache-control"), Some("no-store"));
    let first = first.json();
    assert!(first["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(first["previous_expires_at"], Value::Null);
    let version = lab.access.secrets_version();

    let second = lab
        .post_with_key("/v1/callback-secret/rotate", "", "abc")
        .await;
    assert_eq!(second.status, 200);
    assert_ne!(second.json()["secret"], first["secret"]);
    assert!(second.json()["previous_expires_at"].is_string());
    assert_eq!(lab.get("/v1/callback-secret").await.json(), second.json());
    assert!(lab.access.secrets_version() > version);
    let live = lab.access.callback_secrets(tenant);
    assert_eq!(
        *live,
        [
            second.json()["secret"].as_str().unwrap(),
            first["secret"].as_str().unwrap()
        ]
    );

    let replay = lab
        .post_with_key("/v1/callback-secret/rotate", "", "abc")
        .await;
    assert_eq!(replay.body, second.body);
    assert_eq!(replay.header("idempotent-replayed"), Some("true"));
    lab.post("/v1/callback-secret/rotate", "[1]")
        .await
        .problem(422, "validation_failed");
    lab.post_with_key("/v1/callback-secret/rotate", "", "a b")
        .await
        .problem(400, "idempotency_key_malformed");

    let version = lab.access.secrets_version();
    lab.clock.forward(Duration::from_secs(86_401));
    assert!(lab.access.secrets_version() > version);
    assert_eq!(
        *lab.access.callback_secrets(tenant),
        [second.json()["secret"].as_str().unwrap()]
    );
    assert_eq!(
        lab.get("/v1/callback-secret").await.json()["previous_expires_at"],
        Value::Null
    );
    let third = lab
        .post_with_key("/v1/callback-secret/rotate", "", "abc")
        .await;
    assert_ne!(third.json()["secret"], second.json()["secret"]);
}
