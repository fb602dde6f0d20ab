//! Sources that are switched off, worked on, or down, and what waits meanwhile.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use wellspring_core::ErrorClass;

use crate::lab::{Lab, eventually, request};
use crate::script::Act;

const HOUR: Duration = Duration::from_secs(3_600);

async fn patch(lab: &Lab, body: &Value) -> Value {
    let reply = lab.call(Method::PATCH, "/v1/sources/bank", body.to_string());
    let reply = reply.await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

async fn incidents(lab: &Lab, query: &str) -> Vec<Value> {
    let list = lab.get(&format!("/v1/incidents{query}")).await.json();
    list["data"].as_array().unwrap().clone()
}

/// The paths of the log that are about sources.
async fn said(lab: &Lab) -> Vec<String> {
    let changes = lab.get("/v1/changes?pattern=*%20/sources/**").await.json();
    let said = changes["data"].as_array().unwrap().iter().map(|change| {
        let path = change["path"].as_str().unwrap();
        let segments: Vec<&str> = path
            .split('/')
            .map(|segment| {
                if segment.starts_with("inc_") {
                    "{id}"
                } else {
                    segment
                }
            })
            .collect();
        format!(
            "{} {}",
            change["verb"].as_str().unwrap(),
            segments.join("/")
        )
    });
    said.collect()
}

#[tokio::test]
async fn a_source_that_is_switched_off_is_left_alone_until_it_is_on() {
    let lab = Lab::new().await;
    let connection = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&connection, "waiting").await;
    let body = patch(&lab, &json!({"enabled": false})).await;
    assert_eq!(
        (&body["enabled"], &body["name"]),
        (&json!(false), &json!("bank"))
    );
    assert_eq!(lab.get("/v1/sources/bank").await.json()["enabled"], false);

    lab.post(&format!("{connection}/fetch"), "").await;
    let waits = lab.comes_to(&connection, "manual").await;
    lab.clock.forward(HOUR * 30);
    // Another source goes on meanwhile.
    let id = lab.collect("gas", "https://receiver.test/hook").await;
    lab.settles(&id, "delivered").await;
    let still = lab.get(&connection).await.json();
    assert_eq!(
        (&still["state"], &still["retries"]),
        (&waits["state"], &json!(0))
    );

    patch(&lab, &json!({"enabled": true})).await;
    lab.comes_to(&connection, "waiting").await;
    assert_eq!(
        said(&lab).await,
        [
            "UPDATED /sources/bank/state/disabled",
            "UPDATED /sources/bank/state/enabled"
        ]
    );
}

#[tokio::test]
async fn what_is_due_in_announced_maintenance_waits_without_a_retry_and_resumes_by_itself() {
    let lab = Lab::new().await;
    let connection = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&connection, "waiting").await;
    let now = wellspring_engine::Clock::now(lab.clock.as_ref());
    let (from, to) = (now.after(HOUR), now.after(HOUR * 3));
    let window = json!({"from": from.to_string(), "to": to.to_string(), "reason": "New servers"});
    let body = patch(&lab, &json!({"maintenance": [window]})).await;
    let announced = &body["maintenance"][0];
    assert_eq!(announced["announced_by"], "operator");
    assert_eq!(announced["reason"], "New servers");
    assert_eq!(body["incident"], Value::Null);

    lab.clock.forward(HOUR * 2);
    eventually(async || incidents(&lab, "?state=open").await.len() == 1).await;
    let begun = incidents(&lab, "?source=bank&kind=maintenance")
        .await
        .remove(0);
    assert_eq!(
        (&begun["kind"], &begun["detected_by"]),
        (&json!("maintenance"), &json!("operator"))
    );
    assert_eq!(begun["expected_end"], to.to_string());
    let source = lab.get("/v1/sources/bank").await.json();
    assert_eq!(source["incident"]["id"], begun["id"]);
    let id = connection.rsplit('/').next().unwrap();
    let health = format!("/api/reliability/connections/{id}/health?account=");
    let account = connection.split('/').nth(3).unwrap();
    let health = format!("{health}{account}");
    eventually(async || lab.get(&health).await.json()["status"] == "maintenance").await;

    lab.post(&format!("{connection}/fetch"), "").await;
    let waits = lab.comes_to(&connection, "manual").await;
    assert_eq!(waits["retries"], 0);

    lab.clock.forward(HOUR * 2);
    lab.comes_to(&connection, "waiting").await;
    eventually(async || incidents(&lab, "?state=ended").await.len() == 1).await;
    assert_eq!(incidents(&lab, "?state=ended").await[0]["id"], begun["id"]);
    assert_eq!(
        said(&lab).await,
        [
            "UPDATED /sources/bank",
            "CREATED /sources/bank/incidents/{id}",
            "UPDATED /sources/bank/incidents/{id}/state/ended"
        ]
    );
    assert_eq!(
        lab.get("/v1/sources/bank").await.json()["maintenance"],
        json!([])
    );
}

#[tokio::test]
async fn one_answer_of_maintenance_keeps_the_others_still_until_a_probe_is_answered() {
    let lab = Lab::new().await;
    let first = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&first, "waiting").await;
    let second = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&second, "waiting").await;
    lab.clock.forward(HOUR);
    lab.script
        .next(vec![Act::Fail(ErrorClass::BankMaintenance)]);

    lab.post(&format!("{first}/fetch"), "").await;
    eventually(async || incidents(&lab, "?state=open").await.len() == 1).await;
    let met = incidents(&lab, "").await.remove(0);
    assert_eq!(
        (&met["detected_by"], &met["reason"], &met["expected_end"]),
        (&json!("answers"), &json!("as_told"), &Value::Null)
    );
    let waits = lab.comes_to(&first, "waiting").await;
    assert_eq!(waits["retries"], 0);
    lab.post(&format!("{second}/fetch"), "").await;
    let waits = lab.comes_to(&second, "manual").await;
    assert_eq!(waits["retries"], 0, "{waits}");

    // The bank has nothing against anybody any more.
    lab.clock.forward(HOUR);
    lab.comes_to(&second, "waiting").await;
    eventually(async || incidents(&lab, "?state=ended").await.len() == 1).await;
    let told = said(&lab).await;
    assert_eq!(
        told,
        [
            "CREATED /sources/bank/incidents/{id}",
            "UPDATED /sources/bank/incidents/{id}/state/ended"
        ]
    );
}

#[tokio::test]
async fn only_who_runs_the_installation_changes_a_source_and_every_fault_is_named() {
    let lab = Lab::new().await;
    lab.access.create_tenant("two", None).await.unwrap();
    let (_, other) = lab.access.create_key("two", None).await.unwrap();
    let path = "/v1/sources/bank";
    let reply = request(&other, Method::PATCH, path, r#"{"enabled": false}"#);
    lab.send(reply).await.problem(403, "not_the_operator");
    let reply = lab.call(Method::PATCH, "/v1/sources/nowhere", "{}").await;
    reply.problem(404, "not_found");

    let body = json!({
        "enabled": "yes",
        "maintenance": [
            {"every": "Sun 02:00-05:00"},
            {"every": "Sonntag"},
            {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"},
            {"from": "2026-01-01T00:00:00Z"},
            7,
        ],
        "why": 1,
    });
    let reply = lab.call(Method::PATCH, path, body.to_string()).await;
    let problem = reply.problem(422, "validation_failed");
    let pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(
        pointers,
        [
            "/enabled",
            "/maintenance/1",
            "/maintenance/2",
            "/maintenance/3",
            "/maintenance/4",
            "/why"
        ]
    );
    let reply = lab.get("/v1/incidents?kind=x&state=y&source=Z").await;
    let problem = reply.problem(400, "invalid_parameter");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3);

    let set = r#"{"maintenance": [{"every": "Sun 02:00-05:00", "zone": "Europe/Berlin"}]}"#;
    let mut once = request(&lab.key, Method::PATCH, path, set);
    once.headers_mut()
        .insert("idempotency-key", "k-1".parse().unwrap());
    let first = lab.send(once).await.json();
    assert_eq!(first["maintenance"][0]["every"], "Sun 02:00-05:00");
    assert_eq!(first["maintenance"][0]["zone"], "Europe/Berlin");
    let cleared = lab
        .call(Method::PATCH, path, r#"{"maintenance": null}"#)
        .await;
    assert_eq!(cleared.json()["maintenance"], json!([]));
    let mut again = request(&lab.key, Method::PATCH, path, set);
    again
        .headers_mut()
        .insert("idempotency-key", "k-1".parse().unwrap());
    let again = lab.send(again).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.json()["maintenance"], json!([]), "as it is now");
}

#[tokio::test]
async fn maintenance_that_comes_back_is_forecast_and_nothing_is_skipped_because_of_it() {
    let lab = Lab::new().await;
    let connection = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&connection, "waiting").await;
    for _week in 0..3 {
        let now = wellspring_engine::Clock::now(lab.clock.as_ref());
        let to = now.after(HOUR * 2).to_string();
        let window = json!({"from": now.to_string(), "to": to});
        patch(&lab, &json!({"maintenance": [window]})).await;
        eventually(async || incidents(&lab, "?state=open").await.len() == 1).await;
        lab.clock.forward(HOUR * 3);
        eventually(async || incidents(&lab, "?state=open").await.is_empty()).await;
        lab.clock.forward(HOUR * (7 * 24 - 3));
    }
    let source = lab.get("/v1/sources/bank").await.json();
    let forecast = &source["forecast"][0];
    assert_eq!(
        (&forecast["seen"], &forecast["of"]),
        (&json!(3), &json!(4)),
        "{source}"
    );
    let evidence = forecast["evidence"].as_array().unwrap();
    let ids: Vec<Value> = incidents(&lab, "")
        .await
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(*evidence, ids);
    assert!(forecast["weekday"].is_string());
    let list = lab.get("/v1/sources").await.json();
    assert_eq!(list["data"][0]["name"], "bank");
    assert_eq!(list["data"][0]["forecast"], Value::Null);

    // In the very hour of the forecast a fetch goes out as ever.
    lab.post(&format!("{connection}/fetch"), "").await;
    lab.comes_to(&connection, "waiting").await;
}
