use futures_util::future::{join_all, ready};

use crate::lab::{Lab, collect, eventually};

const CALLBACK: &str = "https://receiver.test/hook";

#[tokio::test]
async fn the_same_key_and_body_give_the_same_answer_and_one_collection() {
    let lab = Lab::new().await;
    let body = collect("gas", CALLBACK);
    let first = lab.post_with_key("/collect", &body, "\"abc\"").await;
    assert_eq!(first.status, 202);
    assert_eq!(first.header("idempotent-replayed"), None);
    lab.settles(first.json()["requestId"].as_str().unwrap(), "delivered")
        .await;

    let again = lab.post_with_key("/collect", &body, "abc").await;
    assert_eq!(again.status, 202);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));

    let other = collect("stuck", CALLBACK);
    let reused = lab.post_with_key("/collect", &other, "abc").await;
    reused.problem(422, "idempotency_key_reused");
    assert_eq!(
        lab.get("/collect").await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    for bad in ["", "a b", "\"a", &"k".repeat(256)] {
        let reply = lab.post_with_key("/collect", &body, bad).await;
        reply.problem(400, "idempotency_key_malformed");
    }
}

#[tokio::test]
async fn a_key_under_way_is_in_use_and_later_replayed() {
    let lab = Lab::new().await;
    let body = collect("stuck", CALLBACK);
    lab.store.hold_commits(true);
    let first = lab.post_with_key("/collect", &body, "abc");
    let mut first = std::pin::pin!(first);
    tokio::select! {
        biased;
        reply = &mut first => panic!("answered before it was durable: {reply:?}"),
        () = eventually(|| ready(lab.store.is_holding())) => {}
    }

    let second = lab.post_with_key("/collect", &body, "abc").await;
    second.problem(409, "idempotency_key_in_use");
    assert_eq!(second.header("retry-after"), Some("1"));

    lab.store.hold_commits(false);
    let first = first.await;
    assert_eq!(first.status, 202);
    let third = lab.post_with_key("/collect", &body, "abc").await;
    assert_eq!(third.body, first.body);
}

#[tokio::test]
async fn many_at_once_with_one_key_make_one_collection() {
    let lab = Lab::new().await;
    let body = collect("stuck", CALLBACK);
    let replies = join_all((0..50).map(|_| lab.post_with_key("/collect", &body, "abc"))).await;
    assert!(replies.iter().any(|reply| reply.status == 202));
    for reply in &replies {
        assert!(reply.status == 202 || reply.status == 409, "{reply:?}");
    }
    assert_eq!(
        lab.get("/collect").await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_retry_with_the_same_key_is_one_retry() {
    let lab = Lab::new().await;
    let id = lab.collect("gas", "https://gone.test").await;
    lab.settles(&id, "failed").await;
    let path = format!("/collect/{id}/retry");

    let first = lab.post_with_key(&path, "", "abc").await;
    assert_eq!(first.status, 202);
    assert_eq!(first.json()["status"], "collected");
    let attempts = async || {
        lab.get(&format!("/collect/{id}")).await.json()["attempts"]
            .as_array()
            .unwrap()
            .len()
    };
    eventually(async || attempts().await == 3).await;
    lab.settles(&id, "failed").await;

    let again = lab.post_with_key(&path, "", "abc").await;
    assert_eq!(again.status, 202);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    lab.post_with_key(&path, "{}", "abc")
        .await
        .problem(422, "idempotency_key_reused");
    assert_eq!(attempts().await, 3);

    let other = lab.collect("broken", CALLBACK).await;
    lab.settles(&other, "failed").await;
    lab.post_with_key(&format!("/collect/{other}/retry"), "", "abc")
        .await
        .problem(422, "idempotency_key_reused");
}
