//! The data keys as they are kept: wrapped by the master key.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::keys::{self, DataKey, Keys, SecretKey};
use crate::{MasterKey, VaultError};

/// The wrapped data keys of one database, kept beside its data as text.
///
/// Nothing in it is secret without a master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyring {
    version: u8,
    /// The data key that seals new values.
    sealing: u32,
    /// One, or two while a rotation is under way, the newer one last.
    masters: Vec<Wrapped>,
}

/// All keys, wrapped by one master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    fingerprint: String,
    hash_key: String,
    data_keys: Vec<WrappedKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrappedKey {
    number: u32,
    created_at: i64,
    key: String,
}

impl Keyring {
    /// Returns whether this master key opens the ring.
    pub fn opens_with(&self, master: &MasterKey) -> bool {
        self.wrapped_by(&master.fingerprint()).is_some()
    }

    /// Returns the fingerprints of the master keys that open the ring, the newer one last.
    ///
    /// There are two while a rotation is under way.
    pub fn fingerprints(&self) -> impl Iterator<Item = &str> {
        let wrapped = self.masters.iter();
        wrapped.map(|wrapped| wrapped.fingerprint.as_str())
    }

    pub(crate) fn wrap(keys: &Keys, masters: &[&MasterKey]) -> Self {
        let masters = masters.iter().map(|master| {
            let wrapping = wrapping_key(master);
            let data_keys = keys.data.iter().map(|(number, data)| WrappedKey {
                number: *number,
                created_at: data.created_at,
                key: wrap(&wrapping, &data_label(*number), &data.key),
            });
            Wrapped {
                fingerprint: master.fingerprint(),
                hash_key: wrap(&wrapping, HASH_LABEL, &keys.hash),
                data_keys: data_keys.collect(),
            }
        });
        Self {
            version: VERSION,
            sealing: keys.sealing,
            masters: masters.collect(),
        }
    }

    pub(crate) fn unwrap(&self, master: &MasterKey) -> Result<Keys, VaultError> {
        if self.version != VERSION {
            return Err(VaultError::Version);
        }
        let wrapped = self.wrapped_by(&master.fingerprint());
        let wrapped = wrapped.ok_or(VaultError::MasterKey)?;
        let wrapping = wrapping_key(master);
        let mut data = BTreeMap::new();
        for WrappedKey {
            number,
            created_at,
            key,
        } in &wrapped.data_keys
        {
            let key = unwrap(&wrapping, &data_label(*number), key)?;
            let created_at = *created_at;
            data.insert(*number, DataKey { key, created_at });
        }
        if !data.contains_key(&self.sealing) {
            return Err(VaultError::Keyring);
        }
        Ok(Keys {
            sealing: self.sealing,
            hash: unwrap(&wrapping, HASH_LABEL, &wrapped.hash_key)?,
            data,
        })
    }

    /// Keeps what one master key opens, and seals new values with `sealing`.
    pub(crate) fn only(&self, fingerprint: &str, sealing: u32) -> Self {
        let masters = self.masters.iter();
        let kept = masters.filter(|wrapped| wrapped.fingerprint == fingerprint);
        Self {
            version: VERSION,
            sealing,
            masters: kept.cloned().collect(),
        }
    }

    fn wrapped_by(&self, fingerprint: &str) -> Option<&Wrapped> {
        let mut masters = self.masters.iter();
        masters.find(|wrapped| wrapped.fingerprint == fingerprint)
    }
}

impl fmt::Display for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_never| fmt::Error)?;
        f.write_str(&text)
    }
}

impl FromStr for Keyring {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, VaultError> {
        serde_json::from_str(text).map_err(|_damaged| VaultError::Keyring)
    }
}

fn wrapping_key(master: &MasterKey) -> SecretKey {
    keys::derive(master.bytes(), b"wrap", &[])
}

fn wrap(wrapping: &SecretKey, label: &[u8], key: &SecretKey) -> String {
    let nonce = keys::random();
    let sealed = keys::encrypt(wrapping, nonce, label, key.as_slice());
    STANDARD.encode([nonce.as_slice(), &sealed].concat())
}

fn unwrap(wrapping: &SecretKey, label: &[u8], text: &str) -> Result<SecretKey, VaultError> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_damaged| VaultError::Keyring)?;
    let (nonce, sealed) = bytes.split_first_chunk().ok_or(VaultError::Keyring)?;
    let key = keys::decrypt(wrapping, *nonce, label, sealed);
    let key = Zeroizing::new(key.map_err(|_changed| VaultError::Keyring)?);
    let key = <[u8; 32]>::try_from(key.as_slice());
    key.map(Zeroizing::new)
        .map_err(|_length| VaultError::Keyring)
}

fn data_label(number: u32) -> Vec<u8> {
    [b"data key ".as_slice(), &number.to_be_bytes()].concat()
}

const HASH_LABEL: &[u8] = b"hash key";
const VERSION: u8 = 1;
