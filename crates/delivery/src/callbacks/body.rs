//! The bytes of a message.

use bytes::Bytes;
use serde::Serialize;
use wellspring_core::{CollectionId, Error, Kind, SourceName, Timestamp};
use wellspring_engine::DeliverOrder;

/// Builds the message; `None` if the data it should carry is missing.
pub(super) fn of(order: &DeliverOrder) -> Option<Bytes> {
    match &order.kind {
        Kind::Success if order.payload.is_empty() => None,
        Kind::Success => Some(success(order)),
        Kind::Failure(error) => Some(failure(order, error)),
    }
}

/// Puts the data in as it is, since a parser would not keep every byte.
fn success(order: &DeliverOrder) -> Bytes {
    // Neither an id, a source name nor a timestamp holds anything that JSON escapes.
    let head = format!(
        r#"{{"type":"collection.successful","timestamp":"{}","data":{{"requestId":"{}","provider":"{}","data":"#,
        order.at, order.id, order.source
    );
    [head.as_bytes(), &order.payload, b"}}"].concat().into()
}

fn failure(order: &DeliverOrder, error: &Error) -> Bytes {
    let message = Message {
        kind: "collection.failed",
        timestamp: order.at,
        data: Failure {
            request_id: order.id,
            provider: &order.source,
            error,
        },
    };
    serde_json::to_vec(&message)
        .expect("texts and enums always serialize")
        .into()
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Timestamp,
    data: Failure<'a>,
}

#[derive(Serialize)]
struct Failure<'a> {
    #[serde(rename = "requestId")]
    request_id: CollectionId,
    provider: &'a SourceName,
    error: &'a Error,
}

#[cfg(test)]
mod tests {
    use wellspring_core::{ErrorClass, TenantId};

    use super::*;

    #[test]
    fn fetched_data_stands_in_the_message_byte_for_byte() {
        let payload = "\n[ {\"amount\": 30.00, \"b\":1e400,\"b\":\"\\u00e4\u{e4}\"} ]\n";
        let body = of(&order(Kind::Success, payload)).unwrap();

        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            format!(
                r#"{{"type":"collection.successful","timestamp":"2026-11-18T11:06:40.120Z","data":{{"requestId":"col_00112233445566778899aabbccddeeff","provider":"gas","data":{payload}}}}}"#
            )
        );
        assert!(of(&order(Kind::Success, "")).is_none());
    }

    #[test]
    fn a_failure_says_why() {
        let error = Error {
            class: ErrorClass::ConnectionFailure,
            code: "http_500".to_owned(),
            message: "the source said \"no\"".to_owned(),
        };
        let body = of(&order(Kind::Failure(error), "")).unwrap();

        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"type":"collection.failed","timestamp":"2026-11-18T11:06:40.120Z","data":{"requestId":"col_00112233445566778899aabbccddeeff","provider":"gas","error":{"class":"connection_failure","code":"http_500","message":"the source said \"no\""}}}"#
        );
    }

    fn order(kind: Kind, payload: &'static str) -> DeliverOrder {
        DeliverOrder {
            id: "col_00112233445566778899aabbccddeeff".parse().unwrap(),
            tenant: TenantId::from_bytes([1; 16]),
            kind,
            message: 1,
            at: Timestamp::from_millis(1_795_000_000_120),
            source: "gas".parse().unwrap(),
            callback_url: "http://127.0.0.1/".into(),
            created_at: Timestamp::from_millis(1_795_000_000_000),
            payload: Bytes::from_static(payload.as_bytes()),
        }
    }
}
