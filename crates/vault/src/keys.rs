//! Opened keys and what is done with one.

use std::collections::BTreeMap;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::VaultError;

/// 32 secret bytes, overwritten when they are dropped.
pub(crate) type SecretKey = Zeroizing<[u8; 32]>;

/// An opened keyring.
#[derive(Clone)]
pub(crate) struct Keys {
    /// The data key that seals new values.
    pub(crate) sealing: u32,
    /// What keyed hashes are made with, in every ring of a database the same.
    pub(crate) hash: SecretKey,
    pub(crate) data: BTreeMap<u32, DataKey>,
}

#[derive(Clone)]
pub(crate) struct DataKey {
    pub(crate) key: SecretKey,
    /// In milliseconds of Unix time.
    pub(crate) created_at: i64,
}

impl Keys {
    pub(crate) fn sealing(&self) -> (u32, &SecretKey) {
        let key = self.data.get(&self.sealing);
        let key = key.expect("a ring without its sealing key does not open");
        (self.sealing, &key.key)
    }

    pub(crate) fn data(&self, number: u32) -> Result<&SecretKey, VaultError> {
        let key = self.data.get(&number);
        key.map(|key| &key.key)
            .ok_or(VaultError::UnknownKey(number))
    }

    pub(crate) fn newest(&self) -> u32 {
        self.data.last_key_value().map_or(0, |(number, _)| *number)
    }
}

/// Returns bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Makes a key for one purpose out of another key.
pub(crate) fn derive(key: &[u8; 32], purpose: &[u8], context: &[u8]) -> SecretKey {
    let label = [b"wellspring v1 ", purpose, &[0], context].concat();
    Zeroizing::new(mac(key, &label))
}

pub(crate) fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key);
    let mut mac = mac.expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub(crate) fn encrypt(key: &[u8; 32], nonce: [u8; 24], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    XChaCha20Poly1305::new(&Key::from(*key))
        .encrypt(&XNonce::from(nonce), Payload { msg, aad })
        .expect("nothing that is sealed here comes near the cipher's limit of 256 GiB")
}

pub(crate) fn decrypt(
    key: &[u8; 32],
    nonce: [u8; 24],
    aad: &[u8],
    msg: &[u8],
) -> Result<Vec<u8>, VaultError> {
    XChaCha20Poly1305::new(&Key::from(*key))
        .decrypt(&XNonce::from(nonce), Payload { msg, aad })
        .map_err(|_opaque| VaultError::Sealed)
}
