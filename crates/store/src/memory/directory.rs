//! Administrative rows.

use futures_util::future::{BoxFuture, ready};
use wellspring_core::{SubscriptionId, TenantId, Timestamp, UnclassifiedId};
use wellspring_engine::{
    Directory, KeyRecord, Position, StoreError, Subscription, Tenant, TokenRecord,
};

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

    fn subscriptions(&self) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        let all = self.image().subscriptions.values().cloned().collect();
        Box::pin(ready(Ok(all)))
    }

    fn put_subscription(
        &self,
        subscription: Subscription,
        expected: Option<u32>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut image = self.image();
        let id = subscription.id;
        let kept = image.subscriptions.get(&id).map(|kept| kept.version);
        if kept != expected {
            return Box::pin(ready(Ok(false)));
        }
        image.subscriptions.insert(id, subscription);
        if expected.is_none() {
            for shard in (0..self.shards).map(wellspring_core::Shard) {
                let row = image.shards.get(&shard);
                let position = Position {
                    subscription: id,
                    shard,
                    seen: row.map_or(0, |row| row.next_seq - 1),
                    failing_since: None,
                };
                image.positions.insert((shard, id), position);
            }
        }
        Box::pin(ready(Ok(true)))
    }

    fn delete_subscription(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut image = self.image();
        let kept = image.subscriptions.get(&id);
        if kept.is_none_or(|kept| kept.tenant != tenant) {
            return Box::pin(ready(Ok(false)));
        }
        image.subscriptions.remove(&id);
        image.positions.retain(|(_, of), _| *of != id);
        image.deliveries.retain(|(of, _, _), _| *of != id);
        image.delivery_attempts.retain(|(of, _, _, _), _| *of != id);
        Box::pin(ready(Ok(true)))
    }

    fn put_token(&self, token: TokenRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.image().tokens.entry(token.hash).or_insert(token);
        Box::pin(ready(Ok(())))
    }

    fn token(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenRecord>, StoreError>> {
        Box::pin(ready(Ok(self.image().tokens.get(&hash).cloned())))
    }

    fn exchange_token(
        &self,
        hash: [u8; 32],
        now: Timestamp,
        bearer: TokenRecord,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut image = self.image();
        let kept = image.tokens.get_mut(&hash);
        let Some(kept) = kept.filter(|kept| kept.spent_at.is_none() && now < kept.expires_at)
        else {
            return Box::pin(ready(Ok(false)));
        };
        kept.spent_at = Some(now);
        image.tokens.entry(bearer.hash).or_insert(bearer);
        Box::pin(ready(Ok(true)))
    }

    fn forget_unclassified(&self, id: UnclassifiedId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let forgotten = self.image().forget_unclassified(id);
        Box::pin(ready(Ok(forgotten)))
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
