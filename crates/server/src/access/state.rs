//! What access keeps in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wellspring_core::{Actor, ApiKeyId, TenantId};
use wellspring_engine::{KeyRecord, Tenant};

use super::AccessError;
use super::secrets::Secrets;
use crate::Caller;

#[derive(Default)]
pub(super) struct State {
    pub(super) tenants: BTreeMap<TenantId, Entry>,
    pub(super) keys: BTreeMap<ApiKeyId, KeyRecord>,
    pub(super) callers: HashMap<[u8; 32], Caller>,
}

pub(super) struct Entry {
    pub(super) row: Tenant,
    pub(super) secrets: Secrets,
    pub(super) live: Arc<[String]>,
}

impl State {
    pub(super) fn tenant_named(&self, name: &str) -> Option<TenantId> {
        let mut entries = self.tenants.values();
        entries
            .find(|entry| entry.row.name == name)
            .map(|entry| entry.row.id)
    }

    pub(super) fn entry(&mut self, tenant: TenantId) -> Result<&mut Entry, AccessError> {
        self.tenants
            .get_mut(&tenant)
            .ok_or_else(|| AccessError::UnknownTenant(tenant.to_string()))
    }

    pub(super) fn put_key(&mut self, record: KeyRecord) {
        if record.revoked_at.is_none() {
            let caller = Caller {
                tenant: record.tenant,
                actor: Actor::Key(record.id),
                account: None,
                page: None,
            };
            self.callers.insert(record.hash, caller);
        } else {
            self.callers.remove(&record.hash);
        }
        self.keys.insert(record.id, record);
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("tenants", &self.tenants.len())
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}
