use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use wellspring_core::ErrorClass;
use wellspring_engine::TokenKind;
use wellspring_server::Page;

use crate::lab::{Lab, eventually, request};
use crate::script::Act;

#[tokio::test]
async fn a_connection_is_fetched_at_once_and_rests_until_its_schedule() {
    let lab = Lab::new().await;
    let acts = vec![
        Act::Document("a.pdf", "one".into()),
        Act::Document("b.pdf", "two".into()),
        Act::Finish,
    ];
    let path = lab.connect(acts).await;
    let connection = lab.comes_to(&path, "waiting").await;
    let (account, id) = path.split_once("/connections/").unwrap();
    assert_eq!(connection["id"], id);
    assert_eq!(
        connection["account_id"],
        account.rsplit('/').next().unwrap()
    );
    assert_eq!(connection["access"], "valid");
    assert_eq!(connection["outcome"]["kind"], "success");
    assert_eq!(connection["documents"], 2);
    assert_eq!(connection["retries"], 0);
    assert_eq!(connection["schedule"], json!({"every": "24h"}));
    assert_eq!(connection["next_attempt_reason"], "schedule");
    for absent in [
        "label",
        "slow_plan",
        "start_date",
        "current_fetch_id",
        "open_interaction_id",
    ] {
        assert_eq!(connection[absent], Value::Null, "{absent}");
    }
    let given = lab.script.last();
    assert_eq!(
        given.credentials,
        Some(json!({"user": "ann", "password": "pw-1"}))
    );

    let fetches = lab.get(&format!("{path}/fetches")).await.json();
    let fetch = &fetches["data"][0];
    assert_eq!(
        (&fetch["trigger"], &fetch["status"]),
        (&json!("created"), &json!("success"))
    );
    assert_eq!(fetch["documents"], 2);
    let one = format!("{path}/fetches/{}", fetch["id"].as_str().unwrap());
    let shown = lab.get(&one).await.json();
    assert_eq!(shown["attempts"][0]["number"], 1);
    assert_eq!(shown["attempts"][0]["error"], Value::Null);

    let list = lab.get(&format!("{account}/connections")).await.json();
    assert_eq!(list["data"], json!([connection]));
    assert_eq!(lab.call(Method::DELETE, &path, "").await.status, 204);
    lab.get(&path).await.problem(404, "not_found");
    lab.get(&one).await.problem(404, "not_found");
}

#[tokio::test]
async fn every_fault_of_a_new_connection_is_named() {
    let lab = Lab::new().await;
    let path = format!("{}/connections", lab.account().await);
    let body = json!({
        "source": "bank",
        "credentials": {"user": "", "password": "x".repeat(4_097), "colour": "red"},
        "label": "",
        "schedule": {"every": "1s"},
        "slow_plan": [],
        "on_question_expired": "never",
        "start_date": "2026-02-30",
        "surprise": 1,
    });
    let problem = lab
        .post(&path, body.to_string())
        .await
        .problem(422, "validation_failed");
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
            "/credentials/colour",
            "/credentials/password",
            "/credentials/user",
            "/label",
            "/on_question_expired",
            "/schedule",
            "/slow_plan",
            "/start_date",
            "/surprise"
        ]
    );
    assert!(!problem.to_string().contains("xxx"), "{problem}");
    for (body, pointer) in [
        (r#"{}"#, "/source"),
        (r#"{"source": "gas"}"#, "/source"),
        (r#"{"source": "nowhere"}"#, "/source"),
        (r#"{"source": "bank", "credentials": []}"#, "/credentials"),
        (
            r#"{"source": "bank", "credentials": {"user": "a"}}"#,
            "/credentials/password",
        ),
        (
            r#"{"source": "bank", "credentials": {"user": 1, "password": "b"}}"#,
            "/credentials/user",
        ),
    ] {
        let problem = lab
            .post(&path, body)
            .await
            .problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    let list = lab.get(&path).await.json();
    assert_eq!(list["data"], json!([]));

    let body = r#"{"source": "bank", "credentials": {"user": "a", "password": "b"}}"#;
    let first = lab.post_with_key(&path, body, "k").await;
    let again = lab.post_with_key(&path, body, "k").await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let body = r#"{"source": "bank", "credentials": {"user": "a", "password": "c"}}"#;
    lab.post_with_key(&path, body, "k")
        .await
        .problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn settings_of_a_connection_are_merged_and_null_removes_them() {
    let lab = Lab::new().await;
    let path = lab.connect(vec![]).await;
    lab.comes_to(&path, "waiting").await;
    let body = json!({
        "label": "Home",
        "schedule": {"manual": true},
        "slow_plan": ["1h", "2h"],
        "on_question_expired": "fall_back",
        "start_date": "2026-01-01",
        "paused": true,
    });
    let patched = lab
        .call(Method::PATCH, &path, body.to_string())
        .await
        .json();
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&patched[name], value, "{name}");
    }
    assert_eq!(patched["next_attempt_at"], Value::Null);
    assert_eq!(lab.get(&path).await.json(), patched);
    let nulls = r#"{"label": null, "schedule": null, "slow_plan": null, "on_question_expired": null, "start_date": null, "paused": false}"#;
    let patched = lab.call(Method::PATCH, &path, nulls).await.json();
    assert_eq!(patched["schedule"], json!({"every": "24h"}));
    assert_eq!(patched["on_question_expired"], "retry");
    assert_eq!(patched["slow_plan"], Value::Null);
    assert_eq!(patched["next_attempt_reason"], "schedule");
    let problem = lab
        .call(
            Method::PATCH,
            &path,
            r#"{"enabled": null, "source": "gas"}"#,
        )
        .await
        .problem(422, "validation_failed");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2);

    let disabled = lab
        .call(Method::PATCH, &path, r#"{"enabled": false}"#)
        .await
        .json();
    assert_eq!(
        (&disabled["state"], &disabled["enabled"]),
        (&json!("disabled"), &json!(false))
    );
    let refused = lab.post(&format!("{path}/fetch"), "").await;
    let problem = refused.problem(409, "fetch_refused");
    assert!(problem["detail"].as_str().unwrap().contains("disabled"));
    let enabled = lab
        .call(Method::PATCH, &path, r#"{"enabled": true}"#)
        .await
        .json();
    assert_eq!(enabled["state"], "waiting");
}

#[tokio::test]
async fn a_failed_fetch_is_retried_and_shown_as_waiting_where_the_tenant_wants_it() {
    let lab = Lab::new().await;
    let path = lab.connect(vec![Act::Fail(ErrorClass::ItemError)]).await;
    let failed = lab.comes_to(&path, "retrying").await;
    assert_eq!(failed["retries"], 1);
    assert_eq!(failed["next_attempt_reason"], "retry");
    assert_eq!(failed["outcome"]["kind"], "item_error");
    assert_eq!(failed["outcome"]["code"], "as_told");
    assert_eq!(failed["outcome"]["message"], "The bank does not want to.");
    let fetches = lab.get(&format!("{path}/fetches")).await.json();
    assert_eq!(fetches["data"][0]["status"], "failed");
    assert_eq!(fetches["data"][0]["error"]["code"], "as_told");

    let settings = r#"{"legacy_waiting": true}"#;
    let reply = lab.call(Method::PATCH, "/v1/settings", settings).await;
    assert_eq!(reply.json()["legacy_waiting"], true);
    let shown = lab.get(&path).await.json();
    assert_eq!(
        (&shown["state"], &shown["retries"]),
        (&json!("waiting"), &json!(1))
    );
    let head = lab.get("/v1/changes/head").await.json();
    lab.script.next(vec![Act::Fail(ErrorClass::ItemError)]);
    assert_eq!(lab.post(&format!("{path}/fetch"), "").await.status, 202);
    eventually(async || lab.get(&path).await.json()["retries"] == 2).await;
    let changes = format!("/v1/changes?after={}", head["cursor"].as_str().unwrap());
    let changes = lab.get(&changes).await.json().to_string();
    assert!(!changes.contains("/state/retrying"), "{changes}");
    assert!(changes.contains("/state/waiting"), "{changes}");
}

#[tokio::test]
async fn a_fetch_is_asked_for_once_however_often_and_credentials_replace_others() {
    let lab = Lab::new().await;
    let path = lab.connect(vec![Act::Hang]).await;
    let running = lab.comes_to(&path, "connecting").await;
    for _ in 0..2 {
        let reply = lab.post(&format!("{path}/fetch"), "").await;
        assert_eq!(reply.status, 202);
        assert_eq!(
            reply.json()["current_fetch_id"],
            running["current_fetch_id"]
        );
    }
    lab.post(&format!("{path}/fetch"), "[]")
        .await
        .problem(422, "validation_failed");

    let credentials = format!("{path}/credentials");
    let put = async |body: &str| lab.call(Method::PUT, &credentials, body.to_owned()).await;
    for (body, pointer) in [
        ("{}", "/credentials"),
        (r#"{"credentials": {"user": "a"}}"#, "/credentials/password"),
        (
            r#"{"credentials": {"user": "a", "password": "b"}, "x": 1}"#,
            "/x",
        ),
    ] {
        let problem = put(body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    // Ids of one millisecond sort by chance.
    lab.clock.forward(Duration::from_millis(1));
    let reply = put(r#"{"credentials": {"user": "bob", "password": "pw-2", "branch": ""}}"#).await;
    assert_eq!(reply.status, 202);
    let rested = lab.comes_to(&path, "waiting").await;
    assert_eq!(rested["outcome"]["kind"], "success");
    assert_eq!(
        lab.script.last().credentials,
        Some(json!({"user": "bob", "password": "pw-2", "branch": ""}))
    );
    let fetches = lab.get(&format!("{path}/fetches?limit=1")).await.json();
    assert_eq!(fetches["data"][0]["trigger"], "user");
    assert_eq!(fetches["has_more"], true);
}

#[tokio::test]
async fn a_repair_that_is_abandoned_leaves_everything_as_it_was() {
    let lab = Lab::new().await;
    let path = lab.connect(vec![]).await;
    let before = lab.comes_to(&path, "waiting").await;
    let (account, id) = path.split_once("/connections/").unwrap();
    let repairs = Page {
        connection: Some(id.parse().unwrap()),
        source: None,
    };
    let token = lab.token(account, TokenKind::Page, repairs).await;
    lab.script
        .next(vec![Act::Fail(ErrorClass::AuthenticationError)]);
    let body = r#"{"credentials": {"user": "ann", "password": "wrong"}}"#;
    let put = request(&token, Method::PUT, &format!("{path}/credentials"), body);
    assert_eq!(lab.send(put).await.status, 202);
    let asked = lab.comes_to(&path, "question").await;
    assert_eq!(asked["access"], "reauth_required");

    lab.clock.forward(Duration::from_secs(601));
    let after = lab.comes_to(&path, "waiting").await;
    for kept in ["access", "retries", "outcome", "next_attempt_at"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_eq!(lab.post(&format!("{path}/fetch"), "").await.status, 202);
    eventually(async || lab.get(&path).await.json()["current_fetch_id"].is_null()).await;
    let given = lab.script.last();
    assert_eq!(
        given.credentials,
        Some(json!({"user": "ann", "password": "pw-1"}))
    );
}
