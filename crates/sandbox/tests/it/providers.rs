use hyper::{Method, StatusCode};
use wellspring_sandbox::{Settings, Source};

use crate::client::sandbox;

#[tokio::test]
async fn known_providers_answer_their_data_and_unknown_ones_nothing() {
    let (client, control, running) = sandbox(1);
    for source in Source::ALL {
        control.set(source, Settings::reliable());
    }

    let gas = client.get("/providers/gas").await;
    let internet = client.get("/providers/internet").await;
    let unknown = client.get("/providers/water").await;
    let posted = client
        .send(Method::POST, "/providers/gas", &[], "")
        .await
        .unwrap();

    assert_eq!(gas.status, StatusCode::OK);
    assert_eq!(gas.header("content-type"), Some("application/json"));
    assert_eq!(amounts(&gas.json()), [22.27, 30.00]);
    assert!(gas.body.ends_with(br#""amount":30.00}]"#));
    assert_eq!(amounts(&internet.json()), [15.12, 15.12]);
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.body.is_empty());
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(posted.header("allow"), Some("GET"));
    assert_eq!(client.get("/elsewhere").await.status, StatusCode::NOT_FOUND);
    assert_eq!(control.counts(Source::Gas).ok, 1);
    assert_eq!(control.counts(Source::Other).not_found, 1);
    assert_eq!(control.total().total, 3);
    running.stop().await;
}

#[tokio::test]
async fn half_of_the_calls_fail_unless_told_otherwise_even_those_to_unknown_providers() {
    let (client, control, running) = sandbox(2);

    for path in ["/providers/gas", "/providers/water"] {
        for _ in 0..200 {
            let answer = client.get(path).await;
            if answer.status == StatusCode::INTERNAL_SERVER_ERROR {
                assert_eq!(answer.body, "#fail");
                assert_eq!(answer.header("content-type"), Some("text/plain"));
            }
        }
    }

    for source in [Source::Gas, Source::Other] {
        let counts = control.counts(source);
        assert_eq!(counts.total, 200);
        assert_eq!(counts.ok + counts.not_found + counts.failed, 200);
        assert!((70..=130).contains(&counts.failed), "{counts:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn one_seed_gives_one_sequence_however_the_sources_are_interleaved() {
    let (first, _, first_running) = sandbox(3);
    let (second, second_control, second_running) = sandbox(3);
    let (third, _, third_running) = sandbox(4);

    let mut apart = Vec::new();
    for _ in 0..40 {
        apart.push(first.get("/providers/gas").await.status);
    }
    let mut together = Vec::new();
    for _ in 0..40 {
        second.get("/providers/internet").await;
        together.push(second.get("/providers/gas").await.status);
    }
    second_control.reset();
    let mut again = Vec::new();
    let mut otherwise = Vec::new();
    for _ in 0..40 {
        again.push(second.get("/providers/gas").await.status);
        otherwise.push(third.get("/providers/gas").await.status);
    }

    assert_eq!(apart, together);
    assert_eq!(apart, again);
    assert_ne!(apart, otherwise);
    first_running.stop().await;
    second_running.stop().await;
    third_running.stop().await;
}

fn amounts(bills: &serde_json::Value) -> Vec<f64> {
    bills
        .as_array()
        .unwrap()
        .iter()
        .map(|bill| {
            assert!(
                bill["billedOn"]
                    .as_str()
                    .unwrap()
                    .parse::<jiff::Timestamp>()
                    .is_ok()
            );
            bill["amount"].as_f64().unwrap()
        })
        .collect()
}
