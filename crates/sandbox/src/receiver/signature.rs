//! Signatures after the Standard Webhooks specification, as a receiver sees them.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT as BASE64;
use bytes::Bytes;
use ed25519_dalek::Signature;
use ed25519_dalek::ed25519::signature::MultipartVerifier;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::HeaderMap;
use sha2::Sha256;

use super::Delivery;

/// What a receiver verifies deliveries with: a `whsec_…` secret or a `whpk_…` public key.
#[derive(Clone)]
pub struct VerifyingKey(Key);

#[derive(Clone)]
enum Key {
    Hmac(Box<Hmac<Sha256>>),
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
}

/// Says that a text is no key that verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyError;

impl VerifyingKey {
    /// Returns whether one of the signatures in `headers` is of this key, over them and `body`.
    ///
    /// How old the signature is does not matter here.
    pub(super) fn verifies(&self, headers: &HeaderMap, body: &Bytes) -> bool {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(id), Some(timestamp), Some(signatures)) = (
            header("webhook-id"),
            header("webhook-timestamp"),
            header("webhook-signature"),
        ) else {
            return false;
        };
        let head = format!("{id}.{timestamp}.");
        let pieces = [head.as_bytes(), body];
        let mut signatures = signatures
            .split(' ')
            .filter_map(|signature| signature.split_once(','))
            .filter_map(|(scheme, text)| Some((scheme, BASE64.decode(text).ok()?)));
        signatures.any(|(scheme, signature)| match &self.0 {
            Key::Hmac(key) if scheme == "v1" => {
                let mut mac = (**key).clone();
                pieces.iter().for_each(|piece| mac.update(piece));
                mac.verify_slice(&signature).is_ok()
            }
            Key::Ed25519(key) if scheme == "v1a" => Signature::from_slice(&signature)
                .is_ok_and(|signature| key.multipart_verify(&pieces, &signature).is_ok()),
            Key::Hmac(_) | Key::Ed25519(_) => false,
        })
    }
}

impl Delivery {
    /// Returns whether one of its signatures is of `key`.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.verifies(&self.headers, &self.body)
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let decode = |text| BASE64.decode(text).map_err(|_opaque| KeyError);
        if let Some(text) = text.strip_prefix("whsec_") {
            let key = Hmac::new_from_slice(&decode(text)?).map_err(|_length| KeyError)?;
            return Ok(Self(Key::Hmac(Box::new(key))));
        }
        let text = text.strip_prefix("whpk_").ok_or(KeyError)?;
        let bytes = <[u8; 32]>::try_from(decode(text)?).map_err(|_length| KeyError)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_opaque| KeyError)?;
        Ok(Self(Key::Ed25519(Box::new(key))))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey")
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that verifies is `whsec_` or `whpk_` and base64")
    }
}

impl Error for KeyError {}
