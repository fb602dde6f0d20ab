use axum::body::Body;
use http::{Method, Request};
use wellspring_server::{gather_metrics, metrics_router, router};

use crate::lab::{Lab, collect, eventually};
use crate::metrics::{scrape, sum};

async fn open(lab: &Lab, method: Method, path: &str) -> crate::lab::Reply {
    let request = Request::builder().method(method).uri(path);
    lab.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn health_is_open_and_says_what_is_wrong() {
    let lab = Lab::new().await;
    let live = open(&lab, Method::GET, "/livez").await;
    assert_eq!(
        (live.status.as_u16(), live.json()["status"].as_str()),
        (200, Some("ok"))
    );
    let ready = open(&lab, Method::GET, "/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["checks"]["engine"]["status"], "ok");

    lab.store.set_down(true);
    let failing = open(&lab, Method::GET, "/readyz").await;
    assert_eq!(failing.status, 503);
    assert_eq!(failing.json()["status"], "failing");
    assert_eq!(
        failing.json()["checks"]["database_reads"]["status"],
        "failing"
    );
    assert!(!String::from_utf8_lossy(&failing.body).contains("10.0.0.1"));
    assert_eq!(open(&lab, Method::GET, "/livez").await.status, 200);

    lab.store.set_down(false);
    lab.stop().await;
    let stopped = open(&lab, Method::GET, "/readyz").await;
    assert_eq!(stopped.status, 503);
    assert_eq!(stopped.json()["checks"]["engine"]["status"], "failing");
    let refused = lab
        .post("/collect", collect("gas", "https://receiver.test"))
        .await;
    refused.problem(503, "not_ready");
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_problems() {
    let lab = Lab::new().await;
    for path in [
        "/collects",
        "/v1",
        "/v1/changes/",
        "/metrics",
        "/collect/a/b/c",
    ] {
        open(&lab, Method::GET, path)
            .await
            .problem(404, "not_found");
    }
    let reply = open(&lab, Method::PUT, "/collect").await;
    reply.problem(405, "method_not_allowed");
    let mut allowed: Vec<&str> = reply.header("allow").unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    open(&lab, Method::POST, "/livez")
        .await
        .problem(405, "method_not_allowed");
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let lab = Lab::new().await;
    for path in [
        "/collect",
        "/v1/settings",
        "/docs",
        "/openapi.json",
        "/livez",
    ] {
        let get = lab.get(path).await;
        let head = lab.call(Method::HEAD, path, "").await;
        assert_eq!(head.status, 200);
        assert!(head.body.is_empty());
        assert_eq!(
            head.header("content-length"),
            Some(get.body.len().to_string().as_str()),
            "{path}"
        );
        assert_eq!(head.header("content-type"), get.header("content-type"));
    }
}

#[tokio::test]
async fn the_api_describes_itself() {
    let lab = Lab::new().await;
    let document = open(&lab, Method::GET, "/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], "1.2.3");
    assert_eq!(document["servers"][0]["url"], "http://wellspring.test");
    let create = &document["paths"]["/collect"]["post"];
    assert!(create["security"].is_array());
    for status in ["202", "400", "401", "409", "413", "422", "500", "503"] {
        assert!(create["responses"][status].is_object(), "{status}");
    }
    let problem = &create["responses"]["422"]["content"]["application/problem+json"];
    assert_eq!(
        problem["schema"]["$ref"],
        "#/components/schemas/ProblemBody"
    );
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
    }
    let text = document.to_string();
    for piece in text.split("#/components/schemas/").skip(1) {
        let name = piece.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }

    let page = open(&lab, Method::GET, "/docs").await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline'"));
}

#[tokio::test]
async fn metrics_tell_of_requests_the_engine_and_its_sources() {
    let handle = gather_metrics().unwrap();
    let mut lab = Lab::new().await;
    lab.parts.metrics = Some(handle);
    lab.router = router(lab.parts.clone());
    lab.collect("stuck", "https://receiver.test").await;
    lab.post("/collect", "{")
        .await
        .problem(400, "malformed_json");
    open(&lab, Method::GET, "/nowhere").await;

    let before = scrape(&lab).await;
    lab.collect("broken", "https://receiver.test").await;
    let text =
        async || String::from_utf8(open(&lab, Method::GET, "/metrics").await.body.into()).unwrap();
    eventually(async || {
        // The engine refreshes what it shows when it works and some time has passed.
        lab.clock.forward(std::time::Duration::from_secs(1));
        lab.collect("gas", "https://receiver.test").await;
        !text()
            .await
            .contains("wellspring_collections_delivered_total 0\n")
    })
    .await;
    let shown = text().await;
    for line in [
        "wellspring_ready 1\n",
        "wellspring_source_calls_in_flight{source=\"stuck\"} 1\n",
        "wellspring_source_breaker_open{source=\"gas\"} 0\n",
        "wellspring_build_info{version=\"1.2.3\"} 1\n",
        "http_server_request_duration_seconds_count{route=\"/collect\",method=\"POST\",status=\"202\"}",
        "http_server_request_duration_seconds_count{route=\"/collect\",method=\"POST\",status=\"400\"}",
        "http_server_request_duration_seconds_count{route=\"other\",method=\"other\",status=\"404\"}",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
    assert!(!shown.contains("col_") && !shown.contains("ten_"));

    eventually(async || {
        let failed = sum(
            &scrape(&lab).await,
            "wellspring_source_attempts_total{source=\"broken\"",
        );
        failed >= 1.0
    })
    .await;
    let after = scrape(&lab).await;
    for series in [
        "wellspring_source_attempts_total{source=\"gas\",work=\"collection\",outcome=\"success\"}",
        "wellspring_source_attempt_duration_seconds_count{source=\"gas\",work=\"collection\"}",
        "wellspring_fetch_lag_seconds_count{source=\"gas\",work=\"collection\"}",
        "wellspring_delivery_attempts_total{kind=\"callback\",outcome=\"success\"}",
        "wellspring_delivery_attempt_duration_seconds_count{kind=\"callback\"}",
        "wellspring_commit_duration_seconds_count{outcome=\"durable\"}",
        "wellspring_commit_steps_sum",
    ] {
        let (before, after) = (sum(&before, series), sum(&after, series));
        assert!(after > before, "{series}: {before} {after}");
    }
    assert_eq!(after["wellspring_subscriptions{state=\"failing\"}"], 0.0);

    lab.parts.separate_metrics = true;
    lab.router = router(lab.parts.clone());
    open(&lab, Method::GET, "/metrics")
        .await
        .problem(404, "not_found");
    lab.router = metrics_router(&lab.parts);
    assert_eq!(open(&lab, Method::GET, "/metrics").await.status, 200);
    assert_eq!(open(&lab, Method::GET, "/livez").await.status, 404);
}
