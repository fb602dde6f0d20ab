//! Accounts, connections, and what happened on them.

use uuid::Uuid;
use wellspring_core::connection::FetchRecord;
use wellspring_core::{
    Account, AccountId, Connection, ConnectionId, FetchId, InteractionId, TenantId,
};
use wellspring_engine::{FetchView, InteractionView, StoreError};

use super::count;
use crate::postgres::columns::{
    self, Fields, account_columns, connection_columns, interaction_columns, text,
};
use crate::postgres::session::Session;
use crate::row::{fetch as fetch_of, fetch_attempt};

pub(super) async fn account(
    session: &Session,
    tenant: TenantId,
    id: AccountId,
) -> Result<Option<Account>, StoreError> {
    let sql = concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts WHERE id = $1 AND tenant = $2"
    );
    let row = session
        .query_opt(sql, &[&id.uuid(), &tenant.uuid()])
        .await?;
    row.as_ref().map(columns::account).transpose()
}

pub(super) async fn accounts(
    session: &Session,
    tenant: TenantId,
    external_id: Option<&str>,
    before: Option<AccountId>,
    limit: usize,
) -> Result<Vec<Account>, StoreError> {
    let all = concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts WHERE tenant = $1 AND id < $2 ORDER BY tenant DESC, id DESC LIMIT $3"
    );
    let named = concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts WHERE tenant = $1 AND id < $2 AND external_id = $4 \
         ORDER BY tenant DESC, external_id DESC, id DESC LIMIT $3"
    );
    let (tenant, limit) = (tenant.uuid(), count(limit));
    let before = before.map_or_else(Uuid::max, |id| id.uuid());
    let rows = match external_id.map(text) {
        None => session.query(all, &[&tenant, &before, &limit]).await?,
        Some(name) => {
            session
                .query(named, &[&tenant, &before, &limit, &name])
                .await?
        }
    };
    rows.iter().map(columns::account).collect()
}

pub(super) async fn connection(
    session: &Session,
    tenant: TenantId,
    id: ConnectionId,
) -> Result<Option<Connection>, StoreError> {
    let sql = concat!(
        "SELECT ",
        connection_columns!(),
        " FROM connections WHERE id = $1 AND tenant = $2"
    );
    let row = session
        .query_opt(sql, &[&id.uuid(), &tenant.uuid()])
        .await?;
    row.as_ref().map(columns::connection).transpose()
}

pub(super) async fn connections(
    session: &Session,
    (tenant, account): (TenantId, AccountId),
    before: Option<ConnectionId>,
    limit: usize,
) -> Result<Vec<Connection>, StoreError> {
    let sql = concat!(
        "SELECT ",
        connection_columns!(),
        " FROM connections WHERE account = $1 AND id < $2 AND tenant = $3 \
         ORDER BY account DESC, id DESC LIMIT $4"
    );
    let before = before.map_or_else(Uuid::max, |id| id.uuid());
    let (account, tenant, limit) = (account.uuid(), tenant.uuid(), count(limit));
    let rows = session
        .query(sql, &[&account, &before, &tenant, &limit])
        .await?;
    rows.iter().map(columns::connection).collect()
}

pub(super) async fn interactions(
    session: &Session,
    connection: ConnectionId,
    limit: usize,
) -> Result<Vec<InteractionView>, StoreError> {
    let sql = concat!(
        "SELECT ",
        interaction_columns!(),
        " FROM interactions WHERE connection = $1 ORDER BY connection DESC, id DESC LIMIT $2"
    );
    let rows = session
        .query(sql, &[&connection.uuid(), &count(limit)])
        .await?;
    rows.iter().map(columns::interaction).collect()
}

pub(super) async fn interaction(
    session: &Session,
    connection: ConnectionId,
    id: InteractionId,
) -> Result<Option<InteractionView>, StoreError> {
    let sql = concat!(
        "SELECT ",
        interaction_columns!(),
        " FROM interactions WHERE id = $1 AND connection = $2"
    );
    let row = session
        .query_opt(sql, &[&id.uuid(), &connection.uuid()])
        .await?;
    row.as_ref().map(columns::interaction).transpose()
}

pub(super) async fn fetches(
    session: &Session,
    connection: ConnectionId,
    before: Option<FetchId>,
    limit: usize,
) -> Result<Vec<FetchRecord>, StoreError> {
    let sql = "SELECT id, ended_at, body FROM fetches WHERE connection = $1 AND id < $2 \
               ORDER BY connection DESC, id DESC LIMIT $3";
    let before = before.map_or_else(Uuid::max, |id| id.uuid());
    let rows = session
        .query(sql, &[&connection.uuid(), &before, &count(limit)])
        .await?;
    let read = |row| record(&Fields::new("fetches", row), connection);
    rows.iter().map(read).collect()
}

pub(super) async fn fetch(
    session: &Session,
    connection: ConnectionId,
    id: FetchId,
) -> Result<Option<FetchView>, StoreError> {
    let sql = "SELECT id, ended_at, body FROM fetches WHERE id = $1 AND connection = $2";
    let row = session
        .query_opt(sql, &[&id.uuid(), &connection.uuid()])
        .await?;
    let Some(row) = row else { return Ok(None) };
    let sql = "SELECT number, at, duration_ms, next_at, documents, records, error \
               FROM fetch_attempts WHERE fetch_id = $1 ORDER BY number";
    let rows = session.query(sql, &[&id.uuid()]).await?;
    let read = |row| {
        let fields = Fields::new("fetch_attempts", row);
        let times = (
            fields.get("at")?,
            fields.get("duration_ms")?,
            fields.get("next_at")?,
        );
        let counts = (fields.version("documents")?, fields.version("records")?);
        let error = fields.get("error")?;
        fetch_attempt(id, fields.small("number")?, times, counts, error)
    };
    Ok(Some(FetchView {
        record: record(&Fields::new("fetches", &row), connection)?,
        attempts: rows.iter().map(read).collect::<Result<_, StoreError>>()?,
    }))
}

fn record(fields: &Fields<'_>, connection: ConnectionId) -> Result<FetchRecord, StoreError> {
    let id = FetchId::from_bytes(fields.uuid("id")?);
    fetch_of(id, connection, fields.get("ended_at")?, fields.get("body")?)
}
