//! One `GET`, answered with one JSON document.

mod failure;

use bytes::Bytes;
use http::Method;
use serde::de::IgnoredAny;
use wellspring_engine::Clock;
use wellspring_outbound::{Client, Request};

use crate::SourceConfig;
use crate::connectors::Asked;

pub(crate) async fn ask<'s>(
    client: &Client,
    source: &'s SourceConfig,
    clock: &dyn Clock,
) -> Asked<'s> {
    let request = Request {
        method: Method::GET,
        target: source.target.clone(),
        headers: source.headers.clone(),
        body: Bytes::new(),
        deadline: source.timeout,
        max_body: source.max_body,
    };
    let response = match client.send(request).await {
        Ok(response) => response,
        Err(error) => {
            return Asked {
                status: None,
                body_bytes: 0,
                outcome: Err(failure::no_answer(source, &error)),
            };
        }
    };
    let status = response.status;
    let body_bytes = response.body.len();
    let outcome = if status.is_success() && is_json(&response.body) {
        Ok(response.body)
    } else {
        Err(failure::bad_answer(source, &response, clock.now()))
    };
    Asked {
        status: Some(status),
        body_bytes,
        outcome,
    }
}

/// Returns whether `body` is one JSON document in UTF-8.
///
/// The UTF-8 is checked apart, for the parser does not look into strings that it skips.
fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn one_json_document_in_utf_8_is_taken_and_nothing_else() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let good: [&[u8]; 6] = [
            b"[]",
            b" {\"a\": 30.00}\n",
            b"null",
            b"1e400",
            "\"\u{e4}\"".as_bytes(),
            deep.as_bytes(),
        ];
        for body in good {
            assert!(is_json(body), "{}", String::from_utf8_lossy(body));
        }
        let bad: [&[u8]; 8] = [
            b"",
            b"  ",
            b"#fail",
            b"[] []",
            b"{\"a\": 1",
            b"\"\xff\"",
            b"\xef\xbb\xbf[]",
            b"{'a': 1}",
        ];
        for body in bad {
            assert!(!is_json(body), "{}", String::from_utf8_lossy(body));
        }
    }
}
