use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use wellspring_core::ErrorClass;
use wellspring_core::interaction::{ButtonAction, Choice, Code, Part, Question};

use crate::lab::{Lab, Reply, eventually};
use crate::script::Act;

fn code(expires_in: Option<Duration>) -> Question {
    Question {
        code: Code::OneTimeCode,
        title: Some("We sent you a code".to_owned()),
        parts: vec![
            Part::TextInput {
                id: "code".to_owned(),
                label: "Code".to_owned(),
                sensitive: true,
                default: None,
                pattern: Some("[0-9]+".to_owned()),
                max_length: Some(6),
            },
            Part::Choices {
                id: "device".to_owned(),
                label: "Device".to_owned(),
                choices: vec![Choice {
                    id: "phone".to_owned(),
                    label: "Phone".to_owned(),
                }],
                default: Some("phone".to_owned()),
                widget: None,
            },
            button("later", ButtonAction::Defer),
            button("stop", ButtonAction::RespondOnly),
            button("go", ButtonAction::RespondAndDeleteConnection),
        ],
        expires_in,
    }
}

fn button(id: &str, action: ButtonAction) -> Part {
    Part::Button {
        id: id.to_owned(),
        label: id.to_owned(),
        action,
    }
}

fn says(value: &str) -> Value {
    json!({"version": 1, "parts": [{"id": "code", "value": value}]})
}

/// Has something asked and returns the path of it.
pub(crate) async fn any(lab: &Lab) -> String {
    asked(lab, code(None)).await.1
}

/// A connection whose bank asks, and the path of what it asks.
async fn asked(lab: &Lab, question: Question) -> (String, String) {
    let path = lab.connect(vec![Act::Ask(question)]).await;
    let connection = lab.comes_to(&path, "question").await;
    let id = connection["open_interaction_id"].as_str().unwrap();
    let interaction = format!("{path}/interactions/{id}");
    (path, interaction)
}

async fn put(lab: &Lab, interaction: &str, body: Value) -> Reply {
    let path = format!("{interaction}/response");
    lab.call(Method::PUT, &path, body.to_string()).await
}

#[tokio::test]
async fn an_answer_reaches_the_bank_once() {
    let lab = Lab::new().await;
    let (path, interaction) = asked(&lab, code(Some(Duration::from_secs(600)))).await;
    let open = lab.get(&interaction).await.json();
    assert_eq!(
        (&open["status"], &open["version"]),
        (&json!("open"), &json!(1))
    );
    assert_eq!(
        (&open["code"], &open["persistent"]),
        (&json!("one_time_code"), &json!(false))
    );
    assert_eq!(open["parts"][0]["kind"], "text_input");
    assert_eq!(open["reason"], Value::Null);
    let problem = lab
        .post(&format!("{path}/fetch"), "")
        .await
        .problem(409, "fetch_refused");
    assert!(problem["detail"].as_str().unwrap().contains("question"));

    for (body, pointers) in [
        (says("abc"), vec!["/parts/0/value"]),
        (json!({"version": 1, "parts": []}), vec!["/parts"]),
        (
            json!({"version": 1, "parts": [{"id": "code", "value": "1"}, {"id": "pin", "value": "2"}]}),
            vec!["/parts/1/id"],
        ),
        (
            json!({"version": 1, "parts": [{"id": 1, "x": 2}], "y": 3}),
            vec!["/parts/0/id", "/parts/0/value", "/parts/0/x", "/y"],
        ),
        (json!({"parts": {}}), vec!["/version", "/parts"]),
    ] {
        let problem = put(&lab, &interaction, body)
            .await
            .problem(422, "validation_failed");
        let faults = problem["errors"].as_array().unwrap();
        let places: Vec<&str> = faults
            .iter()
            .map(|fault| fault["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(places, pointers);
    }
    let other_version = json!({"version": 2, "parts": [{"id": "code", "value": "123"}]});
    put(&lab, &interaction, other_version)
        .await
        .problem(409, "version_conflict");
    let later = json!({"version": 1, "parts": [{"id": "later", "value": "defer"}]});
    let put_off = put(&lab, &interaction, later).await;
    assert_eq!(
        (put_off.status.as_u16(), &put_off.json()["status"]),
        (202, &json!("open"))
    );
    assert_eq!(lab.get(&path).await.json()["state"], "question");

    let taken = put(&lab, &interaction, says("123456")).await;
    assert_eq!(taken.status, 202);
    assert_eq!(
        (&taken.json()["status"], &taken.json()["reason"]),
        (&json!("closed"), &json!("answered"))
    );
    lab.comes_to(&path, "waiting").await;
    assert_eq!(
        lab.script.last().answer,
        Some(json!({"code": "123456", "device": "phone"}))
    );
    let same = json!({"version": 1, "parts": [{"id": "device", "value": "phone"}, {"id": "code", "value": "123456"}]});
    assert_eq!(put(&lab, &interaction, same).await.status, 200);
    for other in [says("654321"), says("abc")] {
        put(&lab, &interaction, other)
            .await
            .problem(409, "already_answered");
    }
    lab.call(Method::DELETE, &interaction, "")
        .await
        .problem(409, "already_answered");
    let log = lab.get("/v1/changes?limit=500").await.json().to_string();
    assert!(!log.contains("123456"));
}

#[tokio::test]
async fn a_question_ends_by_time_by_hand_and_by_button() {
    let lab = Lab::new().await;
    let (path, interaction) = asked(&lab, code(Some(Duration::from_secs(600)))).await;
    lab.clock.forward(Duration::from_secs(600));
    put(&lab, &interaction, says("1"))
        .await
        .problem(410, "interaction_expired");
    let shown = lab.get(&interaction).await.json();
    assert_eq!(
        (&shown["status"], &shown["reason"]),
        (&json!("closed"), &json!("expired"))
    );
    let expired = lab.comes_to(&path, "retrying").await;
    assert_eq!(expired["outcome"]["kind"], "user_too_slow");
    assert_eq!(expired["retries"], 0);
    lab.call(Method::DELETE, &interaction, "")
        .await
        .problem(410, "interaction_expired");

    let (path, interaction) = asked(&lab, code(None)).await;
    assert_eq!(lab.get(&interaction).await.json()["persistent"], true);
    for _ in 0..2 {
        assert_eq!(lab.call(Method::DELETE, &interaction, "").await.status, 204);
    }
    put(&lab, &interaction, says("1"))
        .await
        .problem(410, "interaction_closed");
    lab.comes_to(&path, "retrying").await;
    // Ids of one millisecond sort by chance.
    lab.clock.forward(Duration::from_millis(1));
    lab.script.next(vec![Act::Ask(code(None))]);
    assert_eq!(lab.post(&format!("{path}/fetch"), "").await.status, 202);
    let again = lab.comes_to(&path, "question").await;
    let list = lab.get(&format!("{path}/interactions")).await.json();
    assert_eq!(list["data"][0]["id"], again["open_interaction_id"]);
    assert_eq!(list["data"][1]["reason"], "cancelled");

    let (path, interaction) = asked(&lab, code(None)).await;
    let stop = json!({"version": 1, "parts": [{"id": "code", "value": "1"}, {"id": "stop", "value": "respond_only"}]});
    assert_eq!(put(&lab, &interaction, stop).await.status, 202);
    let stopped = lab.get(&path).await.json();
    assert_eq!(
        (&stopped["state"], &stopped["outcome"]["kind"]),
        (&json!("waiting"), &json!("cancelled"))
    );

    let (path, interaction) = asked(&lab, code(None)).await;
    let go = json!({"version": 1, "parts": [{"id": "code", "value": "1"}, {"id": "go", "value": "respond_and_delete_connection"}]});
    let gone = put(&lab, &interaction, go).await;
    assert_eq!(
        (gone.status.as_u16(), &gone.json()["reason"]),
        (202, &json!("answered"))
    );
    lab.get(&path).await.problem(404, "not_found");
}

#[tokio::test]
async fn an_answer_to_the_question_for_credentials_becomes_them() {
    let lab = Lab::new().await;
    let path = lab
        .connect(vec![Act::Fail(ErrorClass::AuthenticationError)])
        .await;
    let connection = lab.comes_to(&path, "question").await;
    assert_eq!(connection["access"], "reauth_required");
    let id = connection["open_interaction_id"].as_str().unwrap();
    let interaction = format!("{path}/interactions/{id}");
    let asked = lab.get(&interaction).await.json();
    assert_eq!(
        (&asked["code"], &asked["title"]),
        (&json!("credentials"), &json!("The bank does not want to."))
    );
    let answer = json!({"version": 1, "parts": [{"id": "user", "value": "ann"}, {"id": "password", "value": "pw-3"}]});
    assert_eq!(put(&lab, &interaction, answer).await.status, 202);
    let connection = lab.comes_to(&path, "waiting").await;
    assert_eq!(connection["access"], "valid");
    let given = lab.script.last();
    assert_eq!(
        given.credentials,
        Some(json!({"user": "ann", "password": "pw-3", "branch": ""}))
    );
    assert_eq!(given.answer, None);
}

#[tokio::test]
async fn scheduled_fetches_ask_where_the_tenant_lets_them() {
    let lab = Lab::new().await;
    let path = lab.connect(vec![]).await;
    lab.comes_to(&path, "waiting").await;
    lab.script.next(vec![Act::Ask(code(None))]);
    lab.clock.forward(Duration::from_secs(86_400 * 2));
    let kind = async || lab.get(&path).await.json()["outcome"]["kind"].clone();
    eventually(async || kind().await == "user_needed").await;

    let settings = r#"{"ask": "always"}"#;
    let reply = lab.call(Method::PATCH, "/v1/settings", settings).await;
    assert_eq!(reply.json()["ask"], "always");
    lab.script.next(vec![Act::Ask(code(None))]);
    lab.clock.forward(Duration::from_secs(86_400 * 2));
    lab.comes_to(&path, "question").await;
}
