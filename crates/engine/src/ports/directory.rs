//! Tenants, their keys and their settings: few rows, seldom changed.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use wellspring_core::{ApiKeyId, TenantId, Timestamp, serde_duration};

use crate::StoreError;

/// An application that uses Wellspring.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What operators call it; unique.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its callback secrets, encrypted under the master key.
    pub sealed_secrets: Vec<u8>,
    /// What it has set.
    pub settings: Settings,
}

/// An API key as stored: its hash, never itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What a tenant has set; an absent part has the default of the domain's section on keeping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long entries of the log are kept.
    #[serde(with = "serde_duration")]
    pub keep_changes: Duration,
    /// How long finished collections are kept.
    #[serde(with = "serde_duration")]
    pub keep_collections: Duration,
    /// How long fetched payloads are kept once their collection is finished.
    #[serde(with = "serde_duration")]
    pub keep_payloads: Duration,
    /// How long attempts are kept once their collection is finished.
    #[serde(with = "serde_duration")]
    pub keep_attempts: Duration,
    /// Whom to write to when the tenant cannot be reached otherwise.
    pub contact: Option<String>,
}

impl Settings {
    /// How long an idempotency key is remembered.
    pub const KEEP_KEYS: Duration = DAY;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_changes: DAY * 30,
            keep_collections: DAY * 30,
            keep_payloads: DAY * 7,
            keep_attempts: DAY * 14,
            contact: None,
        }
    }
}

/// Administrative rows.
pub trait Directory: Send + Sync {
    /// Returns every tenant.
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, StoreError>>;

    /// Adds a tenant, or writes over the one of this id.
    fn put_tenant(&self, tenant: Tenant) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns every API key, revoked ones included.
    fn keys(&self) -> BoxFuture<'_, Result<Vec<KeyRecord>, StoreError>>;

    /// Adds a key, or writes over the one of this id.
    fn put_key(&self, key: KeyRecord) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns the value kept under `name`, such as the master key's fingerprint.
    fn meta(&self, name: &'static str) -> BoxFuture<'_, Result<Option<String>, StoreError>>;

    /// Keeps `value` under `name` unless something is kept there; returns what is.
    fn put_meta(
        &self,
        name: &'static str,
        value: String,
    ) -> BoxFuture<'_, Result<String, StoreError>>;

    /// Keeps `new` under `name` if `old` is kept there; returns whether it was.
    fn replace_meta(
        &self,
        name: &'static str,
        old: String,
        new: String,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;
}

const DAY: Duration = Duration::from_secs(86_400);
