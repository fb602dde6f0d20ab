use http::Method;
use serde_json::{Value, json};

use super::lab::{Lab, text};

#[tokio::test]
async fn a_client_token_sees_its_account_and_nothing_else() {
    let lab = Lab::new().await;
    let (own, other) = (lab.account().await, lab.account().await);
    let connection = lab.connect(&own, "pin").await;
    let foreign = lab.connect(&other, "pin").await;
    lab.settles(&own, &connection, "question").await;
    lab.settles(&other, &foreign, "question").await;
    let reply = lab
        .post(
            &format!("/v1/accounts/{own}/tokens"),
            json!({"for": "client"}),
        )
        .await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let token = text(&reply.json()["token"]);
    assert!(token.starts_with("wst_") && token.len() > 40);
    assert_eq!(reply.json()["url"], Value::Null);

    let get = async |path: &str| lab.as_caller(&token, Method::GET, path, "").await;
    for path in [
        format!("/v1/accounts/{own}"),
        format!("/v1/accounts/{own}/connections/{connection}"),
        format!("/v1/accounts/{own}/connections/{connection}/interactions"),
        "/v1/sources".to_owned(),
        "/v1/changes".to_owned(),
    ] {
        assert_eq!(get(&path).await.status, 200, "{path}");
    }
    for path in [
        format!("/v1/accounts/{other}"),
        format!("/v1/accounts/{other}/connections/{foreign}"),
        format!("/v1/accounts/{own}/connections/{foreign}"),
    ] {
        assert_eq!(get(&path).await.status, 404, "{path}");
    }
    for path in [
        "/v1/accounts",
        "/v1/settings",
        "/v1/subscriptions",
        "/v1/deliveries",
        "/collect",
    ] {
        get(path).await.problem(403, "forbidden");
    }
    let seen = get("/v1/changes").await.json();
    let seen = seen["data"].as_array().unwrap();
    assert!(!seen.is_empty());
    assert!(
        seen.iter().all(|entry| text(&entry["path"]).contains(&own)),
        "{seen:?}"
    );

    let path = format!("/v1/accounts/{own}/tokens");
    let more = lab
        .as_caller(&token, Method::POST, &path, r#"{"for":"client"}"#)
        .await;
    more.problem(403, "forbidden");
}

#[tokio::test]
async fn what_a_token_is_asked_for_is_checked_and_its_key_gives_the_same_again() {
    let lab = Lab::new().await;
    let (account, other) = (lab.account().await, lab.account().await);
    let foreign = lab.connect(&other, "pin").await;
    let path = format!("/v1/accounts/{account}/tokens");
    let body = json!({"return_urls": ["https://app.test/done"]});
    assert_eq!(lab.patch("/v1/settings", body).await.status, 200);

    for (body, pointers) in [
        (json!({}), vec!["/for"]),
        (json!({"for": "page"}), vec!["/for"]),
        (json!({"for": "client", "source": "bank"}), vec!["/source"]),
        (
            json!({"for": "connect", "connection": foreign}),
            vec!["/connection"],
        ),
        (
            json!({"for": "connect", "source": "nobody"}),
            vec!["/source"],
        ),
        (
            json!({"for": "connect", "return_url": "https://app.test/done?x"}),
            vec!["/return_url"],
        ),
        (
            json!({"for": "connect", "expires_in": "25h"}),
            vec!["/expires_in"],
        ),
        (
            json!({"for": "connect", "expires_in": 5, "more": 1}),
            vec!["/expires_in", "/more"],
        ),
    ] {
        let reply = lab.post(&path, body.clone()).await;
        assert_eq!(reply.faults(422, "validation_failed"), pointers, "{body}");
    }
    let nobody = "/v1/accounts/acct_0193b8a1c2d37a4b9e0f1a2b3c4d5e6f/tokens";
    lab.post(nobody, json!({"for": "client"}))
        .await
        .problem(404, "not_found");

    let body = json!({"for": "connect", "return_url": "https://app.test/done", "expires_in": "2h"});
    let first = lab.post_under("k1", &path, body.clone()).await;
    assert_eq!(first.status, 201, "{first:?}");
    let token = text(&first.json()["token"]);
    assert_eq!(
        first.json()["url"],
        format!("http://wellspring.test/connect/{token}")
    );
    let again = lab.post_under("k1", &path, body).await;
    assert_eq!(again.json(), first.json());
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let changed = json!({"for": "connect", "expires_in": "2h"});
    lab.post_under("k1", &path, changed)
        .await
        .problem(422, "idempotency_key_reused");
}
