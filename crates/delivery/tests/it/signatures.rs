use std::sync::Arc;

use standardwebhooks::Webhook;
use wellspring_core::{Error, ErrorClass, Kind};
use wellspring_delivery::SigningSecret;
use wellspring_engine::DeliverResult;
use wellspring_outbound::AddressPolicy;

use crate::support::{Stopped, World, build, callbacks, secrets};

#[tokio::test]
async fn another_implementation_verifies_what_is_sent() {
    let world = World::start();
    let callbacks = callbacks(secrets([1]));
    let mut failure = world.order("/hook");
    failure.kind = Kind::Failure(Error {
        class: ErrorClass::ConnectionFailure,
        code: "http_500".to_owned(),
        message: "the source answered 500 Internal Server Error".to_owned(),
    });
    failure.message = 2;

    for order in [world.order("/hook?a=b"), failure] {
        assert_eq!(callbacks.deliver(order).await, DeliverResult::Delivered);
    }

    let verifier = verifier(1);
    let deliveries = world.deliveries();
    let types = ["collection.successful", "collection.failed"];
    let ids = [
        "msg_abababababababababababababababab_1",
        "msg_abababababababababababababababab_2",
    ];
    assert_eq!(deliveries.len(), 2);
    for (delivery, (kind, id)) in deliveries.iter().zip(types.into_iter().zip(ids)) {
        verifier.verify(&delivery.body, &delivery.headers).unwrap();
        assert_eq!(delivery.webhook_id.as_deref(), Some(id));
        assert_eq!(delivery.headers["content-type"], "application/json");
        let body: serde_json::Value = serde_json::from_slice(&delivery.body).unwrap();
        assert_eq!(body["type"], kind);
        assert_eq!(body["timestamp"], "2026-11-18T11:06:40.999Z");
        assert_eq!(
            body["data"]["requestId"],
            "col_abababababababababababababababab"
        );
        assert_eq!(body["data"]["provider"], "gas");
    }
    assert!(
        deliveries[0]
            .body
            .ends_with(b"\"data\":[{\"amount\": 30.00}]}}")
    );
}

#[tokio::test]
async fn both_secrets_verify_during_a_rotation_and_no_other_does() {
    let world = World::start();

    callbacks(secrets([1, 2]))
        .deliver(world.order("/hook"))
        .await;

    let delivery = &world.deliveries()[0];
    let verify = |byte| verifier(byte).verify(&delivery.body, &delivery.headers);
    verify(1).unwrap();
    verify(2).unwrap();
    verify(3).unwrap_err();
    let header = delivery.headers["webhook-signature"].to_str().unwrap();
    let signatures: Vec<_> = header.split(' ').collect();
    assert_eq!(signatures.len(), 2);
    assert!(signatures.iter().all(|one| one.starts_with("v1,")));
}

#[tokio::test]
async fn repeats_of_a_message_share_its_id_and_its_body() {
    let world = World::start();
    world.handle.set_failure_rate(1.0);
    callbacks(secrets([1])).deliver(world.order("/hook")).await;
    world.handle.set_failure_rate(0.0);

    let later = build(
        AddressPolicy::unrestricted(),
        secrets([1]),
        Arc::new(Stopped),
    );
    later.deliver(world.order("/hook")).await;

    let counts = world.handle.counts();
    assert_eq!((counts.requests, counts.repeats), (2, 1));
    assert_eq!((counts.accepted, counts.duplicates), (1, 0));
    let deliveries = world.deliveries();
    assert_eq!(deliveries[0].webhook_id, deliveries[1].webhook_id);
    assert_eq!(deliveries[0].body, deliveries[1].body);
    // The time is that of the attempt, in whole seconds.
    assert_eq!(deliveries[1].headers["webhook-timestamp"], "1795000000");
    assert_ne!(
        deliveries[0].headers["webhook-signature"],
        deliveries[1].headers["webhook-signature"]
    );
}

fn verifier(byte: u8) -> Webhook {
    Webhook::new(&SigningSecret::generate([byte; 32]).expose()).unwrap()
}
