use http::Method;
use wellspring_engine::Limits;

use crate::lab::{Lab, Reply, collect};

const CALLBACK: &str = "https://receiver.test/hook";

#[track_caller]
fn comes_back_later(reply: &Reply, code: &str) {
    let problem = reply.problem(503, code);
    let after: u32 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&after));
    assert!(problem["id"].as_str().unwrap().starts_with("err_"));
    assert!(!problem.to_string().contains("10.0.0.1"), "{problem}");
}

#[tokio::test]
async fn a_database_that_is_away_is_said_and_its_cause_is_not() {
    let lab = Lab::new().await;
    let id = lab.collect("stuck", CALLBACK).await;
    lab.store.set_down(true);
    for path in [
        "/collect",
        &format!("/collect/{id}"),
        "/v1/changes",
        "/v1/changes/head",
    ] {
        comes_back_later(&lab.get(path).await, "database_unavailable");
    }
    for path in [
        format!("/collect/{id}/retry"),
        "/v1/callback-secret/rotate".to_owned(),
    ] {
        comes_back_later(&lab.post(&path, "").await, "database_unavailable");
    }
    let reply = lab
        .call(Method::DELETE, &format!("/collect/{id}"), "")
        .await;
    comes_back_later(&reply, "database_unavailable");
    let reply = lab
        .call(Method::PATCH, "/v1/settings", r#"{"contact":"a"}"#)
        .await;
    comes_back_later(&reply, "database_unavailable");
    let reply = lab
        .post_with_key("/collect", &collect("gas", CALLBACK), "abc")
        .await;
    comes_back_later(&reply, "database_unavailable");
    // What is in memory is answered all the same.
    assert_eq!(lab.get("/v1/settings").await.status, 200);
    lab.get("/collect?limit=0")
        .await
        .problem(400, "invalid_parameter");
}

#[tokio::test]
async fn a_full_backlog_takes_no_more() {
    let limits = Limits {
        backlog: 1,
        ..Limits::default()
    };
    let lab = Lab::with(limits).await;
    let id = lab.collect("stuck", CALLBACK).await;
    let reply = lab.post("/collect", collect("stuck", CALLBACK)).await;
    comes_back_later(&reply, "overloaded");
    assert_eq!(
        lab.call(Method::DELETE, &format!("/collect/{id}"), "")
            .await
            .status,
        204
    );
    lab.collect("stuck", CALLBACK).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_takes_too_long_has_an_unknown_outcome() {
    let lab = Lab::new().await;
    lab.store.hold_commits(true);
    let reply = lab
        .post_with_key("/collect", &collect("stuck", CALLBACK), "abc")
        .await;
    comes_back_later(&reply, "outcome_unknown");
    lab.store.hold_commits(false);
    let body = collect("stuck", CALLBACK);
    let found = loop {
        let reply = lab.post_with_key("/collect", &body, "abc").await;
        if reply.status == 202 {
            break reply;
        }
        reply.problem(409, "idempotency_key_in_use");
        tokio::task::yield_now().await;
    };
    assert_eq!(found.header("idempotent-replayed"), Some("true"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let lab = Lab::new().await;
    let never = http_body_util::StreamBody::new(futures_util::stream::pending::<
        Result<http_body::Frame<bytes::Bytes>, std::io::Error>,
    >());
    let reply = lab.post("/collect", axum::body::Body::new(never)).await;
    reply.problem(408, "request_timeout");
}
