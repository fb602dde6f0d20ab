//! Administrative rows.

use futures_util::future::{BoxFuture, ready};
use wellspring_engine::{Directory, KeyRecord, StoreError, Tenant};

use super::MemoryStore;

impl Directory for MemoryStore {
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, StoreError>> {
        Box::pin(ready(Ok(self.image().tenants.values().cloned().collect())))
    }

    fn put_tenant(&self, tenant: Tenant) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut image = self.image();
        if image
            .tenants
            .values()
            .any(|other| other.name == tenant.name && other.id != tenant.id)
        {
            let refusal = format!("there is a tenant named `{}` already", tenant.name);
            return Box::pin(ready(Err(StoreError::Refused(refusal))));
        }
        image.tenants.insert(tenant.id, tenant);
        Box::pin(ready(Ok(())))
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<KeyRecord>, StoreError>> {
        Box::pin(ready(Ok(self.image().api_keys.values().cloned().collect())))
    }

    fn put_key(&self, key: KeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.image().api_keys.insert(key.id, key);
        Box::pin(ready(Ok(())))
    }

    fn meta(&self, name: &'static str) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        Box::pin(ready(Ok(self.image().meta.get(name).cloned())))
    }

    fn put_meta(
        &self,
        name: &'static str,
        value: String,
    ) -> BoxFuture<'_, Result<String, StoreError>> {
        let kept = self.image().meta.entry(name).or_insert(value).clone();
        Box::pin(ready(Ok(kept)))
    }

    fn replace_meta(
        &self,
        name: &'static str,
        old: String,
        new: String,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut image = self.image();
        let kept = image.meta.get_mut(name).filter(|kept| **kept == old);
        let replaced = kept.map(|kept| *kept = new).is_some();
        Box::pin(ready(Ok(replaced)))
    }
}
