//! Tenants, their keys and their settings: few rows, seldom changed.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use wellspring_core::{
    AccountId, ApiKeyId, Ask, ConnectionId, SourceName, SubscriptionId, TenantId, Timestamp,
    UnclassifiedId, serde_duration,
};

use crate::{StoreError, Subscription};

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
    /// Whether `retrying` is shown as `waiting` with `retries` above 0.
    pub legacy_waiting: bool,
    /// When sources may ask people something.
    pub ask: Ask,
    /// Which origins may frame the connect page, such as `https://app.example.com`.
    pub frame_origins: Vec<String>,
    /// Where the connect page may send people back to.
    pub return_urls: Vec<String>,
    /// Where documents go as they come in.
    pub document_receiver: Option<String>,
}

/// A token that a tenant gave out for one account, as stored: its hash, never itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Who gave it out.
    pub tenant: TenantId,
    /// For which account.
    pub account: AccountId,
    /// What it is good for.
    pub kind: TokenKind,
    /// The connection that is repaired.
    pub connection: Option<ConnectionId>,
    /// The source that is connected.
    pub source: Option<SourceName>,
    /// Where the person is sent back to.
    pub return_url: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was spent; only a link is.
    pub spent_at: Option<Timestamp>,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// A link to the connect page, to be exchanged once.
    Connect,
    /// What the connect page works with.
    Page,
    /// What an application's own client works with.
    Client,
}

impl wellspring_core::Stored for TokenKind {
    const MEMBERS: &'static [Self] = &[Self::Connect, Self::Page, Self::Client];
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
            legacy_waiting: false,
            ask: Ask::UserPresent,
            frame_origins: Vec::new(),
            return_urls: Vec::new(),
            document_receiver: None,
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

    /// Returns every subscription.
    fn subscriptions(&self) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>>;

    /// Adds a subscription at the present end of the log (its positions in all shards are written
    /// with it), or, where `expected` names the version it has, writes over it; returns whether it did.
    fn put_subscription(
        &self,
        subscription: Subscription,
        expected: Option<u32>,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes a subscription of the tenant with its positions and deliveries; returns whether there was one.
    fn delete_subscription(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Adds a token, unless one of this hash is there.
    fn put_token(&self, token: TokenRecord) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns the token of this hash, spent and expired ones included until they are swept.
    fn token(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenRecord>, StoreError>>;

    /// Spends the token of this hash and adds the one that it is exchanged for, both or neither;
    /// returns whether it was there and unspent.
    fn exchange_token(
        &self,
        hash: [u8; 32],
        now: Timestamp,
        bearer: TokenRecord,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Forgets a kind of failure that no rule matched; returns whether it was kept.
    fn forget_unclassified(&self, id: UnclassifiedId) -> BoxFuture<'_, Result<bool, StoreError>>;

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
