//! One `GET`, answered with one JSON document.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::de::IgnoredAny;

use crate::failure::{BODY_NOT_JSON, Said};
use crate::http::{Asked, Call, Http};

pub(crate) async fn ask(http: &Http) -> Asked {
    let call = Call {
        operation: FETCH,
        method: Method::GET,
        target: http.base().clone(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    http.ask(call, |response| {
        if !response.status.is_success() {
            Err(http.refused(FETCH, &response, &Said::default()))
        } else if is_json(&response.body) {
            Ok(response.body)
        } else {
            Err(http.unusable(FETCH, &response, BODY_NOT_JSON, "without JSON"))
        }
    })
    .await
}

/// Returns whether `body` is one JSON document in UTF-8.
///
/// The UTF-8 is checked apart, for the parser does not look into strings that it skips.
fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

const FETCH: &str = "fetch";

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
