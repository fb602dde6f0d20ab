//! The master key.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::keys::{self, SecretKey};

/// Why a text is no master key; it does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a master key is 32 bytes, as 64 hexadecimal digits or as base64")]
pub struct MasterKeyError;

/// The key that wraps all others; overwritten when it is dropped, and never printed.
#[derive(Clone)]
pub struct MasterKey(SecretKey);

impl MasterKey {
    /// Takes 32 bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Makes one up.
    pub fn generate() -> Self {
        Self::new(keys::random())
    }

    /// Returns what tells one master key from another and may be stored: a keyed hash.
    pub fn fingerprint(&self) -> String {
        hex::encode(keys::derive(&self.0, b"fingerprint", &[]).as_slice())
    }

    /// Returns the key as 64 hexadecimal digits, for the file that keeps it.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_slice()))
    }

    pub(crate) const fn bytes(&self) -> &SecretKey {
        &self.0
    }
}

impl FromStr for MasterKey {
    type Err = MasterKeyError;

    /// Reads 32 bytes as 64 hexadecimal digits or as base64; space around them is no part of them.
    fn from_str(text: &str) -> Result<Self, MasterKeyError> {
        let text = text.trim();
        let bytes = hex::decode(text)
            .ok()
            .or_else(|| STANDARD.decode(text).ok())
            .map(Zeroizing::new)
            .ok_or(MasterKeyError)?;
        let bytes = <[u8; 32]>::try_from(bytes.as_slice());
        bytes.map(Self::new).map_err(|_length| MasterKeyError)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}
