use http::Method;
use serde_json::{Value, json};

use crate::lab::{Lab, collect};

const CALLBACK: &str = "https://receiver.test/hook";

#[tokio::test]
async fn a_collection_is_accepted_shown_and_listed() {
    let lab = Lab::new().await;

    let reply = lab.post("/collect", collect("gas", CALLBACK)).await;
    assert_eq!(reply.status, 202);
    let body = reply.json();
    let id = body["requestId"].as_str().unwrap();
    let url = format!("http://wellspring.test/collect/{id}");
    assert_eq!(
        body,
        json!({ "requestId": id, "status": "requested", "statusUrl": url })
    );
    assert_eq!(reply.header("location"), Some(url.as_str()));
    assert_eq!(reply.header("content-type"), Some("application/json"));

    let shown = lab.settles(id, "delivered").await;
    assert_eq!(shown["requestId"], id);
    assert_eq!(shown["provider"], "gas");
    assert_eq!(shown["error"], Value::Null);
    assert_eq!(shown["nextAttemptAt"], Value::Null);
    for time in ["createdAt", "collectedAt", "deliveredAt"] {
        assert!(shown[time].as_str().unwrap().ends_with('Z'), "{shown}");
    }
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    for (attempt, stage) in attempts.iter().zip(["collect", "deliver"]) {
        assert_eq!(attempt["stage"], stage);
        assert_eq!(attempt["outcome"], "success");
        assert!(attempt["durationMs"].is_u64() && attempt["at"].is_string());
        assert!(attempt.get("class").is_none());
    }

    let list = lab.get("/collect?status=delivered").await.json();
    assert_eq!(list["data"][0]["requestId"], id);
    assert!(list["data"][0].get("attempts").is_none());
    assert_eq!(list["has_more"], false);
    assert_eq!(list["next_cursor"], Value::Null);
}

#[tokio::test]
async fn every_fault_of_a_body_is_named_at_its_place() {
    let lab = Lab::new().await;
    let unknown = "is not a configured source; there are bank, broken, gas, rotten, stuck";
    let text = "must be a string";
    for (body, expected) in [
        (
            json!({}).to_string(),
            vec![
                ("/provider", "is required"),
                ("/callbackUrl", "is required"),
            ],
        ),
        (collect("water", CALLBACK), vec![("/provider", unknown)]),
        (collect("", CALLBACK), vec![("/provider", unknown)]),
        (
            collect("water", "http://refused.test"),
            vec![("/provider", unknown), ("/callbackUrl", "is refused")],
        ),
        (
            json!({"provider": 1, "callbackUrl": null}).to_string(),
            vec![("/provider", text), ("/callbackUrl", text)],
        ),
        (
            json!({"provider": "gas", "callbackUrl": CALLBACK, "a/b~c": 1, "x": {}}).to_string(),
            vec![
                ("/a~1b~0c", "is not known here"),
                ("/x", "is not known here"),
            ],
        ),
        (
            format!(r#"{{"provider":"gas","provider":"gas","callbackUrl":"{CALLBACK}"}}"#),
            vec![("/provider", "is there more than once")],
        ),
        (
            json!(["gas", CALLBACK]).to_string(),
            vec![("", "the body must be a JSON object")],
        ),
        (
            "null".to_owned(),
            vec![("", "the body must be a JSON object")],
        ),
        (
            collect("gas", &format!("{CALLBACK}?{}", "x".repeat(2_100))),
            vec![("/callbackUrl", "is longer than 2048 bytes")],
        ),
    ] {
        let problem = lab
            .post("/collect", body.clone())
            .await
            .problem(422, "validation_failed");
        let mut found: Vec<(&str, &str)> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| {
                (
                    fault["pointer"].as_str().unwrap(),
                    fault["detail"].as_str().unwrap(),
                )
            })
            .collect();
        let mut expected = expected;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{body}");
    }
    assert_eq!(lab.get("/collect").await.json()["data"], json!([]));
}

#[tokio::test]
async fn what_is_no_json_or_too_large_is_refused_and_escapes_are_read() {
    let lab = Lab::new().await;
    for body in [
        "",
        "{",
        "no",
        "{\"provider\":\"gas\"} x",
        "{\"provider\":\"\u{1}\"}",
    ] {
        lab.post("/collect", body)
            .await
            .problem(400, "malformed_json");
    }
    let bytes = b"{\"provider\":\"\xff\"}".to_vec();
    lab.post("/collect", bytes)
        .await
        .problem(400, "malformed_json");
    let deep = "[".repeat(100_000);
    lab.post("/collect", deep)
        .await
        .problem(400, "malformed_json");

    let large = format!("{{\"provider\":\"{}\"}}", "x".repeat(1 << 20));
    lab.post("/collect", large.clone())
        .await
        .problem(413, "body_too_large");
    let streamed =
        axum::body::Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(
            large
                .into_bytes()
                .chunks(4_096)
                .map(|chunk| {
                    Ok::<_, std::io::Error>(http_body::Frame::data(bytes::Bytes::copy_from_slice(
                        chunk,
                    )))
                })
                .collect::<Vec<_>>(),
        )));
    lab.post("/collect", streamed)
        .await
        .problem(413, "body_too_large");

    let escaped = r#" {"callbackUrl":"https:\/\/receiver.test\/hook","provider":"\u0067as"} "#;
    assert_eq!(lab.post("/collect", escaped).await.status, 202);
}

#[tokio::test]
async fn lists_go_on_page_by_page_and_bad_parameters_are_named() {
    let lab = Lab::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(lab.collect("stuck", CALLBACK).await);
    }
    let mut seen = Vec::new();
    let mut path = "/collect?limit=2".to_owned();
    loop {
        let page = lab.get(&path).await.json();
        let data = page["data"].as_array().unwrap().clone();
        seen.extend(
            data.iter()
                .map(|row| row["requestId"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert_eq!(page["has_more"], false);
            break;
        };
        assert_eq!(page["has_more"], true);
        path = format!("/collect?limit=2&cursor={cursor}");
    }
    ids.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, ids);
    assert_eq!(
        lab.get("/collect?status=failed").await.json()["data"],
        json!([])
    );

    for (query, parameter) in [
        ("status=lost", "status"),
        ("status=", "status"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=%00", "cursor"),
        ("state=failed", "state"),
    ] {
        let reply = lab.get(&format!("/collect?{query}")).await;
        let problem = reply.problem(400, "invalid_parameter");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query}");
    }
}

#[tokio::test]
async fn a_failed_collection_is_retried_and_another_is_not() {
    let lab = Lab::new().await;
    let id = lab.collect("broken", CALLBACK).await;
    let shown = lab.settles(&id, "failed").await;
    assert_eq!(
        shown["error"],
        json!({"stage": "collect", "class": "invalid_request", "code": "http_400", "message": "It does not want to."})
    );
    assert_eq!(shown["attempts"][0]["outcome"], "failure");
    assert_eq!(shown["attempts"][0]["code"], "http_400");

    let path = format!("/collect/{id}/retry");
    let problem = lab
        .post(&path, r#"{"again":1}"#)
        .await
        .problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "/again");
    let reply = lab.post(&path, "{}").await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json()["requestId"], id.as_str());
    assert_eq!(reply.json()["status"], "requested");
    assert!(reply.header("location").unwrap().ends_with(&id));

    let undelivered = lab.collect("gas", "https://gone.test").await;
    let shown = lab.settles(&undelivered, "failed").await;
    assert_eq!(shown["error"]["stage"], "deliver");
    let reply = lab.post(&format!("/collect/{undelivered}/retry"), "").await;
    assert_eq!(reply.json()["status"], "collected");

    let stuck = lab.collect("stuck", CALLBACK).await;
    lab.post(&format!("/collect/{stuck}/retry"), "")
        .await
        .problem(409, "not_failed");
    lab.post("/collect/col_00000000000070008000000000000000/retry", "")
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn an_erased_collection_is_gone() {
    let lab = Lab::new().await;
    let id = lab.collect("gas", CALLBACK).await;
    lab.settles(&id, "delivered").await;
    let path = format!("/collect/{id}");

    let reply = lab.call(Method::DELETE, &path, "").await;
    assert_eq!(reply.status, 204);
    assert!(reply.body.is_empty());
    lab.get(&path).await.problem(404, "not_found");
    lab.call(Method::DELETE, &path, "")
        .await
        .problem(404, "not_found");
    lab.post(&format!("{path}/retry"), "")
        .await
        .problem(404, "not_found");

    let stuck = lab.collect("stuck", CALLBACK).await;
    assert_eq!(
        lab.call(Method::DELETE, &format!("/collect/{stuck}"), "")
            .await
            .status,
        204
    );
    assert_eq!(lab.get("/collect").await.json()["data"], json!([]));
}

#[tokio::test]
async fn ids_that_are_none_are_not_found() {
    let lab = Lab::new().await;
    for id in [
        "col_1",
        "ten_00000000000070008000000000000000",
        "%FF",
        "..",
        "a%2Fb",
    ] {
        lab.get(&format!("/collect/{id}"))
            .await
            .problem(404, "not_found");
    }
}
