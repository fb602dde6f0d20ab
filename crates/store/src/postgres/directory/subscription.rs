//! Subscriptions.

use tokio_postgres::Row;
use wellspring_core::{SubscriptionId, TenantId};
use wellspring_engine::{StoreError, Subscription};

use crate::postgres::columns::{Fields, text};
use crate::postgres::session::{Param, Session};
use crate::row::{
    disabled, disabled_code, patterns, patterns_text, subscription_kind, subscription_kind_code,
};

pub(super) async fn all(session: &Session) -> Result<Vec<Subscription>, StoreError> {
    let sql = "SELECT id, tenant, kind, patterns, url, description, created_at, version, enabled, \
               disabled_reason, disabled_at, sealed_secrets FROM subscriptions ORDER BY id";
    let rows = session.query(sql, &[]).await?;
    rows.iter().map(read).collect()
}

/// Adds a subscription that is caught up with what there is; one statement is one transaction.
///
/// What is committed later than this is read has later places than those written here.
pub(super) async fn insert(session: &Session, new: &Subscription) -> Result<bool, StoreError> {
    let sql = "WITH made AS (INSERT INTO subscriptions (id, version, enabled, disabled_reason, \
               disabled_at, patterns, url, description, sealed_secrets, tenant, kind, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
               ON CONFLICT DO NOTHING RETURNING id) \
               INSERT INTO positions (subscription, shard, seen, failing_since) \
               SELECT made.id, s.shard, s.next_seq - 1, NULL FROM made CROSS JOIN shards s";
    let (tenant, created_at) = (new.tenant.uuid(), new.created_at.as_millis());
    let kind = i16::from(subscription_kind_code(new.kind));
    Ok(put(session, sql, new, &[&tenant, &kind, &created_at]).await? > 0)
}

/// Writes over a subscription that has this version.
pub(super) async fn replace(
    session: &Session,
    new: &Subscription,
    version: u32,
) -> Result<bool, StoreError> {
    let sql = "UPDATE subscriptions SET version = $2, enabled = $3, disabled_reason = $4, \
               disabled_at = $5, patterns = $6, url = $7, description = $8, sealed_secrets = $9 \
               WHERE id = $1 AND tenant = $10 AND version = $11";
    let (tenant, version) = (new.tenant.uuid(), version.cast_signed());
    Ok(put(session, sql, new, &[&tenant, &version]).await? == 1)
}

async fn put(
    session: &Session,
    sql: &'static str,
    new: &Subscription,
    more: &[Param<'_>],
) -> Result<u64, StoreError> {
    let patterns =
        patterns_text(&new.patterns).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let (id, version) = (new.id.uuid(), new.version.cast_signed());
    let (reason, at) = new
        .disabled
        .map(|disabled| {
            (
                i16::from(disabled_code(disabled.reason)),
                disabled.at.as_millis(),
            )
        })
        .unzip();
    let (url, description) = (text(&new.url), new.description.as_deref().map(text));
    let mut params: Vec<Param<'_>> = vec![
        &id,
        &version,
        &new.enabled,
        &reason,
        &at,
        &patterns,
        &url,
        &description,
        &new.sealed_secrets,
    ];
    params.extend(more);
    Ok(session.execute(sql, &params).await?)
}

/// Removes a subscription with what of it is open.
///
/// There may be a great many deliveries that are over: without their subscription nobody sees
/// them, and they go with their age.
pub(super) async fn delete(
    session: &Session,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<bool, StoreError> {
    let (id, tenant) = (id.uuid(), tenant.uuid());
    session.batch("BEGIN").await?;
    // Waits for commits that are writing rows of it; later ones find it gone.
    let sql = "DELETE FROM subscriptions WHERE id = $1 AND tenant = $2";
    let deleted = session.execute(sql, &[&id, &tenant]).await? == 1;
    if deleted {
        let sql = "DELETE FROM positions WHERE subscription = $1";
        session.execute(sql, &[&id]).await?;
        let sql = "DELETE FROM deliveries WHERE subscription = $1 AND status < 3";
        session.execute(sql, &[&id]).await?;
    }
    session.batch("COMMIT").await?;
    Ok(deleted)
}

fn read(row: &Row) -> Result<Subscription, StoreError> {
    let fields = Fields::new("subscriptions", row);
    let id = SubscriptionId::from_bytes(fields.uuid("id")?);
    Ok(Subscription {
        id,
        tenant: TenantId::from_bytes(fields.uuid("tenant")?),
        kind: subscription_kind(id, fields.code("kind")?)?,
        patterns: patterns(id, fields.get("patterns")?)?,
        url: fields.get::<&str>("url")?.into(),
        description: fields.get("description")?,
        created_at: fields.timestamp("created_at")?,
        version: fields.version("version")?,
        enabled: fields.get("enabled")?,
        disabled: disabled(
            id,
            fields.code_opt("disabled_reason")?,
            fields.get("disabled_at")?,
        )?,
        sealed_secrets: fields.get("sealed_secrets")?,
    })
}
