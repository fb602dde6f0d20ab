use std::sync::{Arc, Mutex};

use hyper::{Method, StatusCode};
use tokio::time::{Duration, Instant};
use wellspring_sandbox::{Behaviour, Delivery, ReceiverCounts, VerifyingKey};

use crate::client::receiver;

#[tokio::test]
async fn duplicates_are_good_answers_beyond_the_first_and_repeats_any_requests() {
    let (client, handle, running) = receiver(|receiver| receiver.keep_bodies());
    let before = Instant::now();

    handle.set_failure_rate(1.0);
    let refused = client.deliver("/hook", "msg_a", "one").await;
    handle.set_failure_rate(0.0);
    let accepted = client.deliver("/hook", "msg_a", "two").await;
    client.deliver("/hook", "msg_a", "three").await;
    client.deliver("/elsewhere", "msg_b", "four").await;
    client
        .send(Method::POST, "/hook", &[], "no id")
        .await
        .unwrap();
    let got = client.get("/hook").await;

    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(accepted.status, StatusCode::OK);
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        handle.counts(),
        ReceiverCounts {
            requests: 5,
            answered: 5,
            accepted: 4,
            distinct_accepted: 2,
            duplicates: 1,
            repeats: 2,
            without_id: 1,
        }
    );
    let record = handle.record("msg_a").unwrap();
    assert_eq!((record.requests, record.accepted), (3, 2));
    assert_eq!(record.last_status, Some(StatusCode::OK));
    assert!(record.first_arrival >= before);
    assert_eq!(handle.bodies("msg_a"), ["one", "two", "three"]);
    assert_eq!(handle.record("msg_c"), None);
    let ids: Vec<_> = handle.records().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["msg_a", "msg_b"]);

    handle.clear();
    assert_eq!(handle.counts(), ReceiverCounts::default());
    assert!(handle.bodies("msg_a").is_empty());
    running.stop().await;
}

#[tokio::test]
async fn paths_behave_on_their_own_until_cleared() {
    let (client, handle, running) = receiver(|receiver| receiver);
    handle.set_gone("/gone");
    handle.set_redirect("/moved", "http://127.0.0.1:1/new");
    handle.set_path(
        "/busy",
        Behaviour {
            retry_after: Some(Duration::from_secs(9)),
            ..Behaviour::status(StatusCode::TOO_MANY_REQUESTS)
        },
    );

    let gone = client.deliver("/gone", "1", "").await;
    let moved = client.deliver("/moved", "2", "").await;
    let busy = client.deliver("/busy", "3", "").await;
    let fine = client.deliver("/fine", "4", "").await;
    handle.clear_path("/gone");
    let back = client.deliver("/gone", "1", "").await;

    assert_eq!(gone.status, StatusCode::GONE);
    assert_eq!(moved.status, StatusCode::FOUND);
    assert_eq!(moved.header("location"), Some("http://127.0.0.1:1/new"));
    assert_eq!(busy.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(busy.header("retry-after"), Some("9"));
    assert_eq!(fine.status, StatusCode::OK);
    assert_eq!(back.status, StatusCode::OK);
    assert_eq!(handle.counts().distinct_accepted, 2);
    running.stop().await;
}

#[tokio::test]
async fn hanging_delivery_is_recorded_but_not_answered() {
    let (client, handle, running) = receiver(|receiver| receiver);
    handle.set_hanging(true);

    let delivery = client.send(Method::POST, "/hook", &[("webhook-id", "msg_a")], "");
    let stop = async {
        handle.wait_until(|counts| counts.requests == 1).await;
        running.stop().await;
    };
    let (outcome, ()) = tokio::join!(delivery, stop);

    assert!(outcome.is_err());
    assert_eq!(handle.counts().answered, 0);
    assert_eq!(handle.record("msg_a").unwrap().last_status, None);
}

#[tokio::test(start_paused = true)]
async fn latency_holds_the_answer_back() {
    let (client, handle, running) = receiver(|receiver| receiver);
    handle.set_latency(Duration::from_secs(5));

    let sent = Instant::now();
    client.deliver("/hook", "msg_a", "").await;

    assert!(sent.elapsed() >= Duration::from_secs(5));
    running.stop().await;
}

#[tokio::test]
async fn counting_only_keeps_no_ids_but_calls_the_hook() {
    let seen: Arc<Mutex<Vec<Delivery>>> = Arc::default();
    let sink = Arc::clone(&seen);
    let (client, handle, running) = receiver(|receiver| {
        receiver
            .counting_only()
            .on_delivery(Arc::new(move |delivery| {
                sink.lock().unwrap().push(delivery.clone());
            }))
    });

    client.deliver("/hook?x=1", "msg_a", "one").await;
    client.deliver("/hook", "msg_a", "two").await;

    assert_eq!(
        handle.counts(),
        ReceiverCounts {
            requests: 2,
            answered: 2,
            accepted: 2,
            ..ReceiverCounts::default()
        }
    );
    assert_eq!(handle.record("msg_a"), None);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].path, "/hook");
    assert_eq!(seen[0].webhook_id.as_deref(), Some("msg_a"));
    assert_eq!(seen[0].headers["webhook-id"], "msg_a");
    assert_eq!(seen[0].body, "one");
    assert_eq!(seen[0].status, StatusCode::OK);
    running.stop().await;
}

#[tokio::test]
async fn only_what_a_key_verifies_is_taken() {
    // Made by the specification's own library.
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".parse().unwrap();
    let (client, handle, running) = receiver(|receiver| receiver.verifying(vec![secret]));
    let headers = [
        ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
        ("webhook-timestamp", "1649367553"),
        (
            "webhook-signature",
            "v1a,AAAA v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
    ];
    let signed = r#"{"email":"test@example.com","username":"test_user"}"#;
    let changed = r#"{"email":"test@example.com","username":"test_usex"}"#;

    let post = Method::POST;
    let taken = client.send(post.clone(), "/", &headers, signed).await;
    let changed = client.send(post.clone(), "/", &headers, changed).await;
    let unsigned = client.send(post, "/", &headers[..2], signed).await;
    let [taken, changed, unsigned] = [taken, changed, unsigned].map(Result::unwrap);

    assert_eq!(taken.status, StatusCode::OK);
    assert_eq!(changed.status, StatusCode::UNAUTHORIZED);
    assert_eq!(unsigned.status, StatusCode::UNAUTHORIZED);
    assert_eq!(handle.counts().accepted, 1);
    for text in ["", "whsk_AAAA", "whpk_AAAA", "whsec_*"] {
        assert!(text.parse::<VerifyingKey>().is_err(), "{text}");
    }
    running.stop().await;
}
