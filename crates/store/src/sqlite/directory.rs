//! Administrative rows.

use futures_util::future::BoxFuture;
use rusqlite::OptionalExtension;
use wellspring_core::{ApiKeyId, SubscriptionId, TenantId, Timestamp, UnclassifiedId};
use wellspring_engine::{Directory, KeyRecord, StoreError, Subscription, Tenant, TokenRecord};

use super::threads::transact;
use super::{SqliteStore, unavailable};

mod subscription;
mod token;

impl Directory for SqliteStore {
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, StoreError>> {
        Box::pin(self.read(|connection| {
            let sql =
                "SELECT id, name, created_at, sealed_secrets, settings FROM tenants ORDER BY id";
            let mut statement = connection
                .prepare_cached(sql)
                .map_err(|error| unavailable(&error))?;
            let rows = statement.query_map([], |row| {
                let tenant = Tenant {
                    id: TenantId::from_bytes(row.get(0)?),
                    name: row.get(1)?,
                    created_at: Timestamp::from_millis(row.get(2)?),
                    sealed_secrets: row.get(3)?,
                    settings: wellspring_engine::Settings::default(),
                };
                Ok((tenant, row.get::<_, String>(4)?))
            });
            let rows: Vec<(Tenant, String)> = rows
                .and_then(Iterator::collect)
                .map_err(|error| unavailable(&error))?;
            rows.into_iter()
                .map(|(tenant, settings)| crate::row::with_settings(tenant, &settings))
                .collect()
        }))
    }

    fn put_tenant(&self, tenant: Tenant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |connection| {
            let settings = crate::row::settings_text(&tenant);
            let sql = "INSERT INTO tenants (id, name, created_at, sealed_secrets, settings) VALUES (?1, ?2, ?3, ?4, ?5) \
                       ON CONFLICT (id) DO UPDATE SET name = ?2, sealed_secrets = ?4, settings = ?5";
            let outcome = connection.execute(
                sql,
                (tenant.id.as_bytes(), &tenant.name, tenant.created_at.as_millis(), &tenant.sealed_secrets, settings),
            );
            match outcome {
                Ok(_) => Ok(()),
                Err(rusqlite::Error::SqliteFailure(failure, _))
                    if failure.code == rusqlite::ErrorCode::ConstraintViolation =>
                {
                    Err(StoreError::Refused(format!("there is a tenant named `{}` already", tenant.name)))
                }
                Err(error) => Err(unavailable(&error)),
            }
        }))
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<KeyRecord>, StoreError>> {
        Box::pin(self.read(|connection| {
            let sql = "SELECT id, tenant, hash, created_at, revoked_at FROM api_keys ORDER BY id";
            let mut statement = connection
                .prepare_cached(sql)
                .map_err(|error| unavailable(&error))?;
            let rows = statement.query_map([], |row| {
                Ok(KeyRecord {
                    id: ApiKeyId::from_bytes(row.get(0)?),
                    tenant: TenantId::from_bytes(row.get(1)?),
                    hash: row.get(2)?,
                    created_at: Timestamp::from_millis(row.get(3)?),
                    revoked_at: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_millis),
                })
            });
            rows.and_then(Iterator::collect)
                .map_err(|error| unavailable(&error))
        }))
    }

    fn put_key(&self, key: KeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |connection| {
            let sql = "INSERT INTO api_keys (id, tenant, hash, created_at, revoked_at) VALUES (?1, ?2, ?3, ?4, ?5) \
                       ON CONFLICT (id) DO UPDATE SET revoked_at = ?5";
            let row = (
                key.id.as_bytes(),
                key.tenant.as_bytes(),
                key.hash,
                key.created_at.as_millis(),
                key.revoked_at.map(Timestamp::as_millis),
            );
            connection.execute(sql, row).map_err(|error| unavailable(&error))?;
            Ok(())
        }))
    }

    fn subscriptions(&self) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        Box::pin(self.read(subscription::all))
    }

    fn put_subscription(
        &self,
        subscription: Subscription,
        expected: Option<u32>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |connection| {
            transact(connection, |transaction| {
                subscription::put(transaction, &subscription, expected)
            })
        }))
    }

    fn delete_subscription(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |connection| {
            transact(connection, |transaction| {
                subscription::delete(transaction, tenant, id)
            })
        }))
    }

    fn put_token(&self, token: TokenRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |connection| {
            transact(connection, |transaction| token::put(transaction, &token))
        }))
    }

    fn token(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenRecord>, StoreError>> {
        Box::pin(self.read(move |connection| token::load(connection, hash)))
    }

    fn exchange_token(
        &self,
        hash: [u8; 32],
        now: Timestamp,
        bearer: TokenRecord,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |connection| {
            transact(connection, |transaction| {
                token::exchange(transaction, hash, now, &bearer)
            })
        }))
    }

    fn forget_unclassified(&self, id: UnclassifiedId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |connection| {
            let rows = connection
                .execute("DELETE FROM unclassified WHERE id = ?1", [id.as_bytes()])
                .map_err(|error| unavailable(&error))?;
            Ok(rows == 1)
        }))
    }

    fn meta(&self, name: &'static str) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        Box::pin(self.read(move |connection| {
            connection
                .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
                    row.get(0)
                })
                .optional()
                .map_err(|error| unavailable(&error))
        }))
    }

    fn put_meta(
        &self,
        name: &'static str,
        value: String,
    ) -> BoxFuture<'_, Result<String, StoreError>> {
        Box::pin(self.write(move |connection| {
            transact(connection, |transaction| {
                transaction.execute(
                    "INSERT OR IGNORE INTO meta (name, value) VALUES (?1, ?2)",
                    (name, value),
                )?;
                transaction.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
                    row.get(0)
                })
            })
        }))
    }

    fn replace_meta(
        &self,
        name: &'static str,
        old: String,
        new: String,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |connection| {
            let sql = "UPDATE meta SET value = ?3 WHERE name = ?1 AND value = ?2";
            let rows = connection
                .execute(sql, (name, old, new))
                .map_err(|error| unavailable(&error))?;
            Ok(rows == 1)
        }))
    }
}
