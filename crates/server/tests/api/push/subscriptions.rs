use http::Method;
use serde_json::{Value, json};

use super::lab::{Lab, text};
use crate::lab::eventually;

const STATES: &str = "UPDATED /accounts/*/connections/*/state/*";

fn wanted(url: &str) -> Value {
    json!({"patterns": [STATES], "url": url})
}

#[tokio::test]
async fn a_subscription_is_made_shown_changed_and_removed() {
    let lab = Lab::new().await;
    let body = json!({
        "patterns": [STATES, "delete /collections/*"],
        "url": "https://receiver.test/a",
        "description": "states",
        "signing": "ed25519",
    });
    let made = lab
        .post_under("k1", "/v1/subscriptions", body.clone())
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert!(text(&made["secret"]).starts_with("whpk_"), "{made}");
    assert_eq!(made["patterns"], json!([STATES, "DELETED /collections/*"]));
    assert_eq!(made["state"], "active");
    let again = lab.post_under("k1", "/v1/subscriptions", body).await;
    assert_eq!(again.json(), made);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let other = wanted("https://receiver.test/other");
    let reused = lab.post_under("k1", "/v1/subscriptions", other).await;
    reused.problem(422, "idempotency_key_reused");

    let hmac = lab
        .post("/v1/subscriptions", wanted("https://receiver.test/b"))
        .await
        .json();
    assert!(text(&hmac["secret"]).starts_with("whsec_"), "{hmac}");
    let path = format!("/v1/subscriptions/{}", text(&hmac["id"]));
    let shown = lab.get(&path).await.json();
    assert_eq!(shown["secret"], Value::Null);
    assert_eq!(shown["health"]["behind"], false, "{shown}");
    // Both may be of one millisecond, in which their ids are in no order.
    let mut ids = [text(&made["id"]), text(&hmac["id"])];
    ids.sort_unstable();
    let page = lab.get("/v1/subscriptions?limit=1").await.json();
    assert_eq!(page["data"][0]["id"], ids[1]);
    let next = text(&page["next_cursor"]);
    let page = lab
        .get(&format!("/v1/subscriptions?cursor={next}"))
        .await
        .json();
    assert_eq!(page["data"][0]["id"], ids[0]);
    assert_eq!(page["has_more"], false);

    let rotated = lab
        .post_under("r1", &format!("{path}/secret/rotate"), Value::Null)
        .await
        .json();
    assert_ne!(rotated["secret"], hmac["secret"]);
    assert!(rotated["previous_secret_ends_at"].is_string(), "{rotated}");
    let again = lab
        .post_under("r1", &format!("{path}/secret/rotate"), Value::Null)
        .await;
    assert_eq!(again.json(), rotated);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));

    let patch = json!({"enabled": false, "description": null, "url": "https://receiver.test/c"});
    let patched = lab.patch(&path, patch).await.json();
    assert_eq!(patched["state"], "paused");
    assert_eq!(patched["url"], "https://receiver.test/c");
    assert_eq!(
        lab.as_caller(&lab.key, Method::DELETE, &path, "")
            .await
            .status,
        204
    );
    lab.get(&path).await.problem(404, "not_found");
}

#[tokio::test]
async fn every_fault_of_a_subscription_is_named() {
    let lab = Lab::new().await;
    for (body, pointers) in [
        (json!({}), vec!["/patterns", "/url"]),
        (
            json!({"patterns": [], "url": "https://a.test"}),
            vec!["/patterns"],
        ),
        (
            json!({"patterns": ["UPDATED /a//b", 3, STATES, "MOVED /a"], "url": "https://refused.test"}),
            vec!["/patterns/0", "/patterns/1", "/patterns/3", "/url"],
        ),
        (
            json!({"patterns": [STATES], "url": "https://a.test", "signing": "md5", "extra": 1}),
            vec!["/signing", "/extra"],
        ),
        (
            json!({"patterns": vec![STATES; 51], "url": "https://a.test"}),
            vec!["/patterns"],
        ),
    ] {
        let reply = lab.post("/v1/subscriptions", body.clone()).await;
        assert_eq!(reply.faults(422, "validation_failed"), pointers, "{body}");
    }
}

#[tokio::test]
async fn changes_are_sent_listed_and_sent_again() {
    let lab = Lab::new().await;
    let url = "https://receiver.test/hook";
    let made = lab.post("/v1/subscriptions", wanted(url)).await.json();
    let id = text(&made["id"]);
    let account = lab.account().await;
    let connection = lab.connect(&account, "pin").await;
    lab.settles(&account, &connection, "question").await;
    let is_question = |body: &Value| text(&body["data"]["path"]).ends_with("/state/question");
    eventually(async || {
        lab.endpoints
            .got(url)
            .iter()
            .any(|(_, body)| is_question(body))
    })
    .await;
    let got = lab.endpoints.got(url);
    let (change, message) = got
        .iter()
        .find(|(_, body)| is_question(body))
        .unwrap()
        .clone();
    assert_eq!(message["type"], "connection.state.updated");
    assert_eq!(message["data"]["id"], change);

    let path = format!("/v1/deliveries?subscription={id}&status=delivered");
    eventually(async || {
        let list = lab.get(&path).await.json();
        list["data"].as_array().unwrap().len() == got.len()
    })
    .await;
    let list = lab.get(&path).await.json();
    let mut rows = list["data"].as_array().unwrap().iter();
    let row = rows.find(|row| row["message_id"] == change).unwrap();
    let delivery = format!("/v1/deliveries/{}", text(&row["id"]));
    let shown = lab.get(&delivery).await.json();
    assert_eq!(shown["attempts"][0]["status"], 204, "{shown}");
    assert_eq!(shown["attempts"][0]["response"], "so it says");
    let page = lab
        .get(&format!("/v1/deliveries?subscription={id}&limit=1"))
        .await
        .json();
    let next = text(&page["next_cursor"]);
    let rest = lab
        .get(&format!("/v1/deliveries?subscription={id}&cursor={next}"))
        .await
        .json();
    assert_eq!(rest["data"].as_array().unwrap().len(), got.len() - 1);

    let sent = async |times: usize| {
        let count = || {
            lab.endpoints
                .got(url)
                .iter()
                .filter(|(id, _)| *id == change)
                .count()
        };
        eventually(async || count() == times).await;
    };
    assert_eq!(
        lab.post(&format!("{delivery}/retry"), Value::Null)
            .await
            .status,
        202
    );
    sent(2).await;
    eventually(async || lab.get(&delivery).await.json()["attempts"][1]["number"] == 2).await;
    let replay = format!("/v1/subscriptions/{id}/replay");
    assert_eq!(
        lab.post(&replay, json!({"ids": [change]})).await.status,
        202
    );
    sent(3).await;
    let since = json!({"since": message["data"]["at"]});
    assert_eq!(lab.post(&replay, since).await.status, 202);
    sent(4).await;

    let foreign = change.replace(&change[30..], "ffffff");
    let bad = lab
        .post(&replay, json!({"ids": [change, "chg_x", foreign]}))
        .await;
    assert_eq!(bad.faults(422, "validation_failed"), ["/ids/1"]);
    let bad = lab.post(&replay, json!({"ids": [change, foreign]})).await;
    assert_eq!(bad.faults(422, "validation_failed"), ["/ids/1"]);
    let bad = lab
        .post(&replay, json!({"ids": [change], "since": "now"}))
        .await;
    assert_eq!(bad.faults(422, "validation_failed"), [""]);
}

#[tokio::test]
async fn a_test_tells_what_the_endpoint_says_and_one_that_is_gone_is_disabled_until_enabled() {
    let lab = Lab::new().await;
    let made = lab
        .post("/v1/subscriptions", wanted("https://receiver.test/busy"))
        .await
        .json();
    let path = format!("/v1/subscriptions/{}/test", text(&made["id"]));
    let tested = lab.post(&path, Value::Null).await;
    assert_eq!(tested.status, 200, "{tested:?}");
    let tested = tested.json();
    assert_eq!(tested["delivered"], false);
    assert_eq!(tested["status"], 400);
    assert_eq!(tested["response"], "so it says");

    let made = lab
        .post("/v1/subscriptions", wanted("https://gone.test/hook"))
        .await
        .json();
    let path = format!("/v1/subscriptions/{}", text(&made["id"]));
    let account = lab.account().await;
    lab.connect(&account, "pin").await;
    eventually(async || {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        lab.get(&path).await.json()["state"] == "disabled"
    })
    .await;
    let shown = lab.get(&path).await.json();
    assert_eq!(shown["disabled_reason"], "gone");
    assert_eq!(shown["enabled"], true);
    let patch = json!({"enabled": true, "url": "https://receiver.test/mended"});
    let patched = lab.patch(&path, patch).await.json();
    assert_eq!(patched["state"], "active", "{patched}");
    eventually(async || !lab.endpoints.got("https://receiver.test/mended").is_empty()).await;
}
