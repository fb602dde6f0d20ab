//! Documents.

use uuid::Uuid;
use wellspring_core::{AccountId, ConnectionId, Document, DocumentId, TenantId};
use wellspring_engine::StoreError;

use super::count;
use crate::postgres::columns::{self, Fields, document_columns, text};
use crate::postgres::session::{Param, Session};

pub(super) async fn documents(
    session: &Session,
    tenant: TenantId,
    (account, connection): (Option<AccountId>, Option<ConnectionId>),
    before: Option<DocumentId>,
    limit: usize,
) -> Result<Vec<Document>, StoreError> {
    let all = concat!(
        "SELECT ",
        document_columns!(),
        " FROM documents WHERE tenant = $1 AND id < $2 ORDER BY tenant DESC, id DESC LIMIT $3"
    );
    let of_account = concat!(
        "SELECT ",
        document_columns!(),
        " FROM documents WHERE account = $4 AND id < $2 AND tenant = $1 \
         ORDER BY account DESC, id DESC LIMIT $3"
    );
    let of_connection = concat!(
        "SELECT ",
        document_columns!(),
        " FROM documents WHERE connection = $4 AND id < $2 AND tenant = $1 \
         AND account = coalesce($5, account) ORDER BY connection DESC, id DESC LIMIT $3"
    );
    let (tenant, limit) = (tenant.uuid(), count(limit));
    let before = before.map_or_else(Uuid::max, |id| id.uuid());
    let account = account.map(|id| id.uuid());
    let rows = match (account, connection.map(|id| id.uuid())) {
        (None, None) => session.query(all, &[&tenant, &before, &limit]).await?,
        (Some(account), None) => {
            let params: [Param<'_>; 4] = [&tenant, &before, &limit, &account];
            session.query(of_account, &params).await?
        }
        (account, Some(connection)) => {
            let params: [Param<'_>; 5] = [&tenant, &before, &limit, &connection, &account];
            session.query(of_connection, &params).await?
        }
    };
    rows.iter().map(columns::document).collect()
}

pub(super) async fn document(
    session: &Session,
    tenant: TenantId,
    id: DocumentId,
) -> Result<Option<Document>, StoreError> {
    let sql = concat!(
        "SELECT ",
        document_columns!(),
        " FROM documents WHERE id = $1 AND tenant = $2"
    );
    let row = session
        .query_opt(sql, &[&id.uuid(), &tenant.uuid()])
        .await?;
    row.as_ref().map(columns::document).transpose()
}

pub(super) async fn known(
    session: &Session,
    connection: ConnectionId,
    source_id: Option<&str>,
    hash: Option<[u8; 32]>,
) -> Result<Option<DocumentId>, StoreError> {
    let connection = connection.uuid();
    let row = match (source_id.map(text), hash) {
        (Some(source_id), _) => {
            let sql = "SELECT id FROM documents WHERE connection = $1 AND source_id = $2 \
                       ORDER BY connection, source_id, id LIMIT 1";
            session.query_opt(sql, &[&connection, &source_id]).await?
        }
        (None, Some(hash)) => {
            let sql = "SELECT id FROM documents WHERE connection = $1 AND hash = $2 \
                       ORDER BY connection, hash, id LIMIT 1";
            session
                .query_opt(sql, &[&connection, &hash.as_slice()])
                .await?
        }
        (None, None) => return Ok(None),
    };
    let id = row.map(|row| Fields::new("documents", &row).uuid("id"));
    Ok(id.transpose()?.map(DocumentId::from_bytes))
}

pub(super) async fn existing(
    session: &Session,
    ids: &[DocumentId],
) -> Result<Vec<DocumentId>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(DocumentId::uuid).collect();
    let sql = "SELECT id FROM documents WHERE id = ANY($1) ORDER BY id";
    let rows = session.query(sql, &[&ids]).await?;
    let read = |row| Fields::new("documents", row).uuid("id");
    let ids = rows.iter().map(read);
    ids.map(|id| id.map(DocumentId::from_bytes)).collect()
}
