//! The `Idempotency-Key` header, and what was done under one before.

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};
use wellspring_core::{TenantId, connection};
use wellspring_engine::{Aggregate, Key, KeyRow, Request, RequestMark, StoreError, Told};

use crate::Caller;
use crate::ask::{Refused, ask};
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

/// A request that is done once, however often it is sent under its key.
#[derive(Debug)]
pub(crate) struct Once {
    tenant: TenantId,
    key: Option<Key>,
}

/// What came of a request that is done once.
#[derive(Debug)]
pub(crate) enum Asked {
    /// It was done to this.
    Done(Aggregate),
    /// It had been done to this before.
    Again(Aggregate),
    /// The connection's state does not take it.
    State(connection::Rejected),
}

impl Once {
    /// Takes the key in the headers for a request that says `parts`.
    ///
    /// Requests bear secrets, and what is kept of them must not serve to try secrets out:
    /// the fingerprint is one that only this database's vault can make.
    pub(crate) fn new(
        app: &App,
        caller: &Caller,
        headers: &HeaderMap,
        parts: &[&[u8]],
    ) -> Result<Self, Malformed> {
        let tenant = caller.tenant;
        let Some(mut hash) = hash(headers)? else {
            return Ok(Self { tenant, key: None });
        };
        if let Some(account) = caller.account {
            // What one person's client calls its requests is nothing to another's.
            hash = Sha256::new()
                .chain_update(hash)
                .chain_update(account.as_bytes())
                .finalize()
                .into();
        }
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        let digest: [u8; 32] = digest.finalize().into();
        let fingerprint = app.access.vault().keyed_hash(CONTEXT, &digest);
        let key = Some(Key { hash, fingerprint });
        Ok(Self { tenant, key })
    }

    /// Takes it for one about what is another tenant's, by whose name it is kept there, beside
    /// that tenant's own keys.
    pub(crate) fn about(self, tenant: TenantId) -> Self {
        let (by, key) = (self.tenant, self.key);
        if tenant == by {
            return self;
        }
        let apart = |hash: [u8; 32]| Sha256::new().chain_update(hash).chain_update(by.as_bytes());
        let key = key.map(|key| Key {
            hash: apart(key.hash).finalize().into(),
            ..key
        });
        Self { tenant, key }
    }

    /// Returns the key as it is kept with what the request makes.
    pub(crate) fn mark(&self) -> Option<RequestMark> {
        let key = self.key?;
        let half = |whole: [u8; 32]| {
            let mut half = [0; 16];
            half.copy_from_slice(&whole[..16]);
            half
        };
        Some(RequestMark {
            key: half(key.hash),
            said: half(key.fingerprint),
        })
    }

    /// Returns whether a message was written by an earlier request under this key.
    pub(crate) fn is_again(&self, told: &Told) -> Result<bool, Refusal> {
        if told.is_again && told.notification.request != self.mark() {
            return Err(Refusal::Reused);
        }
        Ok(told.is_again)
    }

    /// Returns what the request was done to before, if it was.
    pub(crate) async fn before(&self, app: &App) -> Result<Option<Aggregate>, Problem> {
        let Some(key) = self.key else {
            return Ok(None);
        };
        match used_for(app, self.tenant, key.hash).await? {
            Some(row) if row.fingerprint != key.fingerprint => Err(Refusal::Reused.into()),
            row => Ok(row.map(|row| row.id)),
        }
    }

    /// Has the engine do it.
    pub(crate) async fn ask(&self, app: &App, request: Request) -> Result<Asked, Problem> {
        match ask(app, request, self.key).await {
            Ok(id) => Ok(Asked::Done(id)),
            Err(Refused::State(rejected)) => Ok(Asked::State(rejected)),
            Err(Refused::KeyTaken) => match self.before(app).await? {
                Some(id) => Ok(Asked::Again(id)),
                None => Err(Refusal::InUse.into()),
            },
            Err(refused) => Err(refused.into()),
        }
    }
}

/// Marks a response as one that was given before.
pub(crate) fn replayed(mut response: Response) -> Response {
    let yes = HeaderValue::from_static("true");
    response.headers_mut().insert(REPLAYED, yes);
    response
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
/// What fingerprints are made for.
const CONTEXT: &[u8] = b"idempotency";

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
