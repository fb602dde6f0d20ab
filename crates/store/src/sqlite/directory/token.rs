//! Tokens that tenants give out.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use wellspring_core::{AccountId, ConnectionId, Stored, TenantId, Timestamp};
use wellspring_engine::{StoreError, TokenKind, TokenRecord};

use crate::row::{token_kind, token_source};
use crate::sqlite::unavailable;

pub(super) fn put(transaction: &Transaction<'_>, token: &TokenRecord) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO tokens (hash, tenant, account, kind, connection, source, return_url, created_at, \
               expires_at, spent_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    transaction.prepare_cached(sql)?.execute(params![
        token.hash,
        token.tenant.as_bytes(),
        token.account.as_bytes(),
        token.kind.code(),
        token.connection.map(|id| *id.as_bytes()),
        token.source.as_ref().map(|source| source.as_str()),
        token.return_url,
        token.created_at.as_millis(),
        token.expires_at.as_millis(),
        token.spent_at.map(Timestamp::as_millis)
    ])?;
    Ok(())
}

pub(super) fn load(
    connection: &Connection,
    hash: [u8; 32],
) -> Result<Option<TokenRecord>, StoreError> {
    let sql = "SELECT hash, tenant, account, kind, connection, source, return_url, created_at, expires_at, spent_at \
               FROM tokens WHERE hash = ?1";
    let row = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row([hash], token).optional());
    row.map_err(|error| unavailable(&error))?.transpose()
}

pub(super) fn exchange(
    transaction: &Transaction<'_>,
    hash: [u8; 32],
    now: Timestamp,
    bearer: &TokenRecord,
) -> rusqlite::Result<bool> {
    let sql =
        "UPDATE tokens SET spent_at = ?2 WHERE hash = ?1 AND spent_at IS NULL AND expires_at > ?2";
    let spent = transaction
        .prepare_cached(sql)?
        .execute(params![hash, now.as_millis()])?;
    if spent == 1 {
        put(transaction, bearer)?;
    }
    Ok(spent == 1)
}

fn token(row: &Row<'_>) -> rusqlite::Result<Result<TokenRecord, StoreError>> {
    let tenant = TenantId::from_bytes(row.get(1)?);
    let kind = token_kind(tenant, row.get(3)?);
    let source: Option<String> = row.get(5)?;
    let source = token_source(tenant, source.as_deref());
    let connection: Option<[u8; 16]> = row.get(4)?;
    let spent_at: Option<i64> = row.get(9)?;
    let plain = TokenRecord {
        hash: row.get(0)?,
        tenant,
        account: AccountId::from_bytes(row.get(2)?),
        kind: TokenKind::Connect,
        connection: connection.map(ConnectionId::from_bytes),
        source: None,
        return_url: row.get(6)?,
        created_at: Timestamp::from_millis(row.get(7)?),
        expires_at: Timestamp::from_millis(row.get(8)?),
        spent_at: spent_at.map(Timestamp::from_millis),
    };
    let decode = || {
        Ok(TokenRecord {
            kind: kind?,
            source: source?,
            ..plain
        })
    };
    Ok(decode())
}
