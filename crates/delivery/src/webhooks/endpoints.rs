//! The endpoints of subscriptions, ready to be called.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wellspring_core::SubscriptionId;
use wellspring_engine::Subscription;
use wellspring_outbound::{AddressPolicy, Target};
use wellspring_vault::{SubscriptionSecrets, Vault};

use crate::failure::{Failure, Recipient};

/// Keeps what was made of a subscription until it changes, so that a message costs no decryption.
pub(super) struct Endpoints {
    policy: AddressPolicy,
    vault: Vault,
    known: Mutex<Known>,
}

/// Where a webhook goes and what signs it.
pub(super) struct Endpoint {
    pub(super) target: Target,
    pub(super) secrets: SubscriptionSecrets,
}

struct Known {
    by_id: BTreeMap<SubscriptionId, Entry>,
    /// With how many those are looked for that nobody has any more.
    full: usize,
}

struct Entry {
    version: u32,
    /// Dead once the subscription has changed or is deleted, and nothing is on its way to it.
    subscription: Weak<Subscription>,
    endpoint: Arc<Endpoint>,
}

impl Endpoints {
    pub(super) const fn new(policy: AddressPolicy, vault: Vault) -> Self {
        Self {
            policy,
            vault,
            known: Mutex::new(Known {
                by_id: BTreeMap::new(),
                full: FULL,
            }),
        }
    }

    pub(super) fn of(&self, subscription: &Arc<Subscription>) -> Result<Arc<Endpoint>, Failure> {
        if let Some(entry) = self.known().by_id.get(&subscription.id)
            && entry.version == subscription.version
        {
            return Ok(Arc::clone(&entry.endpoint));
        }
        let endpoint = Arc::new(self.prepare(subscription)?);
        self.known().keep(subscription, &endpoint);
        Ok(endpoint)
    }

    fn prepare(&self, subscription: &Subscription) -> Result<Endpoint, Failure> {
        let target = Target::parse(&subscription.url, &self.policy)
            .map_err(|error| Recipient::Endpoint.bad_url(&error))?;
        let id = subscription.id.as_bytes();
        let secrets = SubscriptionSecrets::open(&self.vault, id, &subscription.sealed_secrets);
        let secrets = secrets.map_err(|error| {
            tracing::error!(subscription.id = %subscription.id, detail = %error, "Secrets of a subscription do not open");
            Failure::ours("secrets_sealed", "the secrets of the subscription do not open")
        })?;
        Ok(Endpoint { target, secrets })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn keep(&mut self, subscription: &Arc<Subscription>, endpoint: &Arc<Endpoint>) {
        if self.by_id.len() >= self.full {
            self.by_id
                .retain(|_id, entry| entry.subscription.strong_count() > 0);
            self.full = FULL.max(2 * self.by_id.len());
        }
        let entry = Entry {
            version: subscription.version,
            subscription: Arc::downgrade(subscription),
            endpoint: Arc::clone(endpoint),
        };
        self.by_id.insert(subscription.id, entry);
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").finish_non_exhaustive()
    }
}

const FULL: usize = 64;
