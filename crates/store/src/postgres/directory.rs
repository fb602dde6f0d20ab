//! Administrative rows.

use futures_util::future::BoxFuture;
use tokio_postgres::error::SqlState;
use wellspring_core::{ApiKeyId, SubscriptionId, TenantId, Timestamp, UnclassifiedId};
use wellspring_engine::{
    Directory, KeyRecord, Settings, StoreError, Subscription, Tenant, TokenRecord,
};

use super::PostgresStore;
use super::columns::{Fields, text};

mod subscription;
mod token;

impl Directory for PostgresStore {
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, StoreError>> {
        self.within(async {
            let session = self.pool().get().await?;
            let sql =
                "SELECT id, name, created_at, sealed_secrets, settings FROM tenants ORDER BY id";
            let rows = session.query(sql, &[]).await?;
            session.keep();
            let read = |row| {
                let fields = Fields::new("tenants", row);
                let tenant = Tenant {
                    id: TenantId::from_bytes(fields.uuid("id")?),
                    name: fields.get("name")?,
                    created_at: fields.timestamp("created_at")?,
                    sealed_secrets: fields.get("sealed_secrets")?,
                    settings: Settings::default(),
                };
                crate::row::with_settings(tenant, fields.get("settings")?)
            };
            rows.iter().map(read).collect()
        })
    }

    fn put_tenant(&self, tenant: Tenant) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "INSERT INTO tenants (id, name, created_at, sealed_secrets, settings) \
                       VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET \
                       name = excluded.name, sealed_secrets = excluded.sealed_secrets, \
                       settings = excluded.settings";
            let (id, name) = (tenant.id.uuid(), text(&tenant.name));
            let (at, settings) = (
                tenant.created_at.as_millis(),
                crate::row::settings_text(&tenant),
            );
            let put = session
                .execute(sql, &[&id, &name, &at, &tenant.sealed_secrets, &settings])
                .await;
            match put {
                Ok(_) => {
                    session.keep();
                    Ok(())
                }
                Err(fault) if fault.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    let refusal = format!("there is a tenant named `{}` already", tenant.name);
                    Err(StoreError::Refused(refusal))
                }
                Err(fault) => Err(fault.into()),
            }
        })
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<KeyRecord>, StoreError>> {
        self.within(async {
            let session = self.pool().get().await?;
            let sql = "SELECT id, tenant, hash, created_at, revoked_at FROM api_keys ORDER BY id";
            let rows = session.query(sql, &[]).await?;
            session.keep();
            let read = |row| {
                let fields = Fields::new("api_keys", row);
                let revoked_at: Option<i64> = fields.get("revoked_at")?;
                Ok(KeyRecord {
                    id: ApiKeyId::from_bytes(fields.uuid("id")?),
                    tenant: TenantId::from_bytes(fields.uuid("tenant")?),
                    hash: fields.digest("hash")?,
                    created_at: fields.timestamp("created_at")?,
                    revoked_at: revoked_at.map(Timestamp::from_millis),
                })
            };
            rows.iter().map(read).collect()
        })
    }

    fn put_key(&self, key: KeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "INSERT INTO api_keys (id, tenant, hash, created_at, revoked_at) \
                       VALUES ($1, $2, $3, $4, $5) \
                       ON CONFLICT (id) DO UPDATE SET revoked_at = excluded.revoked_at";
            let (id, tenant, hash) = (key.id.uuid(), key.tenant.uuid(), key.hash.as_slice());
            let (made, revoked) = (
                key.created_at.as_millis(),
                key.revoked_at.map(Timestamp::as_millis),
            );
            session
                .execute(sql, &[&id, &tenant, &hash, &made, &revoked])
                .await?;
            session.keep();
            Ok(())
        })
    }

    fn subscriptions(&self) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        self.within(async {
            let session = self.pool().get().await?;
            let subscriptions = subscription::all(&session).await?;
            session.keep();
            Ok(subscriptions)
        })
    }

    fn put_subscription(
        &self,
        subscription: Subscription,
        expected: Option<u32>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let put = match expected {
                None => subscription::insert(&session, &subscription).await?,
                Some(version) => subscription::replace(&session, &subscription, version).await?,
            };
            session.keep();
            Ok(put)
        })
    }

    fn delete_subscription(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let deleted = subscription::delete(&session, tenant, id).await?;
            session.keep();
            Ok(deleted)
        })
    }

    fn put_token(&self, token: TokenRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            token::put(&session, &token).await?;
            session.keep();
            Ok(())
        })
    }

    fn token(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenRecord>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let token = token::read(&session, hash).await?;
            session.keep();
            Ok(token)
        })
    }

    fn exchange_token(
        &self,
        hash: [u8; 32],
        now: Timestamp,
        bearer: TokenRecord,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let exchanged = token::exchange(&session, hash, now, &bearer).await?;
            session.keep();
            Ok(exchanged)
        })
    }

    fn forget_unclassified(&self, id: UnclassifiedId) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "DELETE FROM unclassified WHERE id = $1";
            let rows = session.execute(sql, &[&id.uuid()]).await?;
            session.keep();
            Ok(rows == 1)
        })
    }

    fn meta(&self, name: &'static str) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let row = session
                .query_opt("SELECT value FROM meta WHERE name = $1", &[&name])
                .await?;
            session.keep();
            row.map(|row| Fields::new("meta", &row).get("value"))
                .transpose()
        })
    }

    fn put_meta(
        &self,
        name: &'static str,
        value: String,
    ) -> BoxFuture<'_, Result<String, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            session.execute(sql, &[&name, &text(&value)]).await?;
            // A statement of its own sees what somebody else put first.
            let row = session
                .query_opt("SELECT value FROM meta WHERE name = $1", &[&name])
                .await?;
            session.keep();
            let kept = row
                .map(|row| Fields::new("meta", &row).get("value"))
                .transpose()?;
            Ok(kept.unwrap_or(value))
        })
    }

    fn replace_meta(
        &self,
        name: &'static str,
        old: String,
        new: String,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "UPDATE meta SET value = $3 WHERE name = $1 AND value = $2";
            let (old, new) = (text(&old), text(&new));
            let rows = session.execute(sql, &[&name, &old, &new]).await?;
            session.keep();
            Ok(rows == 1)
        })
    }
}
