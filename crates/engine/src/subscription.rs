//! Subscriptions: which changes a tenant wants pushed, and where to.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wellspring_core::{Pattern, SubscriptionId, TenantId, Timestamp};

/// A pattern over changes and a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What is sent.
    pub kind: SubscriptionKind,
    /// Which changes.
    pub patterns: Vec<Pattern>,
    /// Where to.
    pub url: Arc<str>,
    /// What the tenant says of it.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts its changes.
    pub version: u32,
    /// Whether the tenant wants anything sent.
    pub enabled: bool,
    /// Why the engine stopped sending; enabling it takes this away.
    pub disabled: Option<Disabled>,
    /// Its secrets, encrypted; none for documents, which the tenant's callback secret signs.
    pub sealed_secrets: Vec<u8>,
}

/// What a subscription sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionKind {
    /// The change, as a webhook.
    Webhook,
    /// The document that came to be, with its file, as a multipart POST.
    Documents,
}

/// Why and when the engine stopped sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// Why.
    pub reason: DisabledReason,
    /// When.
    pub at: Timestamp,
}

/// Why the engine stopped sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The endpoint answered 410.
    Gone,
    /// The endpoint failed for days.
    Failing,
}

impl Subscription {
    /// Returns whether anything is sent.
    pub const fn is_live(&self) -> bool {
        self.enabled && self.disabled.is_none()
    }
}

/// All subscriptions of all tenants, as the dispatcher knows them.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionTable {
    /// By id.
    pub by_id: BTreeMap<SubscriptionId, Arc<Subscription>>,
}
