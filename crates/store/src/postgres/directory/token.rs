//! Tokens for one account each.

use wellspring_core::{AccountId, ConnectionId, SourceName, Stored, TenantId, Timestamp};
use wellspring_engine::{StoreError, TokenRecord};

use crate::postgres::columns::{Fields, text};
use crate::postgres::session::{Param, Session};
use crate::row::{token_kind, token_source};

pub(super) async fn put(session: &Session, token: &TokenRecord) -> Result<(), StoreError> {
    let sql = "INSERT INTO tokens (hash, tenant, account, kind, connection, source, return_url, \
               created_at, expires_at, spent_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
    insert(session, sql, token, &[]).await?;
    Ok(())
}

/// Spends one and adds the other; one statement is one transaction.
pub(super) async fn exchange(
    session: &Session,
    hash: [u8; 32],
    now: Timestamp,
    bearer: &TokenRecord,
) -> Result<bool, StoreError> {
    let sql = "WITH spent AS (UPDATE tokens SET spent_at = $12 \
               WHERE hash = $11 AND spent_at IS NULL AND expires_at > $12 RETURNING hash) \
               INSERT INTO tokens (hash, tenant, account, kind, connection, source, return_url, \
               created_at, expires_at, spent_at) \
               SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM spent";
    let (hash, now) = (hash.as_slice(), now.as_millis());
    Ok(insert(session, sql, bearer, &[&hash, &now]).await? == 1)
}

async fn insert(
    session: &Session,
    sql: &'static str,
    token: &TokenRecord,
    more: &[Param<'_>],
) -> Result<u64, StoreError> {
    let hash = token.hash.as_slice();
    let (tenant, account) = (token.tenant.uuid(), token.account.uuid());
    let kind = i16::from(token.kind.code());
    let connection = token.connection.map(|id| id.uuid());
    let source = token.source.as_ref().map(SourceName::as_str);
    let return_url = token.return_url.as_deref().map(text);
    let (created_at, expires_at) = (token.created_at.as_millis(), token.expires_at.as_millis());
    let spent_at = token.spent_at.map(Timestamp::as_millis);
    let mut params: Vec<Param<'_>> = vec![
        &hash,
        &tenant,
        &account,
        &kind,
        &connection,
        &source,
        &return_url,
        &created_at,
        &expires_at,
        &spent_at,
    ];
    params.extend(more);
    Ok(session.execute(sql, &params).await?)
}

pub(super) async fn read(
    session: &Session,
    hash: [u8; 32],
) -> Result<Option<TokenRecord>, StoreError> {
    let sql = "SELECT tenant, account, kind, connection, source, return_url, created_at, \
               expires_at, spent_at FROM tokens WHERE hash = $1";
    let row = session.query_opt(sql, &[&hash.as_slice()]).await?;
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::new("tokens", &row);
    let tenant = TenantId::from_bytes(fields.uuid("tenant")?);
    Ok(Some(TokenRecord {
        hash,
        tenant,
        account: AccountId::from_bytes(fields.uuid("account")?),
        kind: token_kind(tenant, fields.code("kind")?)?,
        connection: fields.uuid_opt("connection")?.map(ConnectionId::from_bytes),
        source: token_source(tenant, fields.get("source")?)?,
        return_url: fields.get("return_url")?,
        created_at: fields.timestamp("created_at")?,
        expires_at: fields.timestamp("expires_at")?,
        spent_at: fields.timestamp_opt("spent_at")?,
    }))
}
