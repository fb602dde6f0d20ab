//! Ids of subscriptions, in which the idempotency key that made one is known again.

use sha2::{Digest, Sha256};
use wellspring_core::{SubscriptionId, TenantId, Timestamp};
use wellspring_vault::Vault;

use super::Once;
use crate::access::random as random_bytes;

/// Returns an id that nothing is known of but its time.
pub(super) fn random(now: Timestamp) -> SubscriptionId {
    id(now, &random_bytes())
}

/// What an idempotency key leaves in the random part of an id: half of it stands for the key,
/// half for what was asked.
#[derive(Debug)]
pub(super) struct Marks([u8; 10]);

impl Marks {
    pub(super) fn new(vault: &Vault, tenant: TenantId, once: Once<'_>) -> Self {
        let context = [b"subscription ".as_slice(), tenant.as_bytes()].concat();
        let key = vault.keyed_hash(&context, &once.key);
        let said: [u8; 32] = Sha256::digest(once.body).into();
        let said = vault.keyed_hash(&context, &[once.key, said].concat());
        let mut marks = [0; 10];
        marks[..5].copy_from_slice(&key[..5]);
        marks[5..].copy_from_slice(&said[..5]);
        Self(marks)
    }

    pub(super) fn id(&self, now: Timestamp) -> SubscriptionId {
        id(now, &self.0)
    }

    /// Returns whether the subscription was made under this key.
    pub(super) fn is_key_of(&self, other: SubscriptionId) -> bool {
        self.part(other, 6..11)
    }

    /// Returns whether it was made by this very request.
    pub(super) fn made(&self, other: SubscriptionId) -> bool {
        self.part(other, 6..16)
    }

    fn part(&self, other: SubscriptionId, bytes: std::ops::Range<usize>) -> bool {
        let own = self.id(Timestamp::from_millis(0));
        own.as_bytes().get(bytes.clone()) == other.as_bytes().get(bytes)
    }
}

fn id(now: Timestamp, random: &[u8; 10]) -> SubscriptionId {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    let uuid = uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid();
    SubscriptionId::from_bytes(uuid.into_bytes())
}

#[cfg(test)]
mod tests {
    use wellspring_vault::MasterKey;

    use super::*;

    #[test]
    fn the_request_that_made_an_id_is_known_again_and_no_other() {
        let vault = Vault::create(MasterKey::new([1; 32]), 0);
        let tenant = TenantId::from_bytes([2; 16]);
        let of = |tenant, key: u8, body: &'static [u8]| {
            let once = Once {
                key: [key; 32],
                body,
            };
            Marks::new(&vault, tenant, once)
        };
        let made = of(tenant, 3, b"{}").id(Timestamp::from_millis(1_700_000_000_000));

        assert!(of(tenant, 3, b"{}").made(made) && of(tenant, 3, b"{}").is_key_of(made));
        assert!(of(tenant, 3, b"[]").is_key_of(made) && !of(tenant, 3, b"[]").made(made));
        assert!(!of(tenant, 4, b"{}").is_key_of(made));
        assert!(!of(TenantId::from_bytes([5; 16]), 3, b"{}").is_key_of(made));
    }
}
