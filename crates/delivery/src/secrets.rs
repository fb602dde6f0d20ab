//! What this crate needs of whoever keeps the secrets of tenants.

use std::fmt;
use std::sync::Arc;

use wellspring_core::TenantId;
use wellspring_vault::SigningSecret;

/// Knows the secrets of tenants.
///
/// It is asked for every message and answers from memory.
pub trait Secrets: fmt::Debug + Send + Sync {
    /// Returns the live callback secrets of a tenant, the newest first.
    ///
    /// There are two while a secret is being rotated; `None` and an empty list mean the same.
    fn callback(&self, tenant: TenantId) -> Option<Arc<[SigningSecret]>>;
}
