//! Documents.

use rusqlite::{Connection, Row, params};
use wellspring_core::{AccountId, ConnectionId, Document, DocumentId, TenantId};
use wellspring_engine::StoreError;

use super::{decoded, decoded_one, one, rows};
use crate::row;

pub(super) fn documents(
    connection: &Connection,
    tenant: TenantId,
    (account, of): (Option<AccountId>, Option<ConnectionId>),
    before: Option<DocumentId>,
    limit: usize,
) -> Result<Vec<Document>, StoreError> {
    // The plus signs keep the planner from walking through all of the tenant's documents for the
    // few of one owner.
    let wanted = match (account, of) {
        (None, None) => "tenant = ?1 AND id < ?2",
        (Some(_), None) => "account = ?4 AND id < ?2 AND +tenant = ?1",
        (_, Some(_)) => {
            "connection = ?5 AND +id < ?2 AND +tenant = ?1 AND +account = coalesce(?4, account)"
        }
    };
    let sql = format!("SELECT {DOCUMENT} FROM documents WHERE {wanted} ORDER BY id DESC LIMIT ?3");
    let before = before.map_or([255; 16], |id| *id.as_bytes());
    let tenant = tenant.as_bytes();
    let owner = account.map(|id| *id.as_bytes());
    match of {
        None if owner.is_none() => {
            decoded(connection, &sql, params![tenant, before, limit], document)
        }
        None => {
            let of = params![tenant, before, limit, owner];
            decoded(connection, &sql, of, document)
        }
        Some(of) => {
            let of = params![tenant, before, limit, owner, of.as_bytes()];
            decoded(connection, &sql, of, document)
        }
    }
}

pub(super) fn load(
    connection: &Connection,
    tenant: TenantId,
    id: DocumentId,
) -> Result<Option<Document>, StoreError> {
    let sql = format!("SELECT {DOCUMENT} FROM documents WHERE id = ?1 AND tenant = ?2");
    let place = params![id.as_bytes(), tenant.as_bytes()];
    decoded_one(connection, &sql, place, document)
}

pub(super) fn known(
    connection: &Connection,
    of: ConnectionId,
    source_id: Option<&str>,
    hash: Option<[u8; 32]>,
) -> Result<Option<DocumentId>, StoreError> {
    let id = |row: &Row<'_>| Ok(DocumentId::from_bytes(row.get(0)?));
    match (source_id, hash) {
        (Some(source_id), _) => {
            let sql = "SELECT id FROM documents WHERE connection = ?1 AND source_id = ?2 ORDER BY id LIMIT 1";
            one(connection, sql, params![of.as_bytes(), source_id], id)
        }
        (None, Some(hash)) => {
            let sql =
                "SELECT id FROM documents WHERE connection = ?1 AND hash = ?2 ORDER BY id LIMIT 1";
            one(connection, sql, params![of.as_bytes(), hash], id)
        }
        (None, None) => Ok(None),
    }
}

pub(super) fn existing(
    connection: &Connection,
    ids: Vec<DocumentId>,
) -> Result<Vec<DocumentId>, StoreError> {
    let mut existing = Vec::new();
    for id in ids {
        let sql = "SELECT 1 FROM documents WHERE id = ?1";
        if one(connection, sql, [id.as_bytes()], |_| Ok(()))?.is_some() {
            existing.push(id);
        }
    }
    Ok(existing)
}

pub(in crate::sqlite) fn garbage(
    connection: &Connection,
    limit: usize,
) -> Result<Vec<DocumentId>, StoreError> {
    let sql = "SELECT id FROM blob_garbage ORDER BY id LIMIT ?1";
    rows(connection, sql, [limit], |row| {
        Ok(DocumentId::from_bytes(row.get(0)?))
    })
}

fn document(row: &Row<'_>) -> rusqlite::Result<Result<Document, StoreError>> {
    let id = DocumentId::from_bytes(row.get(0)?);
    let owners = (
        TenantId::from_bytes(row.get(1)?),
        AccountId::from_bytes(row.get(2)?),
        ConnectionId::from_bytes(row.get(3)?),
    );
    let body: String = row.get(6)?;
    let known_by = (row.get(4)?, row.get(5)?);
    Ok(row::document(id, owners, known_by, &body))
}

const DOCUMENT: &str = "id, tenant, account, connection, source_id, hash, body";
