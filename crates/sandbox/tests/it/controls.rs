use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, advance};
use wellspring_sandbox::{RateLimit, Settings, Source};

use crate::client::sandbox;

#[tokio::test]
async fn put_merges_with_what_is_set_and_delete_forgets_it() {
    let (client, control, running) = sandbox(1);

    let first = client
        .put("/control/gas", r#"{"failure_rate": 0, "latency_ms": 3}"#)
        .await;
    client
        .put("/control/gas", r#"{"rate_limit": {"per_minute": 9}}"#)
        .await;
    let last = client.put("/control/gas", r#"{"junk_rate": 0.25}"#).await;

    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(
        last.json()["settings"],
        json!({
            "failure_rate": 0.0,
            "latency_ms": 3,
            "outage": false,
            "rate_limit": {"per_minute": 9},
            "budget": null,
            "maintenance_until": null,
            "junk_rate": 0.25,
        })
    );
    assert_eq!(
        control.settings(Source::Gas),
        Settings {
            latency: Duration::from_millis(3),
            rate_limit: Some(RateLimit::PerMinute(9)),
            junk_rate: 0.25,
            ..Settings::reliable()
        }
    );
    assert_eq!(control.settings(Source::Internet), Settings::default());

    client.get("/providers/gas").await;
    client.get("/providers/water").await;
    let shown = client.get("/control").await.json();
    assert_eq!(shown["seed"], 1);
    assert_eq!(
        shown["sources"]["gas"],
        json!({"settings": last.json()["settings"], "calls": shown["sources"]["gas"]["calls"]})
    );
    assert_eq!(shown["sources"]["gas"]["calls"]["total"], 1);
    assert_eq!(shown["sources"]["internet"]["calls"]["total"], 0);
    assert_eq!(shown["sources"]["other"]["calls"]["total"], 1);

    let reset = client.delete("/control").await;
    assert_eq!(reset.status, StatusCode::OK);
    assert_eq!(control.settings(Source::Gas), Settings::default());
    assert_eq!(control.total().total, 0);
    running.stop().await;
}

#[tokio::test]
async fn faulty_settings_are_refused_whole_with_one_entry_per_fault() {
    let (client, control, running) = sandbox(1);

    let answer = client
        .put(
            "/control/gas",
            r#"{
                "failure_rate": 1.5, "junk_rate": "often", "latency_ms": -1, "outage": "maybe",
                "rate_limit": {"per_second": 0}, "maintenance_until": "tomorrow", "a/b~c": 1
            }"#,
        )
        .await;

    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    let errors = problem["errors"].as_array().unwrap();
    let mut pointers: Vec<_> = errors
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/a~1b~0c",
            "/failure_rate",
            "/junk_rate",
            "/latency_ms",
            "/maintenance_until",
            "/outage",
            "/rate_limit/per_second",
        ]
    );
    assert!(
        errors
            .iter()
            .all(|e| !e["detail"].as_str().unwrap().is_empty())
    );

    for body in [
        r#"{"failure_rate": 0, "rate_limit": 5}"#,
        r#"{"failure_rate": 0, "rate_limit": {"per_second": 1, "per_minute": 1}}"#,
        r#"{"failure_rate": 0, "outage": null}"#,
        r#"["failure_rate"]"#,
    ] {
        let answer = client.put("/control/gas", body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    let not_json = client.put("/control/gas", "failure_rate=0").await;
    assert_eq!(not_json.status, StatusCode::BAD_REQUEST);
    let unknown = client.put("/control/water", "{}").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let too_large = client.put("/control/gas", &" ".repeat(70_000)).await;
    assert_eq!(too_large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(control.settings(Source::Gas), Settings::default());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn calls_over_the_rate_limit_are_throttled_until_the_window_ends() {
    let (client, control, running) = sandbox(1);
    control.set(
        Source::Gas,
        Settings {
            rate_limit: Some(RateLimit::PerMinute(3)),
            ..Settings::reliable()
        },
    );

    for _ in 0..3 {
        assert_eq!(client.get("/providers/gas").await.status, StatusCode::OK);
    }
    advance(Duration::from_millis(10_500)).await;
    let over = client.get("/providers/gas").await;
    let retry_after: u64 = over.header("retry-after").unwrap().parse().unwrap();
    advance(Duration::from_secs(retry_after)).await;
    let later = client.get("/providers/gas").await;

    assert_eq!(over.status, StatusCode::TOO_MANY_REQUESTS);
    assert!((49..=50).contains(&retry_after), "{retry_after}");
    assert_eq!(later.status, StatusCode::OK);
    assert_eq!(control.counts(Source::Gas).throttled, 1);
    assert_eq!(control.counts(Source::Gas).ok, 4);

    client
        .put("/control/gas", r#"{"rate_limit": {"per_second": 1}}"#)
        .await;
    assert_eq!(client.get("/providers/gas").await.status, StatusCode::OK);
    let over = client.get("/providers/gas").await;
    assert_eq!(over.header("retry-after"), Some("1"));
    client.put("/control/gas", r#"{"rate_limit": null}"#).await;
    assert_eq!(client.get("/providers/gas").await.status, StatusCode::OK);
    running.stop().await;
}

#[tokio::test]
async fn maintenance_names_itself_and_is_over_once_its_time_has_passed() {
    let (client, control, running) = sandbox(1);
    control.set(Source::Gas, Settings::reliable());

    client
        .put(
            "/control/gas",
            r#"{"maintenance_until": "2999-01-01T00:00:00Z"}"#,
        )
        .await;
    let closed = client.get("/providers/gas").await;
    client
        .put(
            "/control/gas",
            r#"{"maintenance_until": "2001-01-01T00:00:00+02:00"}"#,
        )
        .await;
    let open = client.get("/providers/gas").await;

    assert_eq!(closed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        closed
            .header("retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 1_000_000
    );
    assert_eq!(
        closed.json(),
        json!({"error": "maintenance", "until": "2999-01-01T00:00:00Z"})
    );
    assert_eq!(open.status, StatusCode::OK);
    assert_eq!(control.counts(Source::Gas).maintenance, 1);
    running.stop().await;
}

#[tokio::test]
async fn junk_is_a_good_answer_that_is_not_json() {
    let (client, control, running) = sandbox(1);
    control.set(
        Source::Internet,
        Settings {
            junk_rate: 1.0,
            ..Settings::reliable()
        },
    );

    let answer = client.get("/providers/internet").await;

    assert_eq!(answer.status, StatusCode::OK);
    assert!(serde_json::from_slice::<Value>(&answer.body).is_err());
    assert_eq!(control.counts(Source::Internet).junk, 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn latency_comes_before_every_answer() {
    let (client, control, running) = sandbox(1);
    control.update(Source::Gas, |settings| {
        settings.latency = Duration::from_millis(750);
    });

    let asked = Instant::now();
    client.get("/providers/gas").await;
    assert!(asked.elapsed() >= Duration::from_millis(750));
    running.stop().await;
}
