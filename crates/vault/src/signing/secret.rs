//! Secrets and what is signed with them.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};
use ed25519_dalek::ed25519::signature::MultipartSigner;
use ed25519_dalek::{KEYPAIR_LENGTH, SECRET_KEY_LENGTH, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::keys;

/// A secret that messages are signed with, overwritten when it is dropped.
///
/// It prints as a placeholder, see [`SigningSecret::expose`].
pub struct SigningSecret(Key);

enum Key {
    Hmac {
        key: SecretSlice<u8>,
        /// What every signature begins with, which is computed from the key once.
        begun: Box<Hmac<Sha256>>,
    },
    Ed25519(Box<SigningKey>),
}

/// How a secret signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretKind {
    /// HMAC-SHA256: whoever verifies has the secret too.
    Hmac,
    /// Ed25519: whoever verifies has the public key.
    Ed25519,
}

/// Why a text is not a signing secret; never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    /// It does not begin as it should.
    #[error("a signing secret begins with `whsec_` or `whsk_`")]
    Prefix,
    /// What follows is not base64.
    #[error("a signing secret is base64 after its prefix")]
    Base64,
    /// The key is too short or too long.
    #[error("a signing secret holds 24 to 64 bytes after `whsec_`, 32 or 64 after `whsk_`")]
    Length,
    /// The public half of a key pair belongs to another secret one.
    #[error("the halves of the key pair after `whsk_` do not belong together")]
    Pair,
}

impl SigningSecret {
    /// What every secret for HMAC begins with.
    pub const PREFIX: &'static str = "whsec_";
    /// What every secret for Ed25519 begins with.
    pub const PAIR_PREFIX: &'static str = "whsk_";
    /// What every public key begins with.
    pub const PUBLIC_PREFIX: &'static str = "whpk_";

    /// Makes a secret for HMAC of random bytes.
    pub fn generate(random: [u8; 32]) -> Self {
        let random = Zeroizing::new(random);
        Self::hmac(random.to_vec().into())
    }

    /// Makes a key pair for Ed25519 of random bytes.
    pub fn generate_pair(random: [u8; 32]) -> Self {
        let random = Zeroizing::new(random);
        Self(Key::Ed25519(Box::new(SigningKey::from_bytes(&random))))
    }

    /// Makes up a new secret.
    pub fn random(kind: SecretKind) -> Self {
        match kind {
            SecretKind::Hmac => Self::generate(keys::random()),
            SecretKind::Ed25519 => Self::generate_pair(keys::random()),
        }
    }

    fn hmac(key: SecretSlice<u8>) -> Self {
        let begun = Hmac::new_from_slice(key.expose_secret());
        let begun = Box::new(begun.expect("HMAC takes a key of any length"));
        Self(Key::Hmac { key, begun })
    }

    /// Returns how it signs.
    pub const fn kind(&self) -> SecretKind {
        match &self.0 {
            Key::Hmac { .. } => SecretKind::Hmac,
            Key::Ed25519(_) => SecretKind::Ed25519,
        }
    }

    /// Returns the secret as text, for its owner and for sealed storage.
    pub fn expose(&self) -> String {
        match &self.0 {
            Key::Hmac { key, .. } => {
                let key = Zeroizing::new(STANDARD.encode(key.expose_secret()));
                [Self::PREFIX, &key].concat()
            }
            Key::Ed25519(pair) => {
                let pair = Zeroizing::new(pair.to_keypair_bytes());
                let pair = Zeroizing::new(STANDARD.encode(pair.as_slice()));
                [Self::PAIR_PREFIX, &pair].concat()
            }
        }
    }

    /// Returns the public key, `whpk_…`, which verifies what an Ed25519 secret signs.
    pub fn public(&self) -> Option<String> {
        match &self.0 {
            Key::Hmac { .. } => None,
            Key::Ed25519(pair) => {
                let key = STANDARD.encode(pair.verifying_key().as_bytes());
                Some([Self::PUBLIC_PREFIX, &key].concat())
            }
        }
    }

    /// Signs a message: `v1,` and the base64 of an HMAC-SHA256, or `v1a,` and that of an Ed25519 signature.
    pub fn sign(&self, id: &str, unix_seconds: i64, body: &[u8]) -> String {
        super::signatures([self], id, unix_seconds, &[body])
    }

    /// Adds the signature of all pieces together to `header`.
    pub(super) fn sign_into(&self, pieces: &[&[u8]], header: &mut String) {
        match &self.0 {
            Key::Hmac { begun, .. } => {
                let mut mac = (**begun).clone();
                for piece in pieces {
                    mac.update(piece);
                }
                header.push_str("v1,");
                STANDARD.encode_string(mac.finalize().into_bytes(), header);
            }
            Key::Ed25519(pair) => {
                header.push_str("v1a,");
                STANDARD.encode_string(pair.multipart_sign(pieces).to_bytes(), header);
            }
        }
    }

    fn pair(key: &[u8]) -> Result<Self, SecretError> {
        if let Ok(pair) = <&[u8; KEYPAIR_LENGTH]>::try_from(key) {
            let pair = SigningKey::from_keypair_bytes(pair).map_err(|_opaque| SecretError::Pair)?;
            return Ok(Self(Key::Ed25519(Box::new(pair))));
        }
        let secret = <&[u8; SECRET_KEY_LENGTH]>::try_from(key);
        let secret = secret.map_err(|_length| SecretError::Length)?;
        Ok(Self::generate_pair(*secret))
    }
}

impl FromStr for SigningSecret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let (kind, text) = if let Some(text) = text.strip_prefix(Self::PREFIX) {
            (SecretKind::Hmac, text)
        } else if let Some(text) = text.strip_prefix(Self::PAIR_PREFIX) {
            (SecretKind::Ed25519, text)
        } else {
            return Err(SecretError::Prefix);
        };
        let Ok(key) = STANDARD_PAD_INDIFFERENT.decode(text) else {
            return Err(SecretError::Base64);
        };
        let key = Zeroizing::new(key);
        match kind {
            SecretKind::Hmac if !(24..=64).contains(&key.len()) => Err(SecretError::Length),
            SecretKind::Hmac => Ok(Self::hmac(key.to_vec().into())),
            SecretKind::Ed25519 => Self::pair(&key),
        }
    }
}

impl fmt::Display for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.kind() {
            SecretKind::Hmac => Self::PREFIX,
            SecretKind::Ed25519 => Self::PAIR_PREFIX,
        };
        write!(f, "{prefix}…")
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
    fn a_key_pair_reads_back_shows_its_public_half_and_never_prints() {
        let secret = SigningSecret::generate_pair([7; 32]);
        let text = secret.expose();
        let public = secret.public().unwrap();
        let seed_alone = format!("whsk_{}", STANDARD.encode([7; 32]));

        assert!(text.starts_with("whsk_BwcHBw"));
        for text in [&text, &seed_alone] {
            let again: SigningSecret = text.parse().unwrap();
            assert_eq!(again.expose(), secret.expose());
            assert_eq!(again.kind(), SecretKind::Ed25519);
            assert_eq!(again.public().as_ref(), Some(&public));
        }
        // The pair ends with the public key.
        let bytes = |text: &str, prefix: &str| {
            let text = text.strip_prefix(prefix).unwrap();
            STANDARD.decode(text).unwrap()
        };
        assert_eq!(bytes(&text, "whsk_")[32..], bytes(&public, "whpk_"));
        for printed in [format!("{secret}"), format!("{secret:?}")] {
            assert!(!printed.contains("BwcH"), "{printed}");
        }
        assert_eq!(SigningSecret::generate([7; 32]).public(), None);
    }

    #[test]
    fn what_is_no_secret_is_refused_without_repeating_it() {
        let of_length = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
        let pair = |bytes: &[u8]| format!("whsk_{}", STANDARD.encode(bytes));
        for (text, expected) in [
            (String::new(), SecretError::Prefix),
            ("whpk_AAAA".to_owned(), SecretError::Prefix),
            ("whsec_***".to_owned(), SecretError::Base64),
            ("whsec_".to_owned(), SecretError::Length),
            (of_length(23), SecretError::Length),
            (of_length(65), SecretError::Length),
            (pair(&[1; 31]), SecretError::Length),
            (pair(&[1; 33]), SecretError::Length),
            (pair(&[1; 64]), SecretError::Pair),
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
    fn signatures_are_those_of_other_implementations() {
        let hmac: SigningSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".parse().unwrap();
        assert_eq!(
            hmac.sign(
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                br#"{"email":"test@example.com","username":"test_user"}"#
            ),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );

        let pair = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
        let pair: SigningSecret = pair.parse().unwrap();
        assert_eq!(
            pair.public().unwrap(),
            "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
        );
        assert_eq!(
            pair.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
        );
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
