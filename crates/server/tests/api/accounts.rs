use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use wellspring_engine::TokenKind;
use wellspring_server::Page;

use crate::lab::{Lab, request};
use crate::script::Act;

#[tokio::test]
async fn an_account_is_made_renamed_listed_and_erased() {
    let lab = Lab::new().await;
    let made = lab.post("/v1/accounts", r#"{"external_id": "u-1"}"#).await;
    assert_eq!(made.status, 201);
    let account = made.json();
    let path = format!("/v1/accounts/{}", account["id"].as_str().unwrap());
    assert_eq!(
        made.header("location"),
        Some(format!("http://wellspring.test{path}").as_str())
    );
    assert_eq!(account["external_id"], "u-1");
    assert!(account["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(lab.get(&path).await.json(), account);
    lab.post("/v1/accounts", r#"{"external_id": "u-1"}"#)
        .await
        .problem(409, "external_id_taken");

    let renamed = lab
        .call(Method::PATCH, &path, r#"{"external_id": "u-2"}"#)
        .await;
    assert_eq!(renamed.json()["external_id"], "u-2");
    // Ids of one millisecond sort by chance.
    lab.clock.forward(Duration::from_millis(1));
    let second = lab.post("/v1/accounts", "").await.json();
    assert_eq!(second["external_id"], Value::Null);
    let theirs = format!("/v1/accounts/{}", second["id"].as_str().unwrap());
    lab.call(Method::PATCH, &theirs, r#"{"external_id": "u-2"}"#)
        .await
        .problem(409, "external_id_taken");
    let named = lab.get("/v1/accounts?external_id=u-2").await.json();
    assert_eq!(named["data"][0]["id"], account["id"]);
    assert_eq!(named["data"].as_array().unwrap().len(), 1);
    let first_page = lab.get("/v1/accounts?limit=1").await.json();
    assert_eq!(first_page["data"], json!([second]));
    assert_eq!(first_page["has_more"], true);
    let cursor = first_page["next_cursor"].as_str().unwrap();
    let last_page = lab
        .get(&format!("/v1/accounts?limit=1&cursor={cursor}"))
        .await
        .json();
    assert_eq!(last_page["data"][0]["id"], account["id"]);
    assert_eq!(last_page["next_cursor"], Value::Null);

    assert_eq!(lab.call(Method::DELETE, &path, "").await.status, 204);
    lab.get(&path).await.problem(404, "not_found");
    lab.call(Method::DELETE, &path, "")
        .await
        .problem(404, "not_found");
    let again = lab.post("/v1/accounts", r#"{"external_id": "u-2"}"#).await;
    assert_eq!(again.status, 201);
}

#[tokio::test]
async fn what_is_erased_is_gone_at_once_with_everything_under_it() {
    let lab = Lab::new().await;
    let acts = vec![Act::Document("a.pdf", "bytes".into()), Act::Hang];
    let connection = lab.connect(acts).await;
    lab.comes_to(&connection, "uploading").await;
    let document = lab.get("/v1/documents").await.json()["data"][0].clone();
    let document = format!("/v1/documents/{}", document["id"].as_str().unwrap());
    assert_eq!(lab.get(&document).await.status, 200);

    let (account, _) = connection.split_once("/connections").unwrap();
    assert_eq!(lab.call(Method::DELETE, account, "").await.status, 204);

    let gone = [
        account.to_owned(),
        connection.clone(),
        format!("{connection}/fetches"),
        format!("{connection}/documents"),
        document.clone(),
        format!("{document}/content"),
    ];
    for path in gone {
        lab.get(&path).await.problem(404, "not_found");
    }
    for path in ["/v1/documents", "/v1/accounts"] {
        assert_eq!(lab.get(path).await.json()["data"], json!([]), "{path}");
    }
    let body = r#"{"source": "bank"}"#;
    lab.post(&format!("{account}/connections"), body)
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn bodies_and_keys_of_accounts_are_judged() {
    let lab = Lab::new().await;
    for (body, status, code) in [
        ("{", 400, "malformed_json"),
        ("[]", 422, "validation_failed"),
        (r#"{"external_id": ""}"#, 422, "validation_failed"),
        (r#"{"external_id": 7}"#, 422, "validation_failed"),
        (r#"{"name": "x"}"#, 422, "validation_failed"),
    ] {
        lab.post("/v1/accounts", body).await.problem(status, code);
    }
    let body = r#"{"external_id": "u-1"}"#;
    let first = lab.post_with_key("/v1/accounts", body, "k").await;
    let again = lab.post_with_key("/v1/accounts", body, "k").await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    lab.post_with_key("/v1/accounts", "{}", "k")
        .await
        .problem(422, "idempotency_key_reused");
    for bad in ["/v1/accounts/x", "/v1/accounts/acct_00", "/v1/accounts/%ff"] {
        lab.get(bad).await.problem(404, "not_found");
    }
    lab.get("/v1/accounts?cursor=x&limit=0")
        .await
        .problem(400, "invalid_parameter");
}

#[tokio::test]
async fn a_token_reaches_one_account_and_as_far_as_its_kind_goes() {
    let lab = Lab::new().await;
    let connection = lab.connect(vec![]).await;
    lab.comes_to(&connection, "waiting").await;
    let other = lab.connect(vec![]).await;
    let (account, id) = connection.split_once("/connections/").unwrap();
    let (others, _) = other.split_once("/connections").unwrap();
    let client = lab.token(account, TokenKind::Client, Page::default()).await;
    let repairs = Page {
        connection: Some(id.parse().unwrap()),
        source: None,
    };
    let page = lab.token(account, TokenKind::Page, repairs).await;
    let link = lab
        .token(account, TokenKind::Connect, Page::default())
        .await;
    let get = async |token: &str, path: &str| lab.send(request(token, Method::GET, path, "")).await;

    for path in [account, &connection, "/v1/documents", "/v1/sources"] {
        assert_eq!(get(&client, path).await.status, 200, "{path}");
    }
    for path in [others, &other, &format!("{other}/documents")] {
        get(&client, path).await.problem(404, "not_found");
    }
    for path in ["/v1/accounts", "/v1/settings", "/v1/subscriptions"] {
        get(&client, path).await.problem(403, "forbidden");
    }
    let source = get(&client, "/v1/sources/bank").await.json();
    assert_eq!(source["lane"], Value::Null);
    assert!(lab.get("/v1/sources/bank").await.json()["lane"].is_object());

    assert_eq!(get(&page, &connection).await.status, 200);
    get(&page, account).await.problem(403, "forbidden");
    let body = r#"{"source": "bank"}"#;
    let path = format!("{account}/connections");
    let reply = lab.send(request(&page, Method::POST, &path, body)).await;
    reply.problem(403, "forbidden");
    get(&link, &connection).await.problem(401, "unauthorized");
    lab.clock.forward(Duration::from_secs(60));
    get(&client, &connection).await.problem(401, "unauthorized");
}
