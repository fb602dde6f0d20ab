//! A tenant's callback secrets, as they are sealed and as they are used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use wellspring_core::{TenantId, Timestamp};
use wellspring_vault::Vault;
use zeroize::Zeroizing;

use super::AccessError;

/// The present secret and those that it replaced.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Secrets {
    pub(super) current: String,
    /// Newest first.
    previous: Vec<Previous>,
    rotations: Vec<Rotation>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Previous {
    secret: String,
    expires_at: Timestamp,
}

/// A rotation that came with an idempotency key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Rotation {
    key: String,
    at: Timestamp,
}

impl Secrets {
    pub(super) const fn new(current: String) -> Self {
        Self {
            current,
            previous: Vec::new(),
            rotations: Vec::new(),
        }
    }

    pub(super) fn open(
        vault: &Vault,
        tenant: TenantId,
        sealed: &[u8],
    ) -> Result<Self, AccessError> {
        let plain = vault
            .open(&context(tenant), sealed)
            .map_err(|error| AccessError::Sealed { tenant, error })?;
        serde_json::from_slice(plain.expose_secret())
            .map_err(|_secret| AccessError::Decode { tenant })
    }

    pub(super) fn seal(&self, vault: &Vault, tenant: TenantId) -> Vec<u8> {
        let plain = serde_json::to_vec(self).expect("strings and times always serialize");
        vault.seal(&context(tenant), &Zeroizing::new(plain))
    }

    /// Returns whether a rotation with this idempotency key was done before.
    pub(super) fn was_rotated_by(&self, key: &[u8; 32], now: Timestamp) -> bool {
        let key = hex::encode(key);
        self.rotations
            .iter()
            .any(|rotation| rotation.key == key && rotation.at.after(OVERLAP) > now)
    }

    pub(super) fn rotate(&mut self, now: Timestamp, key: Option<[u8; 32]>, fresh: String) {
        let secret = std::mem::replace(&mut self.current, fresh);
        let expires_at = now.after(OVERLAP);
        self.previous.retain(|previous| previous.expires_at > now);
        self.previous.insert(0, Previous { secret, expires_at });
        self.previous.truncate(MOST);
        self.rotations
            .retain(|rotation| rotation.at.after(OVERLAP) > now);
        if let Some(key) = key {
            let key = hex::encode(key);
            self.rotations.insert(0, Rotation { key, at: now });
            self.rotations.truncate(MOST);
        }
    }

    /// Returns those that sign at `now`, newest first, and when that changes.
    pub(super) fn live(&self, now: Timestamp) -> (Arc<[String]>, Timestamp) {
        let previous = self
            .previous
            .iter()
            .filter(|previous| previous.expires_at > now);
        let next = previous
            .clone()
            .map(|previous| previous.expires_at)
            .min()
            .unwrap_or(Timestamp::MAX);
        let secrets = previous.map(|previous| previous.secret.clone());
        let live = std::iter::once(self.current.clone())
            .chain(secrets)
            .collect();
        (live, next)
    }

    pub(super) fn view(&self, now: Timestamp) -> SecretView {
        let previous_expires_at = self
            .previous
            .iter()
            .map(|previous| previous.expires_at)
            .filter(|at| *at > now)
            .max();
        SecretView {
            secret: self.current.clone(),
            previous_expires_at,
        }
    }
}

/// A tenant's callback secret, for its owner.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretView {
    /// The present secret.
    pub secret: String,
    /// Until when messages are signed with the one before as well.
    pub previous_expires_at: Option<Timestamp>,
}

impl fmt::Debug for SecretView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretView")
            .field("previous_expires_at", &self.previous_expires_at)
            .finish_non_exhaustive()
    }
}

/// What came of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The secret as it is.
    pub secret: SecretView,
    /// Whether the idempotency key had been used before, so that nothing was rotated.
    pub replayed: bool,
}

pub(super) fn generate() -> String {
    format!("{PREFIX}{}", STANDARD.encode(super::random::<32>()))
}

pub(super) fn check(secret: &str) -> Result<(), AccessError> {
    let key = secret.strip_prefix(PREFIX).ok_or(AccessError::Secret)?;
    let Ok(key) = STANDARD_PAD_INDIFFERENT.decode(key) else {
        return Err(AccessError::Secret);
    };
    if (24..=64).contains(&key.len()) {
        Ok(())
    } else {
        Err(AccessError::Secret)
    }
}

fn context(tenant: TenantId) -> Vec<u8> {
    [b"callback-secrets ".as_slice(), tenant.as_bytes()].concat()
}

const PREFIX: &str = "whsec_";
/// How long a secret lives on after its rotation.
const OVERLAP: Duration = Duration::from_secs(86_400);
/// How many replaced secrets live on at once.
const MOST: usize = 4;
