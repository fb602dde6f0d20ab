use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};

use crate::lab::{Lab, collect, request};

const CALLBACK: &str = "https://receiver.test/hook";

#[tokio::test]
async fn what_is_one_tenants_is_not_there_for_another() {
    let lab = Lab::new().await;
    lab.access.create_tenant("two", None).await.unwrap();
    let (_, other) = lab.access.create_key("two", None).await.unwrap();
    let id = lab.collect("broken", CALLBACK).await;
    lab.settles(&id, "failed").await;
    let keyed = lab
        .post_with_key("/collect", &collect("gas", CALLBACK), "abc")
        .await;

    for (method, path) in [
        (Method::GET, format!("/collect/{id}")),
        (Method::DELETE, format!("/collect/{id}")),
        (Method::POST, format!("/collect/{id}/retry")),
    ] {
        let reply = lab.send(request(&other, method, &path, "")).await;
        reply.problem(404, "not_found");
    }
    assert_eq!(
        lab.get(&format!("/collect/{id}")).await.json()["status"],
        "failed"
    );
    let list = lab.send(request(&other, Method::GET, "/collect", "")).await;
    assert_eq!(list.json()["data"].as_array().unwrap().len(), 0);
    let changes = lab
        .send(request(&other, Method::GET, "/v1/changes", ""))
        .await;
    assert_eq!(changes.json()["data"].as_array().unwrap().len(), 0);
    let secret = lab
        .send(request(&other, Method::GET, "/v1/callback-secret", ""))
        .await;
    assert_ne!(secret.json(), lab.get("/v1/callback-secret").await.json());

    let mut theirs = request(&other, Method::POST, "/collect", collect("gas", CALLBACK));
    theirs
        .headers_mut()
        .insert("idempotency-key", "abc".parse().unwrap());
    let theirs = lab.send(theirs).await;
    assert_eq!(theirs.status, 202);
    assert_ne!(theirs.json()["requestId"], keyed.json()["requestId"]);
}

#[tokio::test]
async fn only_a_live_key_opens_the_door() {
    let lab = Lab::new().await;
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let with = async |value: &str| {
        let request = Request::get("/collect").header("authorization", value);
        lab.send(request.body(Body::empty()).unwrap()).await
    };
    let key = lab.key.clone();
    for good in [
        format!("Bearer {key}"),
        format!("bearer  {key}"),
        basic(&format!(":{key}")),
        basic(&format!("me:{key}")),
    ] {
        assert_eq!(with(&good).await.status, 200, "{good}");
    }
    let bad = [
        "Bearer",
        "Bearer ",
        "Bearer wsk_wrong_wrong_wrong",
        "Digest x",
        "Basic !!",
        "é",
        &key,
    ]
    .map(str::to_owned);
    for bad in bad.into_iter().chain([
        basic(&key),
        basic(&format!("{key}:")),
        format!("Bearer {key}x"),
    ]) {
        let reply = with(&bad).await;
        reply.problem(401, "unauthorized");
        assert!(
            reply
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer")
        );
    }
    let twice = Request::get("/collect")
        .header("authorization", format!("Bearer {key}"))
        .header("authorization", format!("Bearer {key}"));
    lab.send(twice.body(Body::empty()).unwrap())
        .await
        .problem(401, "unauthorized");
    for path in [
        "/collect",
        "/collect/col_1",
        "/v1/changes",
        "/v1/changes/head",
        "/v1/settings",
        "/v1/callback-secret",
    ] {
        let reply = lab
            .send(Request::get(path).body(Body::empty()).unwrap())
            .await;
        reply.problem(401, "unauthorized");
    }

    let id = lab.access.list_keys(Some("one"))[0].id;
    assert_eq!(lab.access.revoke_key(id).await, Ok(true));
    lab.get("/collect").await.problem(401, "unauthorized");
}
