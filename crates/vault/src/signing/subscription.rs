//! The secrets of one subscription, as they are sealed and as they are used.

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{SecretError, SecretKind, SigningSecret};
use crate::{Vault, VaultError, context};

/// The present secret of a subscription and those that it replaced, the newest first.
///
/// All times are in milliseconds of Unix time.
#[derive(Debug)]
pub struct SubscriptionSecrets {
    keys: Vec<SubscriptionKey>,
}

/// One secret of a subscription.
#[derive(Debug)]
pub struct SubscriptionKey {
    /// What signs.
    pub secret: SigningSecret,
    /// When it was made.
    pub created_at: i64,
    /// When it stops signing, since another replaced it.
    pub ends_at: Option<i64>,
}

/// Why the secrets of a subscription are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SubscriptionSecretsError {
    /// The sealed bytes do not open.
    #[error("the secrets of the subscription do not open: {0}")]
    Sealed(#[from] VaultError),
    /// What was sealed is not what is sealed here.
    #[error("the secrets of the subscription are not as they should be")]
    Malformed,
    /// One of them is no secret.
    #[error("a secret of the subscription is none: {0}")]
    Secret(#[from] SecretError),
}

impl SubscriptionSecrets {
    /// Begins with a first secret.
    pub fn new(secret: SigningSecret, now: i64) -> Self {
        Self {
            keys: vec![SubscriptionKey::new(secret, now)],
        }
    }

    /// Lets `secret` sign from now on, and those before it for another day at most.
    pub fn rotate(&mut self, secret: SigningSecret, now: i64) {
        self.keys.retain(|key| key.is_live(now));
        let end = now.saturating_add(OVERLAP);
        for key in &mut self.keys {
            key.ends_at.get_or_insert(end);
        }
        self.keys.insert(0, SubscriptionKey::new(secret, now));
        self.keys.truncate(MOST);
    }

    /// Returns the present secret, which messages are signed with until it is replaced.
    pub fn current(&self) -> &SubscriptionKey {
        self.keys.first().expect("there is always a first secret")
    }

    /// Returns the secrets that sign at `now`, the newest first.
    pub fn live(&self, now: i64) -> impl Iterator<Item = &SubscriptionKey> {
        self.keys.iter().filter(move |key| key.is_live(now))
    }

    /// Seals them for the subscription with this id.
    pub fn seal(&self, vault: &Vault, subscription: &[u8; 16]) -> Vec<u8> {
        vault.seal(&context::subscription(subscription), &self.to_json())
    }

    /// Opens what [`Self::seal`] sealed for the same subscription.
    ///
    /// # Errors
    ///
    /// [`SubscriptionSecretsError`] for everything else.
    pub fn open(
        vault: &Vault,
        subscription: &[u8; 16],
        sealed: &[u8],
    ) -> Result<Self, SubscriptionSecretsError> {
        let json = vault.open(&context::subscription(subscription), sealed)?;
        Self::from_json(json.expose_secret())
    }

    fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let keys = self.keys.iter().map(|key| SealedKey {
            kind: key.secret.kind(),
            key: Zeroizing::new(key.secret.expose()),
            created_at: key.created_at,
            ends_at: key.ends_at,
        });
        let sealed = Sealed {
            keys: keys.collect(),
        };
        // A vector that grows would leave what it held behind.
        let mut json = Zeroizing::new(Vec::with_capacity(MOST * ROOM));
        serde_json::to_writer(&mut *json, &sealed).expect("strings and numbers always serialize");
        json
    }

    fn from_json(json: &[u8]) -> Result<Self, SubscriptionSecretsError> {
        let Ok(sealed) = serde_json::from_slice::<Sealed>(json) else {
            return Err(SubscriptionSecretsError::Malformed);
        };
        let keys = sealed.keys.into_iter().map(|key| {
            let secret: SigningSecret = key.key.parse()?;
            if secret.kind() != key.kind {
                return Err(SubscriptionSecretsError::Malformed);
            }
            Ok(SubscriptionKey {
                secret,
                created_at: key.created_at,
                ends_at: key.ends_at,
            })
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(SubscriptionSecretsError::Malformed);
        }
        Ok(Self { keys })
    }
}

impl SubscriptionKey {
    const fn new(secret: SigningSecret, now: i64) -> Self {
        Self {
            secret,
            created_at: now,
            ends_at: None,
        }
    }

    fn is_live(&self, now: i64) -> bool {
        self.ends_at.is_none_or(|end| end > now)
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    keys: Vec<SealedKey>,
}

#[derive(Serialize, Deserialize)]
struct SealedKey {
    kind: SecretKind,
    key: Zeroizing<String>,
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_at: Option<i64>,
}

/// How long a secret signs on after it was replaced, in milliseconds.
const OVERLAP: i64 = 24 * 60 * 60 * 1_000;
/// How many there are at most, so that the header stays small however often one rotates.
const MOST: usize = 5;
/// More than one of them takes as JSON.
const ROOM: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MasterKey;

    #[test]
    fn the_new_secret_signs_at_once_and_the_former_one_for_a_day_more() {
        let mut secrets = SubscriptionSecrets::new(hmac(1), 0);
        assert_eq!(live(&secrets, HOUR), [hmac(1).expose()]);

        secrets.rotate(pair(2), HOUR);
        let both = [pair(2).expose(), hmac(1).expose()];
        assert_eq!(live(&secrets, HOUR), both);
        assert_eq!(live(&secrets, 25 * HOUR - 1), both);
        assert_eq!(live(&secrets, 25 * HOUR), both[..1]);

        // A second rotation keeps nobody alive for longer.
        secrets.rotate(hmac(3), 2 * HOUR);
        assert_eq!(live(&secrets, 2 * HOUR).len(), 3);
        assert_eq!(
            live(&secrets, 25 * HOUR),
            [hmac(3).expose(), pair(2).expose()]
        );
        assert_eq!(live(&secrets, i64::MAX), [hmac(3).expose()]);
        assert_eq!(secrets.current().secret.expose(), hmac(3).expose());

        for number in 4..40 {
            secrets.rotate(hmac(number), 3 * HOUR);
        }
        assert_eq!(live(&secrets, 3 * HOUR).len(), MOST);
    }

    #[test]
    fn secrets_open_for_their_subscription_alone() {
        let vault = Vault::create(MasterKey::new([1; 32]), 0);
        let mut secrets = SubscriptionSecrets::new(hmac(1), 0);
        secrets.rotate(pair(2), HOUR);
        let sealed = secrets.seal(&vault, &[3; 16]);

        let opened = SubscriptionSecrets::open(&vault, &[3; 16], &sealed).unwrap();
        assert_eq!(live(&opened, HOUR), live(&secrets, HOUR));
        assert_eq!(opened.to_json(), secrets.to_json());
        assert_eq!(
            SubscriptionSecrets::open(&vault, &[4; 16], &sealed).unwrap_err(),
            SubscriptionSecretsError::Sealed(VaultError::Sealed)
        );
        let json = String::from_utf8(secrets.to_json().to_vec()).unwrap();
        assert!(json.starts_with(r#"{"keys":[{"kind":"ed25519","key":"whsk_"#));
        assert!(!format!("{secrets:?}").contains("AQEB"));
    }

    #[test]
    fn what_is_no_list_of_secrets_is_refused() {
        for (json, expected) in [
            ("", SubscriptionSecretsError::Malformed),
            (r#"{"keys":[]}"#, SubscriptionSecretsError::Malformed),
            (
                r#"{"keys":[{"kind":"hmac","key":"whpk_AAAA","created_at":0}]}"#,
                SubscriptionSecretsError::Secret(SecretError::Prefix),
            ),
            (
                &format!(
                    r#"{{"keys":[{{"kind":"ed25519","key":"{}","created_at":0}}]}}"#,
                    hmac(1).expose()
                ),
                SubscriptionSecretsError::Malformed,
            ),
        ] {
            let refused = SubscriptionSecrets::from_json(json.as_bytes());
            assert_eq!(refused.unwrap_err(), expected, "{json}");
        }
    }

    fn live(secrets: &SubscriptionSecrets, now: i64) -> Vec<String> {
        secrets.live(now).map(|key| key.secret.expose()).collect()
    }

    fn hmac(byte: u8) -> SigningSecret {
        SigningSecret::generate([byte; 32])
    }

    fn pair(byte: u8) -> SigningSecret {
        SigningSecret::generate_pair([byte; 32])
    }

    const HOUR: i64 = 60 * 60 * 1_000;
}
