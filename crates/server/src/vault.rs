//! Seals what the database keeps but may not know.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;
use thiserror::Error;

/// Why sealed bytes do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VaultError {
    /// The envelope is of a version that this program does not know.
    #[error("the envelope's version is unknown")]
    Version,
    /// The bytes were changed, belong to another context, or another master key sealed them.
    #[error("the sealed bytes do not open with this master key")]
    Sealed,
}

/// Seals and opens with keys derived from the master key.
///
/// Every context has a data key of its own, so that what was sealed for one tenant does not
/// open for another. The envelope is a version byte, the nonce, and the XChaCha20-Poly1305
/// ciphertext with its tag.
pub struct Vault {
    master: SecretBox<[u8; 32]>,
}

impl Vault {
    /// Takes the master key.
    pub fn new(master: &[u8; 32]) -> Self {
        Self {
            master: SecretBox::new(Box::new(*master)),
        }
    }

    /// Returns a keyed hash that tells one master key from another and may be stored.
    pub fn fingerprint(&self) -> String {
        hex::encode(self.derive(b"fingerprint", &[]))
    }

    /// Seals `plain` for `context` under a nonce that is used only once.
    pub fn seal(&self, context: &[u8], plain: &[u8], nonce: [u8; 24]) -> Vec<u8> {
        let payload = Payload {
            msg: plain,
            aad: context,
        };
        let sealed = self
            .cipher(context)
            .encrypt(&XNonce::from(nonce), payload)
            .expect("nothing that is sealed here comes near the cipher's limit of 256 GiB");
        let mut envelope = Vec::with_capacity(1 + nonce.len() + sealed.len());
        envelope.push(VERSION);
        envelope.extend_from_slice(&nonce);
        envelope.extend_from_slice(&sealed);
        envelope
    }

    /// Opens what [`Self::seal`] sealed for the same context.
    ///
    /// # Errors
    ///
    /// [`VaultError`] for everything else.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let Some((&VERSION, rest)) = sealed.split_first() else {
            return Err(VaultError::Version);
        };
        let (nonce, ciphertext) = rest.split_first_chunk::<24>().ok_or(VaultError::Sealed)?;
        let payload = Payload {
            msg: ciphertext,
            aad: context,
        };
        self.cipher(context)
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_opaque| VaultError::Sealed)
    }

    fn cipher(&self, context: &[u8]) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(self.derive(b"data key", context)))
    }

    fn derive(&self, purpose: &[u8], context: &[u8]) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.master.expose_secret())
            .expect("HMAC takes a key of any length");
        mac.update(b"wellspring v1 ");
        mac.update(purpose);
        mac.update(&[0]);
        mac.update(context);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_unchanged_in_its_context_under_its_key() {
        let vault = Vault::new(&[1; 32]);
        let sealed = vault.seal(b"a", b"secret", [7; 24]);

        assert_eq!(vault.open(b"a", &sealed), Ok(b"secret".to_vec()));
        assert_eq!(vault.open(b"b", &sealed), Err(VaultError::Sealed));
        assert_eq!(
            Vault::new(&[2; 32]).open(b"a", &sealed),
            Err(VaultError::Sealed)
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(b"a", &changed).is_err(), "byte {at}");
            assert!(vault.open(b"a", &sealed[..at]).is_err(), "cut at {at}");
        }
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
    }

    #[test]
    fn fingerprints_tell_keys_apart_and_nothing_prints_the_key() {
        let vault = Vault::new(&[1; 32]);
        assert_eq!(vault.fingerprint(), Vault::new(&[1; 32]).fingerprint());
        assert_ne!(vault.fingerprint(), Vault::new(&[2; 32]).fingerprint());
        assert_eq!(vault.fingerprint().len(), 64);
        assert_eq!(format!("{vault:?}"), "Vault");
    }
}
