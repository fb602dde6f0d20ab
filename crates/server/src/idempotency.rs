//! The `Idempotency-Key` header, and what was done under one before.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};
use wellspring_core::TenantId;
use wellspring_engine::{Key, KeyRow, StoreError};

use crate::problem::Problem;
use crate::router::App;

/// The header is there and is no key.
#[derive(Debug)]
pub(crate) struct Malformed;

/// Why a key is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It was used for another request.
    Reused,
    /// The request that it was used for is under way.
    InUse,
}

/// Returns the hash of the key in the headers.
///
/// The operation is part of the fingerprint: a key is one request, whichever endpoint it went to.
pub(crate) fn hash(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Malformed> {
    let mut values = headers.get_all(&HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Malformed);
    }
    let key = read(value).ok_or(Malformed)?;
    Ok(Some(Sha256::digest(key).into()))
}

/// Looks up what a key was used for.
pub(crate) async fn used_for(
    app: &App,
    tenant: TenantId,
    hash: [u8; 32],
) -> Result<Option<KeyRow>, StoreError> {
    crate::router::within(app.backend.key(tenant, hash)).await
}

/// Returns the key of a request that says `parts`.
pub(crate) fn key(hash: [u8; 32], parts: &[&[u8]]) -> Key {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    let fingerprint = digest.finalize().into();
    Key { hash, fingerprint }
}

/// A structured string (RFC 8941, section 3.3.3), or the bare key as most clients send it.
fn read(value: &HeaderValue) -> Option<Vec<u8>> {
    let bytes = value.as_bytes();
    let key = match bytes.strip_prefix(b"\"") {
        None => bytes.to_vec(),
        Some(quoted) => {
            let mut key = Vec::with_capacity(quoted.len());
            let mut rest = quoted.strip_suffix(b"\"")?.iter();
            while let Some(byte) = rest.next() {
                match byte {
                    b'"' => return None,
                    b'\\' => key.push(*rest.next().filter(|next| matches!(next, b'"' | b'\\'))?),
                    _ => key.push(*byte),
                }
            }
            key
        }
    };
    let visible = key.iter().all(u8::is_ascii_graphic);
    (visible && (1..=255).contains(&key.len())).then_some(key)
}

impl From<Malformed> for Problem {
    fn from(Malformed: Malformed) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "idempotency_key_malformed",
            "An Idempotency-Key is 1 to 255 visible ASCII characters, once",
        )
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Reused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "This Idempotency-Key was used for another request",
            ),
            Refusal::InUse => Self::new(
                StatusCode::CONFLICT,
                "idempotency_key_in_use",
                "A request with this Idempotency-Key is under way",
            )
            .with_header(http::header::RETRY_AFTER, HeaderValue::from_static("1")),
        }
    }
}

pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_and_bare_keys_are_the_same_and_other_text_is_refused() {
        let read = |text: &str| read(&HeaderValue::from_bytes(text.as_bytes()).unwrap());
        assert_eq!(read("abc-1"), Some(b"abc-1".to_vec()));
        assert_eq!(read("\"abc-1\""), Some(b"abc-1".to_vec()));
        assert_eq!(read(r#""a\"b\\""#), Some(br#"a"b\"#.to_vec()));
        assert!(read(&"k".repeat(255)).is_some());
        for bad in [
            "", "\"\"", "\"", "\"a", "\"a\"b\"", r#""a\b""#, r#""a\""#, "a b", "é",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read(&"k".repeat(256)), None);
    }
}
