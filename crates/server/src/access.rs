//! Tenants, their API keys and their secrets: few rows, kept in memory.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wellspring_core::{ApiKeyId, TenantId, Timestamp};
use wellspring_engine::{
    Backend, Clock, KeyRecord, Settings, Tenant, TenantRules, TenantTable, random_seed,
};
use wellspring_vault::{Vault, VaultError};

use crate::{Caller, auth, keyring};

mod error;
mod secrets;
mod state;

pub use error::AccessError;
use secrets::Secrets;
pub use secrets::{Rotated, SecretView};
use state::{Entry, State};

/// An API key as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its id.
    pub id: ApiKeyId,
    /// The name of its tenant.
    pub tenant: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Who may do what; answers from memory, changes the database first.
#[derive(Debug)]
pub struct Access {
    backend: Arc<dyn Backend>,
    vault: Vault,
    /// The ring was rotated away from this node's master key, which has been told.
    locked_out: AtomicBool,
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    secrets_version: AtomicU64,
    /// When the next replaced secret ends, in milliseconds.
    next_expiry: AtomicI64,
    /// One change at a time: each reads, writes and installs.
    changing: tokio::sync::Mutex<()>,
}

impl Access {
    /// Reads tenants and keys and opens the secrets.
    ///
    /// # Errors
    ///
    /// When the database cannot be read, or its keyring is not the vault's.
    pub async fn load(
        backend: Arc<dyn Backend>,
        vault: Vault,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AccessError> {
        let access = Self {
            backend,
            vault,
            locked_out: AtomicBool::new(false),
            clock,
            state: RwLock::default(),
            secrets_version: AtomicU64::new(0),
            next_expiry: AtomicI64::new(i64::MAX),
            changing: tokio::sync::Mutex::default(),
        };
        access.reload().await?;
        Ok(access)
    }

    /// Reads everything again, for what another node has changed.
    ///
    /// # Errors
    ///
    /// When the database cannot be read; what was known before stays.
    pub async fn reload(&self) -> Result<(), AccessError> {
        let _one_at_a_time = self.changing.lock().await;
        self.refresh_keyring().await?;
        let state = self.rows().await?;
        self.install(state);
        Ok(())
    }

    /// Takes over what another node did to the keyring.
    ///
    /// A node that was not restarted with the new master key in time goes on with the data keys
    /// that it has, and revoked API keys must reach it all the same.
    async fn refresh_keyring(&self) -> Result<(), AccessError> {
        match keyring::refresh(self.backend.as_ref(), &self.vault).await {
            Err(AccessError::Keyring(VaultError::MasterKey)) => {
                if !self.locked_out.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        "The master key was rotated: this node goes on only until it ends, restart it with the new one"
                    );
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Returns whose key this is, unless it is unknown or revoked.
    pub fn authenticate(&self, key: &str) -> Option<Caller> {
        let hash = auth::hash(key);
        self.read().callers.get(&hash).cloned()
    }

    /// Makes a tenant; without a secret one is generated.
    ///
    /// # Errors
    ///
    /// When the name is taken or none, the secret is none, or the database does not take it.
    pub async fn create_tenant(
        &self,
        name: &str,
        callback_secret: Option<String>,
    ) -> Result<TenantId, AccessError> {
        let plain = name.trim() == name && !name.chars().any(char::is_control);
        if !plain || !(1..=64).contains(&name.chars().count()) {
            return Err(AccessError::Name);
        }
        if let Some(secret) = &callback_secret {
            secrets::check(secret)?;
        }
        let _one_at_a_time = self.changing.lock().await;
        let mut state = self.rows().await?;
        if state.tenant_named(name).is_some() {
            return Err(AccessError::NameTaken(name.to_owned()));
        }
        let now = self.clock.now();
        let id = TenantId::mint(now, &mut rng());
        let secrets = Secrets::new(callback_secret.unwrap_or_else(secrets::generate));
        let row = Tenant {
            id,
            name: name.to_owned(),
            created_at: now,
            sealed_secrets: secrets.seal(&self.vault, id),
            settings: Settings::default(),
        };
        self.backend.put_tenant(row.clone()).await?;
        let live = secrets.live(now).0;
        state.tenants.insert(id, Entry { row, secrets, live });
        self.install(state);
        Ok(id)
    }

    /// Makes an API key and returns it, for the only time; without one it is generated.
    ///
    /// # Errors
    ///
    /// When there is no such tenant, the key is too short or taken, or the database does not take it.
    pub async fn create_key(
        &self,
        tenant_name: &str,
        key: Option<String>,
    ) -> Result<(ApiKeyId, String), AccessError> {
        let key = key.unwrap_or_else(|| format!("wsk_{}", URL_SAFE_NO_PAD.encode(random::<32>())));
        let sendable = key.bytes().all(|byte| byte.is_ascii_graphic());
        if !sendable || !(16..=255).contains(&key.len()) {
            return Err(AccessError::Key);
        }
        let _one_at_a_time = self.changing.lock().await;
        let mut state = self.rows().await?;
        let Some(tenant) = state.tenant_named(tenant_name) else {
            return Err(AccessError::UnknownTenant(tenant_name.to_owned()));
        };
        let hash = auth::hash(&key);
        if state.keys.values().any(|known| known.hash == hash) {
            return Err(AccessError::KeyTaken);
        }
        let now = self.clock.now();
        let record = KeyRecord {
            id: ApiKeyId::mint(now, &mut rng()),
            tenant,
            hash,
            created_at: now,
            revoked_at: None,
        };
        self.backend.put_key(record.clone()).await?;
        let id = record.id;
        state.put_key(record);
        self.install(state);
        Ok((id, key))
    }

    /// Revokes a key; returns whether there is such a key. Revoking twice is revoking once.
    ///
    /// # Errors
    ///
    /// When the database does not take it.
    pub async fn revoke_key(&self, id: ApiKeyId) -> Result<bool, AccessError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut state = self.rows().await?;
        let Some(mut record) = state.keys.get(&id).cloned() else {
            return Ok(false);
        };
        if record.revoked_at.is_none() {
            record.revoked_at = Some(self.clock.now());
            self.backend.put_key(record.clone()).await?;
            state.put_key(record);
        }
        self.install(state);
        Ok(true)
    }

    /// Returns the keys of one tenant or of all, oldest first, revoked ones included.
    pub fn list_keys(&self, tenant_name: Option<&str>) -> Vec<KeyInfo> {
        let state = self.read();
        let infos = state.keys.values().map(|record| KeyInfo {
            id: record.id,
            tenant: state
                .tenants
                .get(&record.tenant)
                .map_or_else(|| record.tenant.to_string(), |entry| entry.row.name.clone()),
            created_at: record.created_at,
            revoked_at: record.revoked_at,
        });
        infos
            .filter(|info| tenant_name.is_none_or(|name| info.tenant == name))
            .collect()
    }

    /// Returns what values are sealed with.
    pub(crate) const fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Returns the tenant that runs the installation: the one that was there first.
    pub fn operator(&self) -> Option<TenantId> {
        self.read().tenants.keys().next().copied()
    }

    /// Returns the name of a tenant; of one that is not known here yet, its id.
    pub(crate) fn tenant_name(&self, id: TenantId) -> String {
        let state = self.read();
        let entry = state.tenants.get(&id);
        entry.map_or_else(|| id.to_string(), |entry| entry.row.name.clone())
    }

    /// Returns how many tenants there are.
    pub fn tenant_count(&self) -> usize {
        self.read().tenants.len()
    }

    /// Returns the secrets that sign the tenant's callbacks, the present one first; none for a stranger.
    pub fn callback_secrets(&self, tenant: TenantId) -> Arc<[String]> {
        self.expire();
        let state = self.read();
        state
            .tenants
            .get(&tenant)
            .map_or_else(|| Arc::from([]), |entry| Arc::clone(&entry.live))
    }

    /// Returns a number that grows when what [`Self::callback_secrets`] says has changed for anybody.
    pub fn secrets_version(&self) -> u64 {
        self.expire();
        self.secrets_version.load(Ordering::Acquire)
    }

    /// Replaces the callback secret; the one before signs as well for 24 hours more.
    ///
    /// The same idempotency key within that time changes nothing again.
    ///
    /// # Errors
    ///
    /// When there is no such tenant or the database does not take it.
    pub async fn rotate_secret(
        &self,
        tenant: TenantId,
        idempotency: Option<[u8; 32]>,
    ) -> Result<Rotated, AccessError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut state = self.rows().await?;
        let now = self.clock.now();
        let entry = state.entry(tenant)?;
        let replayed = idempotency.is_some_and(|key| entry.secrets.was_rotated_by(&key, now));
        if !replayed {
            entry.secrets.rotate(now, idempotency, secrets::generate());
            entry.row.sealed_secrets = entry.secrets.seal(&self.vault, tenant);
            entry.live = entry.secrets.live(now).0;
            self.backend.put_tenant(entry.row.clone()).await?;
        }
        let secret = entry.secrets.view(now);
        self.install(state);
        Ok(Rotated { secret, replayed })
    }

    /// Returns the tenant's callback secret.
    pub fn secret(&self, tenant: TenantId) -> Option<SecretView> {
        let now = self.clock.now();
        let state = self.read();
        state
            .tenants
            .get(&tenant)
            .map(|entry| entry.secrets.view(now))
    }

    /// Returns what the tenant has set; the defaults for a stranger.
    pub fn settings(&self, tenant: TenantId) -> Settings {
        let state = self.read();
        state
            .tenants
            .get(&tenant)
            .map(|entry| entry.row.settings.clone())
            .unwrap_or_default()
    }

    /// Returns what of all tenants' settings the engine steps by.
    pub fn tenant_rules(&self) -> TenantTable {
        let state = self.read();
        let rules = state.tenants.iter().map(|(id, entry)| {
            let settings = &entry.row.settings;
            let rules = TenantRules {
                ask: settings.ask,
                legacy_waiting: settings.legacy_waiting,
            };
            (*id, rules)
        });
        TenantTable {
            by_id: rules.collect(),
        }
    }

    /// Replaces what the tenant has set.
    ///
    /// # Errors
    ///
    /// When there is no such tenant or the database does not take it.
    pub async fn set_settings(
        &self,
        tenant: TenantId,
        settings: Settings,
    ) -> Result<(), AccessError> {
        self.change_settings(tenant, |have| *have = settings)
            .await
            .map(drop)
    }

    /// Changes what the tenant has set and returns it; nothing else changes it meanwhile.
    pub(crate) async fn change_settings(
        &self,
        tenant: TenantId,
        change: impl FnOnce(&mut Settings) + Send,
    ) -> Result<Settings, AccessError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut state = self.rows().await?;
        let entry = state.entry(tenant)?;
        let before = entry.row.settings.clone();
        change(&mut entry.row.settings);
        let settings = entry.row.settings.clone();
        if settings != before {
            self.backend.put_tenant(entry.row.clone()).await?;
        }
        self.install(state);
        Ok(settings)
    }

    async fn rows(&self) -> Result<State, AccessError> {
        let now = self.clock.now();
        let mut state = State::default();
        for row in self.backend.tenants().await? {
            let secrets = Secrets::open(&self.vault, row.id, &row.sealed_secrets)?;
            let live = secrets.live(now).0;
            state.tenants.insert(row.id, Entry { row, secrets, live });
        }
        for record in self.backend.keys().await? {
            state.put_key(record);
        }
        Ok(state)
    }

    fn install(&self, state: State) {
        let now = self.clock.now();
        let next = state
            .tenants
            .values()
            .map(|entry| entry.secrets.live(now).1)
            .min();
        let next = next.unwrap_or(Timestamp::MAX);
        let mut have = self.write();
        let same = have.tenants.len() == state.tenants.len()
            && have
                .tenants
                .values()
                .zip(state.tenants.values())
                .all(|(before, after)| before.row.id == after.row.id && before.live == after.live);
        *have = state;
        self.next_expiry.store(next.as_millis(), Ordering::Release);
        if !same {
            self.secrets_version.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Drops replaced secrets whose time has passed.
    fn expire(&self) {
        let now = self.clock.now();
        if now.as_millis() < self.next_expiry.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.write();
        let mut earliest = Timestamp::MAX;
        for entry in state.tenants.values_mut() {
            let (live, next) = entry.secrets.live(now);
            entry.live = live;
            earliest = earliest.min(next);
        }
        self.next_expiry
            .store(earliest.as_millis(), Ordering::Release);
        self.secrets_version.fetch_add(1, Ordering::AcqRel);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Returns what ids are minted with.
pub(crate) fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(random_seed())
}
