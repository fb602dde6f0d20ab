//! A source that counts, refuses and punishes.

use hyper::StatusCode;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::json;
use tokio::time::{Duration, advance};
use wellspring_sandbox::{Budget, BudgetWindow, Settings, Source, Tells};

use crate::client::{Answer, Client, sandbox};

#[tokio::test(start_paused = true)]
async fn every_call_counts_in_every_window_wherever_it_is_laid() {
    let (client, control, running) = sandbox(1);
    control.set(Source::Gas, strict(&[(3, 10), (5, 30)], 0, Tells::Nothing));
    let call = || async { client.get("/providers/gas").await.status };

    // Two at the end of one stretch of ten seconds and two at the beginning of the next.
    call().await;
    advance(Duration::from_secs(9)).await;
    call().await;
    call().await;
    advance(Duration::from_secs(2)).await;
    assert_eq!(call().await, StatusCode::OK);
    assert_eq!(call().await, StatusCode::TOO_MANY_REQUESTS);
    advance(Duration::from_secs(10)).await;
    // The refused one counts too: the longer window is full.
    assert_eq!(call().await, StatusCode::TOO_MANY_REQUESTS);

    let [short, long] = &control.windows(Source::Gas)[..] else {
        panic!("two windows");
    };
    assert_eq!((short.total, short.fullest, short.violations), (6, 4, 1));
    assert_eq!(short.stretches, [3, 2, 1]);
    assert_eq!((long.total, long.fullest, long.violations), (6, 6, 1));
    assert_eq!(long.stretches, [6]);
    let counts = control.counts(Source::Gas);
    assert_eq!((counts.total, counts.ok, counts.over_budget), (6, 4, 2));
    let shown = client.get("/control").await.json();
    assert_eq!(
        shown["sources"]["gas"]["windows"][0],
        json!({
            "calls": 3, "per_ms": 10_000, "endpoint": null, "total": 6, "fullest": 4,
            "violations": 1, "stretches": [3, 2, 1],
        })
    );
    assert!(shown["sources"]["internet"].get("windows").is_none());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_took_too_much_is_refused_for_a_while() {
    let (client, control, running) = sandbox(1);
    control.set(Source::Gas, strict(&[(2, 10)], 60_000, Tells::RetryAfter));

    for _ in 0..2 {
        assert_eq!(client.get("/providers/gas").await.status, StatusCode::OK);
    }
    let over = client.get("/providers/gas").await;
    assert_eq!(seconds(&over), 60);
    advance(Duration::from_secs(40)).await;
    let blocked = client.get("/providers/gas").await;
    assert_eq!(blocked.status, StatusCode::TOO_MANY_REQUESTS);
    assert!((19..=20).contains(&seconds(&blocked)));
    advance(Duration::from_secs(21)).await;
    assert_eq!(client.get("/providers/gas").await.status, StatusCode::OK);
    let counts = control.counts(Source::Gas);
    assert_eq!((counts.over_budget, counts.blocked, counts.ok), (1, 1, 3));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_to_come_back_as_it_is_told_to() {
    let (client, control, running) = sandbox(1);
    let refused = async |tells| {
        control.set(Source::Gas, Settings::reliable());
        control.set(Source::Gas, strict(&[(1, 90)], 0, tells));
        let good = client.get("/providers/gas").await;
        let over = client.get("/providers/gas").await;
        assert_eq!(over.status, StatusCode::TOO_MANY_REQUESTS);
        (good, over)
    };

    let (_, over) = refused(Tells::RetryAfter).await;
    assert!((89..=90).contains(&seconds(&over)));

    let (_, over) = refused(Tells::RetryAfterDate).await;
    let date = over.header("retry-after").unwrap();
    let at = rfc2822::parse(date).unwrap().timestamp();
    assert!(about(at.as_second(), 91), "{date}");

    let (good, over) = refused(Tells::RateLimit).await;
    for answer in [&good, &over] {
        assert_eq!(
            answer.header("ratelimit-policy"),
            Some("\"calls\";q=1;w=90")
        );
        let told = answer.header("ratelimit").unwrap();
        assert!(told.starts_with("\"calls\";r=0;t="), "{told}");
    }
    assert!(over.header("retry-after").is_none());

    let (good, over) = refused(Tells::XRateLimit).await;
    for answer in [&good, &over] {
        assert_eq!(answer.header("x-ratelimit-limit"), Some("1"));
        assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
        let reset = answer.header("x-ratelimit-reset").unwrap();
        assert!(about(reset.parse().unwrap(), 91), "{reset}");
    }

    let (_, over) = refused(Tells::DailyQuota).await;
    assert_eq!(over.json()["message"], "Daily quota exceeded");

    let (good, over) = refused(Tells::Nothing).await;
    for answer in [&good, &over] {
        let told = answer.headers.keys();
        let limits: Vec<_> = told
            .filter(|name| name.as_str().contains("rate") || name.as_str() == "retry-after")
            .collect();
        assert!(limits.is_empty(), "{limits:?}");
    }
    assert!(over.body.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn the_bank_counts_each_endpoint_for_itself_when_told_to() {
    let (client, control, running) = sandbox(1);
    let budget = json!({"budget": {
        "windows": [
            {"calls": 1, "per_ms": 60_000, "endpoint": "login"},
            {"calls": 3, "per_ms": 60_000},
        ],
        "tells": "daily_quota",
    }});
    let answer = client
        .put("/control/sandbox-bank", &budget.to_string())
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let log_in = || login(&client);

    assert_eq!(log_in().await.status, StatusCode::OK);
    let over = log_in().await;
    assert_eq!(over.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(over.json()["error"]["code"], "ACCESS_EXCEEDED");
    // Nobody is logged in, which is another matter.
    let other = client.get("/bank/account").await;
    assert_eq!(other.status, StatusCode::UNAUTHORIZED);
    let other = client.get("/bank/account").await;
    assert_eq!(other.status, StatusCode::TOO_MANY_REQUESTS);

    let counted = control.windows(Source::SandboxBank);
    let told = counted.iter().map(|one| (one.total, one.violations));
    assert_eq!(told.collect::<Vec<_>>(), [(2, 1), (4, 1)]);
    running.stop().await;
}

#[tokio::test]
async fn a_faulty_budget_is_refused_with_the_place_of_the_fault() {
    let (client, control, running) = sandbox(1);

    for (budget, pointer) in [
        (json!(5), "/budget"),
        (json!({}), "/budget/windows"),
        (
            json!({"windows": [{"calls": 1}]}),
            "/budget/windows/0/per_ms",
        ),
        (
            json!({"windows": [{"calls": 0, "per_ms": 1}]}),
            "/budget/windows/0/calls",
        ),
        (
            json!({"windows": [{"calls": 1, "per_ms": 0}]}),
            "/budget/windows/0/per_ms",
        ),
        (
            json!({"windows": [{"calls": 1, "per_ms": 1, "a/b": 1}]}),
            "/budget/windows/0/a~1b",
        ),
        (
            json!({"windows": [{"calls": 1, "per_ms": 1, "endpoint": "login"}]}),
            "/budget/windows/0/endpoint",
        ),
        (
            json!({"windows": [{"calls": 1, "per_ms": 1}], "tells": "loudly"}),
            "/budget/tells",
        ),
        (
            json!({"windows": [{"calls": 1, "per_ms": 1}], "block_ms": -1}),
            "/budget/block_ms",
        ),
    ] {
        let body = json!({ "budget": budget }).to_string();
        let answer = client.put("/control/gas", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer);
    }
    assert_eq!(control.settings(Source::Gas), Settings::default());
    running.stop().await;
}

async fn login(client: &Client) -> Answer {
    let body = json!({"username": "user", "password": "pass"}).to_string();
    client
        .send(hyper::Method::POST, "/bank/login", &[], &body)
        .await
        .unwrap()
}

fn strict(windows: &[(u32, u64)], block_ms: u64, tells: Tells) -> Settings {
    let window = |&(calls, seconds): &(u32, u64)| BudgetWindow {
        calls,
        per: Duration::from_secs(seconds),
        endpoint: None,
    };
    Settings {
        budget: Some(Budget {
            windows: windows.iter().map(window).collect(),
            block: Duration::from_millis(block_ms),
            tells,
        }),
        ..Settings::reliable()
    }
}

fn seconds(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

/// Returns whether a moment is so many seconds away, give or take what a test needs.
#[expect(
    clippy::disallowed_methods,
    reason = "what is told is a time of the wall clock"
)]
fn about(moment: i64, seconds: i64) -> bool {
    (moment - Timestamp::now().as_second() - seconds).abs() <= 30
}
