use serde_json::{Value, json};

use crate::lab::Lab;

const CALLBACK: &str = "https://receiver.test/hook";

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn the_log_is_read_from_its_start_from_its_head_and_by_pattern() {
    let lab = Lab::new().await;
    let id = lab.collect("gas", CALLBACK).await;
    lab.settles(&id, "delivered").await;

    let all = lab.get("/v1/changes").await.json();
    let entries = all["data"].as_array().unwrap();
    assert_eq!(all["has_more"], false);
    assert_eq!(entries[0]["verb"], "UPDATED");
    assert_eq!(
        entries[0]["path"],
        format!("/collections/{id}/status/requested")
    );
    assert_eq!(entries[0]["event"], "CollectionRequested");
    assert_eq!(entries[0]["cause"], "CollectRequested");
    assert!(entries[0]["actor"].as_str().unwrap().starts_with("key_"));
    assert_eq!(entries[0]["body"]["provider"], "gas");
    let mut ids: Vec<&str> = entries
        .iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), entries.len());
    assert!(
        ids.iter()
            .all(|id| id.len() == 36 && id.starts_with("chg_"))
    );
    let none: Value = lab
        .get(&format!(
            "/v1/changes?after={}",
            all["next_cursor"].as_str().unwrap()
        ))
        .await
        .json();
    assert_eq!(none["data"], json!([]));
    assert_eq!(none["next_cursor"], all["next_cursor"]);

    let head = lab.get("/v1/changes/head").await.json()["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = lab.collect("gas", CALLBACK).await;
    lab.settles(&other, "delivered").await;
    let pattern = encoded("UPDATED /collections/*/status/delivered|failed");
    let path = format!(
        "/v1/changes?after={head}&pattern={pattern}&pattern={}",
        encoded("DELETED /**")
    );
    let news = lab.get(&path).await.json();
    assert_eq!(news["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        news["data"][0]["path"],
        format!("/collections/{other}/status/delivered")
    );
    assert_eq!(
        lab.get("/v1/changes?after=").await.json()["data"][0],
        all["data"][0]
    );
}

#[tokio::test]
async fn a_read_in_small_steps_sees_everything_once() {
    let lab = Lab::new().await;
    for _ in 0..4 {
        let id = lab.collect("gas", CALLBACK).await;
        lab.settles(&id, "delivered").await;
    }
    let all = lab.get("/v1/changes?limit=1000").await.json()["data"]
        .as_array()
        .unwrap()
        .len();
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = lab
            .get(&format!("/v1/changes?limit=1&after={after}"))
            .await
            .json();
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 1);
        seen.extend(
            data.iter()
                .map(|entry| entry["id"].as_str().unwrap().to_owned()),
        );
        after = page["next_cursor"].as_str().unwrap().to_owned();
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen.len(), all);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all);
}

#[tokio::test]
async fn a_filtered_read_is_bounded_and_moves_on() {
    let lab = Lab::new().await;
    for _ in 0..30 {
        lab.collect("stuck", CALLBACK).await;
    }
    let pattern = encoded("DELETED /**");
    let page = lab
        .get(&format!("/v1/changes?limit=1&pattern={pattern}"))
        .await
        .json();
    assert_eq!(page["data"], json!([]));
    assert_eq!(page["has_more"], true);
    let after = page["next_cursor"].as_str().unwrap();
    let rest = lab.get(&format!("/v1/changes?after={after}")).await.json();
    assert_eq!(rest["data"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn cursors_that_lead_nowhere_and_bad_patterns_are_told_apart() {
    let lab = Lab::new().await;
    for (query, parameter) in [
        ("after=nonsense!", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("pattern=MOVED+/a", "pattern"),
        ("pattern=", "pattern"),
        ("until=now", "until"),
    ] {
        let problem = lab
            .get(&format!("/v1/changes?{query}"))
            .await
            .problem(400, "invalid_parameter");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query}");
    }
    let problem = lab
        .get(&format!("/v1/changes?pattern={}", encoded("UPDATED /a//b")))
        .await
        .json();
    assert_eq!(
        problem["errors"][0]["detail"],
        "`UPDATED /a//b`: segment 2 is empty"
    );
    let many = "pattern=*+/**&".repeat(21);
    lab.get(&format!("/v1/changes?{many}"))
        .await
        .problem(400, "invalid_parameter");

    let foreign = wellspring_engine::Cursor::start(99).to_text();
    lab.get(&format!("/v1/changes?after={foreign}"))
        .await
        .problem(410, "cursor_unknown");
}

#[tokio::test]
async fn a_cursor_older_than_the_log_is_expired() {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use wellspring_engine::{Clock, Settings, Store, Sweep};

    let lab = Lab::new().await;
    let head = lab.get("/v1/changes/head").await.json()["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let id = lab.collect("gas", CALLBACK).await;
    lab.settles(&id, "delivered").await;
    lab.clock.forward(Duration::from_secs(40 * 86_400));
    let tenant = lab.access.authenticate(&lab.key).unwrap().tenant;
    let sweep = Sweep {
        now: lab.clock.now(),
        tenants: BTreeMap::from([(tenant, Settings::default())]),
        rows: 1_000,
    };
    lab.store.sweep(sweep).await.unwrap();

    lab.get(&format!("/v1/changes?after={head}"))
        .await
        .problem(410, "cursor_expired");
    assert_eq!(lab.get("/v1/changes").await.json()["data"], json!([]));
}
