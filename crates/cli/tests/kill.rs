//! `kill -9` under load, again and again: nothing is lost, and repeats are recognisable.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_core::{Rng, SeedableRng};
use tokio::time::Instant;

use common::child::{self, Server};
use common::{PATIENCE, World, json};

const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_any_moment_loses_nothing_and_repeats_only_with_the_same_id() {
    let world = Arc::new(World::start(
        "{ interval: 50ms, rate: 1.5, max_delay: 500ms, max_retries: 100 }",
    ));
    world.receiver.set_failure_rate(0.1);
    let mut server = Server::start(world.serve(None)).await.unwrap();
    let accepted: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let stop = tokio_util::sync::CancellationToken::new();
    let url = server.url("/collect");
    for caller in 0..4 {
        let (world, accepted, stop, url) = (
            Arc::clone(&world),
            Arc::clone(&accepted),
            stop.clone(),
            url.clone(),
        );
        world.tasks.clone().spawn("caller", async move {
            let mut n = 0_u64;
            while !stop.is_cancelled() {
                n += 1;
                let key = format!("caller-{caller}-{n}");
                let provider = if n.is_multiple_of(2) {
                    "gas"
                } else {
                    "internet"
                };
                let body = serde_json::json!({"provider": provider, "callbackUrl": world.callback})
                    .to_string();
                // Until there is an answer the caller cannot know; the key makes the repeat harmless.
                while let Some(id) = attempt(&world, &url, &key, &body, &stop).await {
                    if let Some(id) = id {
                        accepted.lock().unwrap().insert(id);
                        break;
                    }
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }

    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(20);
    for kill in 0..KILLS {
        // At a random moment: after some more collections, not after some time.
        let more = usize::try_from(rng.next_u32() % 60).unwrap() + 1;
        let wanted = accepted.lock().unwrap().len() + more;
        wait("more collections", || {
            accepted.lock().unwrap().len() >= wanted
        })
        .await;
        server.kill().await.unwrap();
        let before = (
            world.sandbox.total().total,
            world.receiver.counts().requests,
        );
        let (restarted, _) = server.restart().await.unwrap();
        server = restarted;
        let ready = Instant::now();
        wait("work in flight to run again", || {
            world.sandbox.total().total > before.0 || world.receiver.counts().requests > before.1
        })
        .await;
        assert!(
            ready.elapsed() < Duration::from_secs(2),
            "kill {kill}: {:?}",
            ready.elapsed()
        );
    }
    stop.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let accepted = accepted.lock().unwrap().clone();
    assert!(accepted.len() >= KILLS, "{}", accepted.len());

    for id in &accepted {
        let shown = world.until_status(&server, id, "delivered").await;
        assert!(
            shown["collectedAt"].is_string() && shown["error"].is_null(),
            "{shown}"
        );
    }
    let mut messages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (webhook_id, record) in world.receiver.records() {
        assert!(record.accepted > 0, "{webhook_id} was never taken");
        for body in world.receiver.bodies(&webhook_id) {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["type"], "collection.successful");
            let id = body["data"]["requestId"].as_str().unwrap().to_owned();
            messages.entry(id).or_default().insert(webhook_id.clone());
        }
    }
    for (id, webhook_ids) in &messages {
        assert_eq!(
            webhook_ids.len(),
            1,
            "{id} has one message id: {webhook_ids:?}"
        );
    }
    let told: BTreeSet<String> = messages.keys().cloned().collect();
    assert!(
        accepted.is_subset(&told),
        "lost: {:?}",
        accepted.difference(&told).collect::<Vec<_>>()
    );
    world.tasks.stop();
}

/// Tries once; `None` when it is time to stop, `Some(None)` when there was no answer.
async fn attempt(
    world: &World,
    url: &str,
    key: &str,
    body: &str,
    stop: &tokio_util::sync::CancellationToken,
) -> Option<Option<String>> {
    if stop.is_cancelled() {
        return None;
    }
    let sent = child::send(
        &world.client,
        http::Method::POST,
        url,
        Some(key),
        body.to_owned().into(),
    )
    .await;
    match sent {
        Ok(response) if response.status == 202 => {
            Some(json(&response)["requestId"].as_str().map(str::to_owned))
        }
        Ok(_) | Err(_) => {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some(None)
        }
    }
}

async fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
