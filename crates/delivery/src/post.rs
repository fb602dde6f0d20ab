//! Signed requests, and what is kept of their answers.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use wellspring_core::Timestamp;
use wellspring_engine::{Clock, SendFailure, SendResult};
use wellspring_outbound::{Client, Request, Target};

use crate::failure::{Failure, Recipient};
use crate::traced;

/// How one attempt went.
#[derive(Debug)]
pub(crate) struct Attempt {
    status: Option<u16>,
    snippet: String,
    failure: Option<Failure>,
}

/// A signed message on its way to the endpoint of a subscription.
pub(crate) struct Post {
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    /// The body in pieces.
    pub(crate) body: (Bytes, Vec<Bytes>),
    pub(crate) deadline: Duration,
}

impl Post {
    pub(crate) async fn send(self, client: &Client, clock: &dyn Clock) -> Attempt {
        let (body, rest) = self.body;
        let mut request = Request {
            method: Method::POST,
            target: self.target,
            headers: self.headers,
            body,
            deadline: self.deadline,
            max_body: MAX_ANSWER,
        };
        let exchange = traced::begin_told(&mut request);
        let answer = client.send_for_start(request, rest).await;
        traced::end(exchange, &answer);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(detail = %error, "Endpoint gave no answer");
                return Recipient::Endpoint.no_answer(&error).into();
            }
        };
        let failure = (!answer.status.is_success())
            .then(|| Recipient::Endpoint.refused(&answer, clock.now()));
        Attempt {
            status: Some(answer.status.as_u16()),
            snippet: snippet(&answer.body),
            failure,
        }
    }
}

impl Attempt {
    /// There was nothing to send.
    pub(crate) fn needless(why: &str) -> Self {
        Self {
            status: None,
            snippet: why.to_owned(),
            failure: None,
        }
    }

    pub(crate) fn into_result(self, duration: Duration) -> SendResult {
        SendResult {
            status: self.status,
            snippet: self.snippet,
            duration,
            failure: self.failure.map(SendFailure::from),
        }
    }
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self {
            status: None,
            snippet: String::new(),
            failure: Some(failure),
        }
    }
}

/// Returns the headers of a signed message; `None` when its id can be no header.
pub(crate) fn headers(
    content_type: HeaderValue,
    id: &str,
    unix_seconds: i64,
    signatures: String,
) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(ID, HeaderValue::from_str(id).ok()?);
    headers.insert(TIMESTAMP, HeaderValue::from(unix_seconds));
    headers.insert(SIGNATURE, HeaderValue::try_from(signatures).ok()?);
    Some(headers)
}

/// A message whose id can be no header, so that it is none of the engine's.
pub(crate) fn bad_id() -> Failure {
    Failure::of_message("bad_id", "the message has no proper id")
}

/// Returns the whole seconds of Unix time, as they stand in `webhook-timestamp`.
pub(crate) const fn unix_seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1_000)
}

/// Returns the beginning of an answer as text that can be kept and shown anywhere.
fn snippet(body: &[u8]) -> String {
    let body = &body[..body.len().min(SNIPPET)];
    let mut text = String::with_capacity(body.len());
    let mut chunks = body.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        for character in chunk.valid().chars() {
            push(&mut text, character);
        }
        // What is invalid at the very end is most likely a character that was cut.
        if !chunk.invalid().is_empty() && chunks.peek().is_some() {
            push(&mut text, char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

fn push(text: &mut String, character: char) {
    let character = match character {
        '\t' | '\n' | '\r' => ' ',
        character if character.is_control() => char::REPLACEMENT_CHARACTER,
        character => character,
    };
    if text.len() + character.len_utf8() <= SNIPPET {
        text.push(character);
    }
}

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// How much of an answer is kept, in bytes.
const SNIPPET: usize = 1024;
/// How much of an answer is read; a connection whose answer is larger is not used again.
const MAX_ANSWER: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_is_short_and_safe_to_show() {
        for (body, expected) in [
            (b"".to_vec(), String::new()),
            (b"no \"way\"".to_vec(), "no \"way\"".to_owned()),
            (
                b"a\r\n\tb\0c\x1b[1m".to_vec(),
                "a   b\u{fffd}c\u{fffd}[1m".to_owned(),
            ),
            (b"a\xffb".to_vec(), "a\u{fffd}b".to_owned()),
            ("é".repeat(600).into_bytes(), "é".repeat(512)),
            (
                format!("a{}", "é".repeat(600)).into_bytes(),
                format!("a{}", "é".repeat(511)),
            ),
            (vec![b'a'; 4096], "a".repeat(1024)),
        ] {
            assert_eq!(snippet(&body), expected);
        }
        assert!(snippet(&[0; 2000]).len() <= 1024);
    }
}
