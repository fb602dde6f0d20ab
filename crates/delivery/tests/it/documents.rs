use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use wellspring_core::{Document, ErrorClass};
use wellspring_delivery::FileError;
use wellspring_engine::SubscriptionKind;
use wellspring_sandbox::{Behaviour, Part};

use crate::subscriptions::{
    ACCOUNT, CONNECTION, DOCUMENT, Sender, failure, hmac, key, subscription, unreachable,
};
use crate::support::{NOW, TENANT, World};

#[tokio::test]
async fn a_document_arrives_with_what_is_known_of_it() {
    let world = World::start();
    let sender = Sender::new();
    // Everything that a form could trip over, and a file that holds the beginning of a boundary.
    let file = b"\r\n--wellspring-\r\n\0\xff%PDF\r\n--\r\n".as_slice();
    *sender.file.0.lock().unwrap() = Ok(Some((document(), file.into())));

    let sent = sender.send(receiver(&world)).await;

    assert_eq!((sent.status, sent.failure), (Some(200), None));
    let delivery = &world.deliveries()[0];
    assert!(delivery.is_signed_by(&key(&hmac(1))));
    assert!(!delivery.is_signed_by(&key(&hmac(2))));
    assert_eq!(delivery.webhook_id.as_deref(), Some("msg_1"));
    assert_eq!(delivery.headers["webhook-timestamp"], "1795000000");
    assert_eq!(
        delivery.headers["content-length"],
        delivery.body.len().to_string()
    );
    let parts = delivery.parts().await.unwrap();
    let [metadata, sent_file] = parts.try_into().unwrap();
    assert_eq!(
        sent_file,
        Part {
            name: "file".to_owned(),
            file_name: Some("Übersicht %22Mai%22%0D%0A.pdf".to_owned()),
            content_type: Some("application/pdf".to_owned()),
            body: Bytes::from_static(file),
        }
    );
    assert_eq!(metadata.name, "metadata");
    assert_eq!(metadata.file_name, None);
    assert_eq!(metadata.content_type.as_deref(), Some("application/json"));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.body).unwrap();
    assert_eq!(
        metadata,
        json!({
            "type": "connection.state.updated",
            "timestamp": "2026-11-18T11:06:40.999Z",
            "data": {"id": 1},
            "document": {
                "id": DOCUMENT,
                "account": ACCOUNT,
                "connection": CONNECTION,
                "kind": "statement",
                "name": "Übersicht \"Mai\"\r\n.pdf",
                "media_type": "application/pdf",
                "size": 31,
                "sha256": "ab".repeat(32),
                "date": "2026-05-31",
                "origin": "fetched",
                "source_id": null,
                "metadata": {"period": "2026-05"},
                "created_at": "2026-11-18T11:06:40.999Z",
            },
        })
    );
}

#[tokio::test]
async fn a_large_document_arrives_intact_and_repeats_have_the_same_body() {
    let world = World::start();
    let sender = Sender::new();
    let file: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_be_bytes).collect();
    *sender.file.0.lock().unwrap() = Ok(Some((document(), file.clone().into())));

    world.handle.set_failure_rate(1.0);
    let failed = sender.send(receiver(&world)).await;
    world.handle.set_failure_rate(0.0);
    let sent = sender.send(receiver(&world)).await;

    assert_eq!((failed.status, sent.status), (Some(500), Some(200)));
    let deliveries = world.deliveries();
    assert!(deliveries[0].body == deliveries[1].body);
    assert!(deliveries[1].is_signed_by(&key(&hmac(1))));
    assert!(deliveries[1].parts().await.unwrap()[1].body == file);
}

#[tokio::test]
async fn what_the_source_says_of_a_file_writes_no_header() {
    let world = World::start();
    let sender = Sender::new();
    let mut document = document();
    document.media_type = "text/plain\r\nX-Evil: 1".to_owned();
    *sender.file.0.lock().unwrap() = Ok(Some((document, Bytes::new())));

    sender.send(receiver(&world)).await;

    let parts = world.deliveries()[0].parts().await.unwrap();
    assert_eq!(parts[1].body, "");
    assert_eq!(
        parts[1].content_type.as_deref(),
        Some("application/octet-stream")
    );
}

#[tokio::test]
async fn a_document_that_was_erased_is_done_with() {
    let world = World::start();
    let sender = Sender::new();

    let sent = sender.send(receiver(&world)).await;

    assert_eq!((sent.status, sent.failure), (None, None));
    assert_eq!(sent.snippet, "erased");
    assert_eq!(world.handle.counts().requests, 0);
}

#[tokio::test]
async fn a_document_that_cannot_be_read_waits_and_a_damaged_one_holds_nobody_up() {
    let world = World::start();
    let sender = Sender::new();
    let unavailable = failure(
        ErrorClass::InternalError,
        "document_unavailable",
        "the document cannot be read at present",
    );
    let damaged = failure(
        ErrorClass::InternalError,
        "document_damaged",
        "the document is damaged",
    );
    for (error, expected) in [
        (
            FileError::Unavailable("disk".to_owned()),
            unreachable(unavailable),
        ),
        (FileError::Damaged("bit 7".to_owned()), damaged),
    ] {
        *sender.file.0.lock().unwrap() = Err(error);
        assert_eq!(sender.send(receiver(&world)).await.failure, Some(expected));
    }
    assert_eq!(world.handle.counts().requests, 0);
}

#[tokio::test]
async fn a_receiver_of_documents_answers_as_an_endpoint_does() {
    let world = World::start();
    let sender = Sender::new();
    *sender.file.0.lock().unwrap() = Ok(Some((document(), Bytes::from_static(b"a"))));
    world.handle.update(|behaviour| {
        *behaviour = Behaviour::gone();
        behaviour.retry_after = Some(Duration::from_secs(1));
        behaviour.body = Bytes::from_static(b"moved out");
    });

    let sent = sender.send(receiver(&world)).await;

    let failure = sent.failure.unwrap();
    assert!(failure.gone && !failure.unreachable);
    assert_eq!(sent.snippet, "moved out");
}

fn receiver(world: &World) -> wellspring_engine::Subscription {
    subscription(SubscriptionKind::Documents, &world.url("/documents"))
}

fn document() -> Document {
    let shown = json!({
        "id": DOCUMENT, "tenant": TENANT, "account": ACCOUNT, "connection": CONNECTION,
        "fetch": null, "origin": "fetched", "created_at": NOW, "source_id": null,
        "hash": vec![0xab_u8; 32], "size": 31, "kind": "statement",
        "name": "Übersicht \"Mai\"\r\n.pdf", "media_type": "application/pdf",
        "date": "2026-05-31", "metadata": {"period": "2026-05"},
    });
    serde_json::from_value(shown).unwrap()
}
