//! Who sends, signed for each push service (RFC 8292).

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use web_push_native::p256::ecdsa::signature::Signer;
use web_push_native::p256::ecdsa::{Signature, SigningKey};
use wellspring_core::Timestamp;
use wellspring_outbound::Target;
use zeroize::Zeroizing;

use super::PushError;

/// A key and a contact.
pub(super) struct Vapid {
    key: SigningKey,
    public_key: String,
    contact: String,
}

impl Vapid {
    pub(super) fn new(private_key: &SecretString, contact: &str) -> Result<Self, PushError> {
        if !contact.starts_with("mailto:") && !contact.starts_with("https://") {
            return Err(PushError::Contact);
        }
        let text = private_key.expose_secret().trim().trim_end_matches('=');
        let bytes = URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new);
        let bytes = bytes.map_err(|_invalid| PushError::Key)?;
        let key = SigningKey::from_slice(&bytes).map_err(|_invalid| PushError::Key)?;
        let public_key = key.verifying_key().to_encoded_point(false);
        Ok(Self {
            public_key: URL_SAFE_NO_PAD.encode(public_key.as_bytes()),
            key,
            contact: contact.to_owned(),
        })
    }

    pub(super) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// Returns the header that names the sender to the target's origin; `None` when it has none.
    pub(super) fn authorization(&self, target: &Target, now: Timestamp) -> Option<String> {
        let uri = target.uri();
        let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
        let until = now.after(LIFETIME).as_millis().div_euclid(1_000);
        let claims = json!({"aud": origin, "exp": until, "sub": self.contact});
        let head = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ES256"}"#);
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature: Signature = self.key.try_sign(signed.as_bytes()).ok()?;
        let signature = URL_SAFE_NO_PAD.encode(signature.to_bytes());
        Some(format!(
            "vapid t={signed}.{signature}, k={}",
            self.public_key
        ))
    }
}

/// Shows the public half only.
impl fmt::Debug for Vapid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vapid")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// How long a signature holds; push services refuse more than a day.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
