//! Secrets and what is signed with them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use thiserror::Error;
use wellspring_core::TenantId;

/// Knows the secrets of tenants.
///
/// It is asked for every message and answers from memory.
pub trait Secrets: fmt::Debug + Send + Sync {
    /// Returns the live callback secrets of a tenant, the newest first.
    ///
    /// There are two while a secret is being rotated; `None` and an empty list mean the same.
    fn callback(&self, tenant: TenantId) -> Option<Arc<[SigningSecret]>>;
}

/// A secret that messages are signed with.
///
/// It prints as a placeholder, see [`SigningSecret::expose`].
pub struct SigningSecret {
    key: SecretSlice<u8>,
}

/// Why a text is not a signing secret; never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    /// It does not begin as it should.
    #[error("a signing secret begins with `whsec_`")]
    Prefix,
    /// What follows is not base64.
    #[error("a signing secret is base64 after `whsec_`")]
    Base64,
    /// The key is too short or too long.
    #[error("a signing secret holds 24 to 64 bytes")]
    Length,
}

impl SigningSecret {
    /// What every secret begins with.
    pub const PREFIX: &'static str = "whsec_";

    /// Makes a new secret of random bytes.
    pub fn generate(random: [u8; 32]) -> Self {
        Self {
            key: random.to_vec().into(),
        }
    }

    /// Returns the secret as text, for its owner and for sealed storage.
    pub fn expose(&self) -> String {
        let key = STANDARD.encode(self.key.expose_secret());
        format!("{}{key}", Self::PREFIX)
    }

    /// Signs a message: `v1,` and the base64 of an HMAC-SHA256.
    pub fn sign(&self, id: &str, unix_seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret())
            .expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{unix_seconds}.").as_bytes());
        mac.update(body);
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        format!("v1,{signature}")
    }
}

impl FromStr for SigningSecret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let key = text.strip_prefix(Self::PREFIX).ok_or(SecretError::Prefix)?;
        let Ok(key) = STANDARD_PAD_INDIFFERENT.decode(key) else {
            return Err(SecretError::Base64);
        };
        let key = SecretSlice::from(key);
        if !(24..=64).contains(&key.expose_secret().len()) {
            return Err(SecretError::Length);
        }
        Ok(Self { key })
    }
}

impl fmt::Display for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", Self::PREFIX)
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecret({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_reads_back_and_never_prints() {
        let secret = SigningSecret::generate([7; 32]);
        let text = secret.expose();
        let again: SigningSecret = text.parse().unwrap();

        assert!(text.starts_with("whsec_BwcHBw"));
        assert_eq!(again.expose(), text);
        assert_eq!(
            text.trim_end_matches('=')
                .parse::<SigningSecret>()
                .unwrap()
                .expose(),
            text
        );
        for printed in [
            format!("{secret}"),
            format!("{secret:?}"),
            format!("{secret:#?}"),
        ] {
            assert!(!printed.contains("BwcH"), "{printed}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_repeating_it() {
        let of_length = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
        for (text, expected) in [
            (String::new(), SecretError::Prefix),
            ("whpk_AAAA".to_owned(), SecretError::Prefix),
            ("whsec_***".to_owned(), SecretError::Base64),
            ("whsec_".to_owned(), SecretError::Length),
            (of_length(23), SecretError::Length),
            (of_length(65), SecretError::Length),
        ] {
            assert_eq!(
                text.parse::<SigningSecret>().unwrap_err(),
                expected,
                "{text}"
            );
        }
        assert!(of_length(24).parse::<SigningSecret>().is_ok());
        assert!(of_length(64).parse::<SigningSecret>().is_ok());
    }

    #[test]
    fn the_signature_covers_id_time_and_body() {
        let secret = SigningSecret::generate([7; 32]);
        let signature = secret.sign("msg_1", 1_700_000_000, b"{}");

        assert_eq!(signature, secret.sign("msg_1", 1_700_000_000, b"{}"));
        for other in [
            secret.sign("msg_2", 1_700_000_000, b"{}"),
            secret.sign("msg_1", 1_700_000_001, b"{}"),
            secret.sign("msg_1", 1_700_000_000, b"[]"),
            SigningSecret::generate([8; 32]).sign("msg_1", 1_700_000_000, b"{}"),
        ] {
            assert_ne!(signature, other);
        }
        // HMAC-SHA256 is 32 bytes, so 44 digits of base64.
        assert_eq!(signature.len(), "v1,".len() + 44);
    }
}
