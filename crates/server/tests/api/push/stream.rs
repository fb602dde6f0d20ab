use serde_json::json;

use super::lab::{Lab, text};
use crate::events::{Event, Events};

impl Lab {
    async fn stream(&self, bearer: &str, query: &str, last: Option<&str>) -> Events {
        let path = format!("/v1/changes/stream?{query}");
        Events::open(&self.router, "change", bearer, &path, last).await
    }
}

#[tokio::test]
async fn a_stream_brings_what_is_new_and_goes_on_after_the_last_event() {
    let lab = Lab::new().await;
    let before = lab.account().await;
    lab.connect(&before, "pin").await;
    let mut stream = lab.stream(&lab.key, "", None).await;
    let account = lab.account().await;
    let connection = lab.connect(&account, "pin").await;
    let own = format!("/accounts/{account}");

    let first = stream.next_data().await.unwrap();
    // What was there before is not sent, but for what its source does meanwhile.
    let mut events = vec![first];
    while !text(&events.last().unwrap().data["path"]).ends_with("/state/question")
        || !text(&events.last().unwrap().data["path"]).contains(&connection)
    {
        events.push(stream.next_data().await.unwrap());
    }
    let all = lab.get("/v1/changes?limit=1000").await.json();
    let all = all["data"].as_array().unwrap();
    for event in &events {
        assert!(all.contains(&event.data), "{event:?}");
    }
    let mine: Vec<&Event> = events
        .iter()
        .filter(|event| text(&event.data["path"]).starts_with(&own))
        .collect();
    assert!(mine.len() > 2, "{events:?}");

    // Both ways of going on after an event bring what came after it, once.
    let (seen, later) = (mine[0], &mine[1..]);
    let pattern: String = form_urlencoded::byte_serialize(
        format!("* /accounts/{account}/connections/{connection}/**").as_bytes(),
    )
    .collect();
    let query = format!("pattern={pattern}");
    let mut by_header = lab.stream(&lab.key, &query, Some(&seen.id)).await;
    let query = format!("{query}&after={}", seen.id);
    let mut by_parameter = lab.stream(&lab.key, &query, None).await;
    let later = later
        .iter()
        .filter(|event| text(&event.data["path"]).contains("/state/"));
    for event in later {
        for stream in [&mut by_header, &mut by_parameter] {
            loop {
                let next = stream.next_data().await.unwrap();
                assert!(text(&next.data["path"]).contains(&connection));
                if text(&next.data["path"]).contains("/state/") {
                    assert_eq!(next.data, event.data);
                    break;
                }
            }
        }
    }
    lab.tasks.stop();
    while stream.next_data().await.is_some() {}
}

#[tokio::test]
async fn a_persons_stream_tells_of_their_account_and_a_lost_cursor_is_told_before_it_begins() {
    let lab = Lab::new().await;
    let (own, other) = (lab.account().await, lab.account().await);
    let path = format!("/v1/accounts/{own}/tokens");
    let token = lab.post(&path, json!({"for": "client"})).await.json();
    let mut stream = lab.stream(&text(&token["token"]), "", None).await;
    lab.connect(&other, "pin").await;
    let connection = lab.connect(&own, "pin").await;
    loop {
        let event = stream.next_data().await.unwrap();
        let path = text(&event.data["path"]);
        assert!(path.starts_with(&format!("/accounts/{own}/")), "{path}");
        if path.ends_with(&format!("{connection}/state/question")) {
            break;
        }
    }

    let foreign = wellspring_engine::Cursor::start(99).to_text();
    let reply = lab
        .get(&format!("/v1/changes/stream?after={foreign}"))
        .await;
    reply.problem(410, "cursor_unknown");
    let reply = lab
        .get("/v1/changes/stream?after=nonsense!&pattern=x")
        .await;
    assert_eq!(reply.faults(400, "invalid_parameter").len(), 2);
}
