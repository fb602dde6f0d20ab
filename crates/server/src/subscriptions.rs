//! The subscriptions of all tenants: kept in memory, changed in the database first.

mod id;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use thiserror::Error;
use wellspring_core::{Pattern, SubscriptionId, TenantId, Timestamp};
use wellspring_engine::{
    Backend, Clock, EngineHandle, StoreError, Subscription, SubscriptionKind, SubscriptionTable,
};
use wellspring_vault::{
    SecretKind, SigningSecret, SubscriptionSecrets, SubscriptionSecretsError, Vault,
};

use crate::Access;
use crate::problem::Problem;

/// The subscriptions of all tenants, and their secrets.
#[derive(Debug)]
pub struct Subscriptions {
    backend: Arc<dyn Backend>,
    vault: Vault,
    engine: EngineHandle,
    clock: Arc<dyn Clock>,
    known: RwLock<Known>,
    /// One change at a time: each reads, writes and tells the engine.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    table: Arc<SubscriptionTable>,
    read_at: Timestamp,
}

/// Why subscriptions could not be read or changed.
#[derive(Debug, Error)]
pub enum SubscriptionsError {
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secrets of a subscription cannot be used.
    #[error("the secrets of {id}: {error}")]
    Secrets {
        /// Whose.
        id: SubscriptionId,
        /// Why.
        error: SubscriptionSecretsError,
    },
    /// The tenant has no such subscription.
    #[error("there is no such subscription")]
    Unknown,
    /// The tenant has as many as one may have.
    #[error("a tenant has at most {MOST} subscriptions")]
    TooMany,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another subscription")]
    KeyReused,
    /// Others change it all the time.
    #[error("the subscription was changed by others meanwhile")]
    Contended,
}

/// What a tenant wants of a new subscription.
#[derive(Debug)]
pub(crate) struct NewSubscription {
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) url: Arc<str>,
    pub(crate) description: Option<String>,
    pub(crate) signing: SecretKind,
}

/// What is to change of a subscription; what is absent stays.
#[derive(Debug, Default)]
pub(crate) struct SubscriptionPatch {
    pub(crate) patterns: Option<Vec<Pattern>>,
    pub(crate) url: Option<Arc<str>>,
    /// The inner nothing removes it.
    pub(crate) description: Option<Option<String>>,
    pub(crate) enabled: Option<bool>,
}

/// A subscription with what only its owner sees.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) row: Arc<Subscription>,
    pub(crate) secrets: SubscriptionSecrets,
    /// Whether the idempotency key had been used before, so that nothing was done.
    pub(crate) replayed: bool,
}

/// An idempotency key and what the request said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Once<'r> {
    pub(crate) key: [u8; 32],
    pub(crate) body: &'r [u8],
}

impl Subscriptions {
    /// Reads all subscriptions and tells the engine.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn load(
        backend: Arc<dyn Backend>,
        access: &Access,
        engine: EngineHandle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SubscriptionsError> {
        let known = Known {
            table: Arc::default(),
            read_at: Timestamp::MIN,
        };
        let subscriptions = Self {
            backend,
            vault: access.vault().clone(),
            engine,
            clock,
            known: RwLock::new(known),
            changing: tokio::sync::Mutex::default(),
        };
        subscriptions.reload().await?;
        Ok(subscriptions)
    }

    /// Reads them again, for what other nodes have changed and the engine has disabled.
    ///
    /// # Errors
    ///
    /// When the database cannot be read; what was known before stays.
    pub async fn reload(&self) -> Result<(), SubscriptionsError> {
        let _one_at_a_time = self.changing.lock().await;
        let table = self.rows().await?;
        self.install(table).await;
        Ok(())
    }

    /// Returns the webhook subscriptions of a tenant, newest first.
    pub(crate) async fn list(
        &self,
        tenant: TenantId,
    ) -> Result<Vec<Arc<Subscription>>, SubscriptionsError> {
        self.refresh().await?;
        let table = self.table();
        let mut own: Vec<_> = owned(&table, tenant).map(Arc::clone).collect();
        own.reverse();
        Ok(own)
    }

    /// Returns one subscription of a tenant.
    pub(crate) async fn find(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> Result<Arc<Subscription>, SubscriptionsError> {
        self.refresh().await?;
        find(&self.table(), tenant, id)
    }

    /// Opens the secrets of a subscription.
    pub(crate) fn secrets(
        &self,
        row: &Subscription,
    ) -> Result<SubscriptionSecrets, SubscriptionsError> {
        SubscriptionSecrets::open(&self.vault, row.id.as_bytes(), &row.sealed_secrets)
            .map_err(|error| SubscriptionsError::Secrets { id: row.id, error })
    }

    /// Adds a subscription; whatever is written to the log after this returns is sent.
    pub(crate) async fn create(
        &self,
        tenant: TenantId,
        new: NewSubscription,
        once: Option<Once<'_>>,
    ) -> Result<Opened, SubscriptionsError> {
        let _one_at_a_time = self.changing.lock().await;
        let table = self.rows().await?;
        let now = self.clock.now();
        let marks = once.map(|once| id::Marks::new(&self.vault, tenant, once));
        if let Some(marks) = &marks {
            let mut recent = owned(&table, tenant).filter(|row| row.created_at.after(KEY) > now);
            let made = recent.find(|row| marks.is_key_of(row.id)).map(Arc::clone);
            drop(recent);
            if let Some(row) = made {
                if !marks.made(row.id) {
                    return Err(SubscriptionsError::KeyReused);
                }
                let secrets = self.secrets(&row)?;
                self.install(table).await;
                return Ok(Opened {
                    row,
                    secrets,
                    replayed: true,
                });
            }
        }
        if owned(&table, tenant).count() >= MOST {
            return Err(SubscriptionsError::TooMany);
        }
        let id = marks.map_or_else(|| id::random(now), |marks| marks.id(now));
        let secret = SigningSecret::random(new.signing);
        let secrets = SubscriptionSecrets::new(secret, now.as_millis());
        let row = Subscription {
            id,
            tenant,
            kind: SubscriptionKind::Webhook,
            patterns: new.patterns,
            url: new.url,
            description: new.description,
            created_at: now,
            version: 1,
            enabled: true,
            disabled: None,
            sealed_secrets: secrets.seal(&self.vault, id.as_bytes()),
        };
        if !self.backend.put_subscription(row.clone(), None).await? {
            return Err(SubscriptionsError::Contended);
        }
        let row = self.put(table, row).await;
        Ok(Opened {
            row,
            secrets,
            replayed: false,
        })
    }

    /// Changes a subscription; enabling it takes away what the engine disabled it for.
    pub(crate) async fn patch(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
        patch: SubscriptionPatch,
    ) -> Result<Arc<Subscription>, SubscriptionsError> {
        self.change(tenant, id, move |_now, row| {
            let SubscriptionPatch {
                patterns,
                url,
                description,
                enabled,
            } = &patch;
            if let Some(patterns) = patterns {
                row.patterns.clone_from(patterns);
            }
            if let Some(url) = url {
                row.url = Arc::clone(url);
            }
            if let Some(description) = description {
                row.description.clone_from(description);
            }
            if let Some(enabled) = enabled {
                row.enabled = *enabled;
                row.disabled = row.disabled.filter(|_| !enabled);
            }
            Ok(())
        })
        .await
    }

    /// Replaces the secret; messages are signed with the one before as well for another day.
    pub(crate) async fn rotate(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
        key: Option<[u8; 32]>,
    ) -> Result<Opened, SubscriptionsError> {
        let context = [b"subscription rotation ".as_slice(), id.as_bytes()].concat();
        let mut replayed = false;
        let row = self
            .change(tenant, id, |now, row| {
                let mut secrets = self.secrets(row)?;
                let kind = secrets.current().secret.kind();
                let fresh = match key {
                    // The same key makes the same secret, by which its use is known again.
                    Some(key) => generate(kind, self.vault.keyed_hash(&context, &key)),
                    None => SigningSecret::random(kind),
                };
                let text = fresh.expose();
                let now = now.as_millis();
                replayed =
                    key.is_some() && secrets.live(now).any(|key| key.secret.expose() == text);
                if !replayed {
                    secrets.rotate(fresh, now);
                    row.sealed_secrets = secrets.seal(&self.vault, id.as_bytes());
                }
                Ok(())
            })
            .await?;
        let secrets = self.secrets(&row)?;
        Ok(Opened {
            row,
            secrets,
            replayed,
        })
    }

    /// Removes a subscription with its positions and deliveries.
    pub(crate) async fn remove(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> Result<(), SubscriptionsError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut table = self.rows().await?;
        find(&table, tenant, id)?;
        self.backend.delete_subscription(tenant, id).await?;
        table.by_id.remove(&id);
        self.install(table).await;
        Ok(())
    }

    /// Sends a tenant's documents to `url` from now on, or nowhere.
    pub(crate) async fn set_document_receiver(
        &self,
        tenant: TenantId,
        url: Option<Arc<str>>,
    ) -> Result<(), SubscriptionsError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut table = self.rows().await?;
        let mut rows = table.by_id.values();
        let have = rows
            .find(|row| row.tenant == tenant && row.kind == SubscriptionKind::Documents)
            .map(Arc::clone);
        let row = match (have, url) {
            (None, None) => return Ok(()),
            (Some(have), None) => {
                self.backend.delete_subscription(tenant, have.id).await?;
                table.by_id.remove(&have.id);
                self.install(table).await;
                return Ok(());
            }
            (Some(have), Some(url)) if have.url == url && have.is_live() => return Ok(()),
            (Some(have), Some(url)) => {
                let row = Subscription {
                    url,
                    enabled: true,
                    disabled: None,
                    version: have.version.wrapping_add(1),
                    ..(*have).clone()
                };
                let expected = Some(have.version);
                if !self.backend.put_subscription(row.clone(), expected).await? {
                    return Err(SubscriptionsError::Contended);
                }
                row
            }
            (None, Some(url)) => {
                let now = self.clock.now();
                let row = Subscription {
                    id: id::random(now),
                    tenant,
                    kind: SubscriptionKind::Documents,
                    patterns: vec![document_pattern()],
                    url,
                    description: None,
                    created_at: now,
                    version: 1,
                    enabled: true,
                    disabled: None,
                    sealed_secrets: Vec::new(),
                };
                if !self.backend.put_subscription(row.clone(), None).await? {
                    return Err(SubscriptionsError::Contended);
                }
                row
            }
        };
        self.put(table, row).await;
        Ok(())
    }

    /// Changes a row as it stands in the database, again where somebody else was faster.
    async fn change(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
        mut change: impl FnMut(Timestamp, &mut Subscription) -> Result<(), SubscriptionsError>,
    ) -> Result<Arc<Subscription>, SubscriptionsError> {
        let _one_at_a_time = self.changing.lock().await;
        for _ in 0..TRIES {
            let table = self.rows().await?;
            let before = find(&table, tenant, id)?;
            let mut row = (*before).clone();
            change(self.clock.now(), &mut row)?;
            if row == *before {
                self.install(table).await;
                return Ok(before);
            }
            row.version = before.version.wrapping_add(1);
            let expected = Some(before.version);
            if self.backend.put_subscription(row.clone(), expected).await? {
                return Ok(self.put(table, row).await);
            }
        }
        Err(SubscriptionsError::Contended)
    }

    async fn put(&self, mut table: SubscriptionTable, row: Subscription) -> Arc<Subscription> {
        let row = Arc::new(row);
        table.by_id.insert(row.id, Arc::clone(&row));
        self.install(table).await;
        row
    }

    /// Reads the rows again where what is known may be old.
    async fn refresh(&self) -> Result<(), SubscriptionsError> {
        let read_at = self.read().read_at;
        if read_at.after(FRESH) > self.clock.now() {
            return Ok(());
        }
        self.reload().await
    }

    async fn rows(&self) -> Result<SubscriptionTable, StoreError> {
        let rows = self.backend.subscriptions().await?.into_iter();
        let by_id: BTreeMap<_, _> = rows.map(|row| (row.id, Arc::new(row))).collect();
        Ok(SubscriptionTable { by_id })
    }

    /// Keeps the table and has the engine go by it.
    async fn install(&self, table: SubscriptionTable) {
        let table = Arc::new(table);
        let same = {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            // Never read is not the same as read and empty.
            let same = known.read_at != Timestamp::MIN && known.table.by_id == table.by_id;
            known.table = Arc::clone(&table);
            known.read_at = self.clock.now();
            same
        };
        if !same {
            self.engine.set_subscriptions(table).await;
        }
    }

    fn table(&self) -> Arc<SubscriptionTable> {
        Arc::clone(&self.read().table)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owned(
    table: &SubscriptionTable,
    tenant: TenantId,
) -> impl DoubleEndedIterator<Item = &Arc<Subscription>> {
    let rows = table.by_id.values();
    rows.filter(move |row| row.tenant == tenant && row.kind == SubscriptionKind::Webhook)
}

fn find(
    table: &SubscriptionTable,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Arc<Subscription>, SubscriptionsError> {
    let row = table.by_id.get(&id).filter(|row| row.tenant == tenant);
    let row = row.filter(|row| row.kind == SubscriptionKind::Webhook);
    row.map(Arc::clone).ok_or(SubscriptionsError::Unknown)
}

fn generate(kind: SecretKind, bytes: [u8; 32]) -> SigningSecret {
    match kind {
        SecretKind::Hmac => SigningSecret::generate(bytes),
        SecretKind::Ed25519 => SigningSecret::generate_pair(bytes),
    }
}

fn document_pattern() -> Pattern {
    "CREATED /accounts/*/connections/*/documents/*"
        .parse()
        .expect("it is written as patterns are")
}

impl From<SubscriptionsError> for Problem {
    fn from(error: SubscriptionsError) -> Self {
        use crate::idempotency::Refusal;
        match error {
            SubscriptionsError::Store(error) => error.into(),
            SubscriptionsError::Secrets { .. } => Self::internal(error),
            SubscriptionsError::Unknown => Self::not_found("There is no such subscription"),
            SubscriptionsError::TooMany => Self::new(
                http::StatusCode::CONFLICT,
                "too_many_subscriptions",
                format!("A tenant has at most {MOST} subscriptions; patterns can be joined in one"),
            ),
            SubscriptionsError::KeyReused => Refusal::Reused.into(),
            SubscriptionsError::Contended => Self::new(
                http::StatusCode::CONFLICT,
                "conflict",
                "The subscription was changed by others meanwhile",
            ),
        }
    }
}

/// How many subscriptions a tenant has at most.
const MOST: usize = 1_000;
/// How often a change is tried that others get ahead of.
const TRIES: usize = 5;
/// How old may be what is read.
const FRESH: Duration = Duration::from_secs(1);
/// How long an idempotency key is remembered.
const KEY: Duration = Duration::from_secs(86_400);
