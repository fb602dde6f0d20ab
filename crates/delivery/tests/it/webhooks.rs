use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wellspring_core::ErrorClass;
use wellspring_engine::SystemClock;
use wellspring_outbound::AddressPolicy;
use wellspring_sandbox::{Behaviour, Receiver};
use wellspring_vault::SubscriptionSecrets;

use crate::subscriptions::{BODY, Sender, failure, hmac, key, message, only, pair, unreachable};
use crate::support::{LOOPBACK, NOW, World};

#[tokio::test]
async fn a_change_is_posted_as_it_is_and_other_implementations_verify_it() {
    let world = World::start();
    let sender = Sender::with(AddressPolicy::unrestricted(), Arc::new(SystemClock), |_| {});
    let url = world.url("/hook?a=b");

    let sent = sender.send(sender.webhook(&url, &only(hmac(1)))).await;

    assert_eq!((sent.status, sent.failure), (Some(200), None));
    assert_eq!(sent.snippet, "");
    let delivery = &world.deliveries()[0];
    assert_eq!(delivery.body, BODY);
    assert_eq!(delivery.webhook_id.as_deref(), Some("msg_1"));
    assert_eq!(delivery.headers["content-type"], "application/json");
    assert_eq!(
        delivery.headers["user-agent"],
        concat!("Wellspring/", env!("CARGO_PKG_VERSION"))
    );
    let verify = |byte| {
        let verifier = Webhook::new(&hmac(byte).expose()).unwrap();
        verifier.verify(&delivery.body, &delivery.headers)
    };
    verify(1).unwrap();
    verify(2).unwrap_err();
}

#[tokio::test]
async fn former_secrets_sign_as_well_until_they_end() {
    let world = World::start();
    let sender = Sender::new();
    let day = 24 * 60 * 60 * 1_000;
    let now = NOW.as_millis();
    let mut secrets = SubscriptionSecrets::new(hmac(1), 0);
    secrets.rotate(hmac(2), now - day);
    secrets.rotate(pair(3), now - day + 1);

    sender.send(sender.webhook(&world.url("/"), &secrets)).await;

    let delivery = &world.deliveries()[0];
    // The time is that of the attempt, in whole seconds.
    assert_eq!(delivery.headers["webhook-timestamp"], "1795000000");
    let header = delivery.headers["webhook-signature"].to_str().unwrap();
    let schemes: Vec<_> = header.split(' ').map(|one| &one[..3]).collect();
    assert_eq!(schemes, ["v1a", "v1,"]);
    let signed =
        [hmac(1), hmac(2), pair(3), pair(4)].map(|secret| delivery.is_signed_by(&key(&secret)));
    assert_eq!(signed, [false, true, true, false]);
}

#[tokio::test]
async fn a_receiver_takes_what_one_of_its_keys_verifies_and_nothing_else() {
    let keys = vec![key(&hmac(9)), key(&pair(3))];
    let receiver = Receiver::bind(LOOPBACK, 7).unwrap().verifying(keys);
    let url = format!("http://{}/", receiver.local_addr());
    let mut running = JoinSet::new();
    running.spawn(receiver.run(pending()));
    let sender = Sender::new();

    let taken = sender.send(sender.webhook(&url, &only(pair(3)))).await;
    let sender = Sender::new();
    let refused = sender.send(sender.webhook(&url, &only(pair(4)))).await;

    assert_eq!(taken.status, Some(200));
    assert_eq!(refused.status, Some(401));
}

#[tokio::test]
async fn a_subscription_that_changed_is_called_and_signed_anew() {
    let world = World::start();
    let sender = Sender::new();
    let first = sender.webhook(&world.url("/first"), &only(hmac(1)));
    // What is known of a version is not looked at again.
    let mut same_version = first.clone();
    same_version.sealed_secrets = Vec::new();
    let mut second = sender.webhook(&world.url("/second"), &only(hmac(2)));
    second.version = 2;

    for subscription in [first, same_version, second] {
        assert_eq!(sender.send(subscription).await.failure, None);
    }

    let deliveries = world.deliveries();
    let seen: Vec<_> = deliveries
        .iter()
        .map(|delivery| {
            let by = |byte| delivery.is_signed_by(&key(&hmac(byte)));
            (delivery.path.as_str(), by(1), by(2))
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("/first", true, false),
            ("/first", true, false),
            ("/second", false, true)
        ]
    );
}

#[tokio::test]
async fn only_2xx_is_success_and_the_beginning_of_the_answer_is_kept() {
    let world = World::start();
    let sender = Sender::new();
    let subscription = Arc::new(sender.webhook(&world.url("/hook"), &only(hmac(1))));
    for (status, class) in [
        (200_u16, None),
        (204, None),
        (304, Some(ErrorClass::InvalidRequest)),
        (400, Some(ErrorClass::InvalidRequest)),
        (429, Some(ErrorClass::RateLimitExceeded)),
        (500, Some(ErrorClass::ConnectionFailure)),
    ] {
        world.handle.update(|behaviour| {
            *behaviour = Behaviour::status(status.try_into().unwrap());
        });
        let sent = sender.send_message(&subscription, message()).await;
        assert_eq!(sent.status, Some(status));
        let failure = sent.failure;
        assert_eq!(failure.as_ref().map(|failure| failure.error.class), class);
        assert!(failure.is_none_or(|failure| !failure.gone && !failure.unreachable));
    }

    for (body, expected) in [
        ("no\r\nway\0", "no  way\u{fffd}".to_owned()),
        (&*"x".repeat(1025), "x".repeat(1024)),
        (&*"y".repeat(1 << 20), "y".repeat(1024)),
    ] {
        world.handle.update(|behaviour| {
            *behaviour = Behaviour::status(400.try_into().unwrap());
            behaviour.body = body.to_owned().into();
        });
        let sent = sender.send_message(&subscription, message()).await;
        assert_eq!(sent.snippet, expected);
        assert_eq!(sent.status, Some(400));
        assert_eq!(
            sent.failure,
            Some(failure(
                ErrorClass::InvalidRequest,
                "http_400",
                "the endpoint answered 400 Bad Request"
            ))
        );
    }
}

#[tokio::test]
async fn an_endpoint_says_that_it_is_gone_or_when_to_come_back() {
    let world = World::start();
    let sender = Sender::new();
    let subscription = Arc::new(sender.webhook(&world.url("/hook"), &only(hmac(1))));
    for (status, gone) in [(410_u16, true), (429, false), (503, false)] {
        world.handle.update(|behaviour| {
            *behaviour = Behaviour::status(status.try_into().unwrap());
            behaviour.retry_after = Some(Duration::from_secs(90));
        });
        let sent = sender.send_message(&subscription, message()).await;
        let failure = sent.failure.unwrap();
        assert_eq!(failure.gone, gone);
        assert_eq!(failure.retry_at, Some(NOW.after(Duration::from_secs(90))));
        assert!(!failure.unreachable);
    }
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let world = World::start();
    let sender = Sender::new();
    world.handle.set_redirect("/hook", world.url("/elsewhere"));

    let sent = sender
        .send(sender.webhook(&world.url("/hook"), &only(hmac(1))))
        .await;

    assert_eq!(sent.status, Some(302));
    assert_eq!(
        sent.failure,
        Some(failure(
            ErrorClass::InvalidRequest,
            "http_302",
            "the endpoint answered 302 Found"
        ))
    );
    assert_eq!(world.handle.counts().requests, 1);
}

#[tokio::test]
async fn an_endpoint_without_an_answer_is_unreachable() {
    let world = World::start();
    world.handle.set_hanging(true);
    let impatient = Sender::with(
        AddressPolicy::unrestricted(),
        Arc::new(SystemClock),
        |options| options.webhook_deadline = Duration::from_millis(200),
    );
    let url = world.url("/hook");
    let silent = impatient
        .send(impatient.webhook(&url, &only(hmac(1))))
        .await;
    assert!(silent.duration >= Duration::from_millis(200));
    assert_eq!(silent.status, None);

    let free = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}/hook", free.local_addr().unwrap());
    drop(free);
    let sender = Sender::new();
    let closed = sender.send(sender.webhook(&url, &only(hmac(1)))).await;

    for (sent, code, message) in [
        (
            silent,
            "timeout",
            "timed out while waiting for the response",
        ),
        (
            closed,
            "connection_refused",
            "connection could not be opened: connection refused",
        ),
    ] {
        let message = format!("the endpoint gave no answer: {message}");
        let expected = failure(ErrorClass::ConnectionFailure, code, &message);
        assert_eq!(sent.failure, Some(unreachable(expected)));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_may_be_the_fault_of_the_message() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let sender = Sender::new();

    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        drop(stream);
        drop(listener);
    };
    let subscription = sender.webhook(&url, &only(hmac(1)));
    let (sent, ()) = tokio::join!(sender.send(subscription), serve);

    let failure = sent.failure.unwrap();
    assert_eq!(failure.error.code, "connection_reset");
    assert!(!failure.unreachable);
}

#[tokio::test]
async fn what_cannot_be_called_or_signed_is_not_sent_and_not_held_against_the_message() {
    let world = World::start();
    let url = world.url("/hook");
    let guarded = Sender::with(AddressPolicy::public_only(), Arc::new(SystemClock), |_| {});
    let refused = guarded.send(guarded.webhook(&url, &only(hmac(1)))).await;
    let sender = Sender::new();
    let no_url = sender
        .send(sender.webhook("ftp://127.0.0.1/", &only(hmac(1))))
        .await;
    let mut of_another = sender.webhook(&url, &only(hmac(1)));
    of_another.sealed_secrets = only(hmac(1)).seal(&sender.vault, &[8; 16]);
    let sealed = sender.send(of_another).await;

    for (sent, expected) in [
        (
            refused,
            failure(
                ErrorClass::InvalidRequest,
                "address_refused",
                "the endpoint URL must not point to a private or special-purpose address",
            ),
        ),
        (
            no_url,
            failure(
                ErrorClass::InvalidRequest,
                "invalid_url",
                "the endpoint URL must be an http or https URL",
            ),
        ),
        (
            sealed,
            failure(
                ErrorClass::InternalError,
                "secrets_sealed",
                "the secrets of the subscription do not open",
            ),
        ),
    ] {
        assert_eq!(
            (sent.status, sent.failure),
            (None, Some(unreachable(expected)))
        );
    }
    assert_eq!(world.handle.counts().requests, 0);
}
