//! Accounts and connections, and what hangs on them.

use rusqlite::{Connection, Row, params};
use wellspring_core::connection::{Connection as Aggregate, FetchRecord, Slot};
use wellspring_core::{
    Account, AccountId, ConnectionId, FetchId, InteractionId, Sealed, Stored, TenantId, Timestamp,
};
use wellspring_engine::{FetchView, InteractionView, RunInputs, StoreError};

use super::{decoded, decoded_one, rows};
use crate::row;

pub(super) fn load_account(
    connection: &Connection,
    id: AccountId,
) -> Result<Option<Account>, StoreError> {
    let sql = format!("SELECT {ACCOUNT} FROM accounts WHERE id = ?1");
    decoded_one(connection, &sql, [id.as_bytes()], account)
}

pub(super) fn accounts(
    connection: &Connection,
    tenant: TenantId,
    external_id: Option<&str>,
    before: Option<AccountId>,
    limit: usize,
) -> Result<Vec<Account>, StoreError> {
    let named = external_id.map_or("", |_| "AND external_id = ?4");
    let sql = format!(
        "SELECT {ACCOUNT} FROM accounts WHERE tenant = ?1 AND id < ?2 {named} ORDER BY id DESC LIMIT ?3"
    );
    let before = before.map_or([255; 16], |id| *id.as_bytes());
    let tenant = tenant.as_bytes();
    match external_id {
        Some(name) => decoded(
            connection,
            &sql,
            params![tenant, before, limit, name],
            account,
        ),
        None => decoded(connection, &sql, params![tenant, before, limit], account),
    }
}

pub(super) fn load(
    connection: &Connection,
    id: ConnectionId,
) -> Result<Option<Aggregate>, StoreError> {
    let sql = format!("SELECT {CONNECTION} FROM connections WHERE id = ?1");
    decoded_one(connection, &sql, [id.as_bytes()], aggregate)
}

pub(super) fn connections(
    connection: &Connection,
    tenant: TenantId,
    account: AccountId,
    before: Option<ConnectionId>,
    limit: usize,
) -> Result<Vec<Aggregate>, StoreError> {
    let sql = format!(
        "SELECT {CONNECTION} FROM connections WHERE account = ?1 AND tenant = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
    );
    let before = before.map_or([255; 16], |id| *id.as_bytes());
    let of = params![account.as_bytes(), tenant.as_bytes(), before, limit];
    decoded(connection, &sql, of, aggregate)
}

pub(in crate::sqlite) fn children(
    connection: &Connection,
    account: AccountId,
    limit: usize,
) -> Result<Vec<ConnectionId>, StoreError> {
    let sql = "SELECT id FROM connections WHERE account = ?1 ORDER BY id LIMIT ?2";
    rows(connection, sql, params![account.as_bytes(), limit], |row| {
        Ok(ConnectionId::from_bytes(row.get(0)?))
    })
}

pub(in crate::sqlite) fn run_inputs(
    connection: &Connection,
    id: ConnectionId,
) -> Result<RunInputs, StoreError> {
    // One snapshot: an answer belongs to the question that it was given to.
    let connection = connection
        .unchecked_transaction()
        .map_err(|error| crate::sqlite::unavailable(&error))?;
    let sql = "SELECT slot, sealed FROM secrets WHERE connection = ?1";
    let secrets = rows(&connection, sql, [id.as_bytes()], |row| {
        let sealed: Vec<u8> = row.get(1)?;
        Ok((row.get::<_, u8>(0)?, Sealed::new(sealed)))
    })?;
    let secret = |slot: Slot| {
        let mut secrets = secrets.iter();
        let found = secrets.find(|(kept, _)| *kept == slot.code());
        found.map(|(_, sealed)| sealed.clone())
    };
    let sql = "SELECT stream, cursor FROM stream_cursors WHERE connection = ?1";
    let cursors = rows(&connection, sql, [id.as_bytes()], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(RunInputs {
        credentials: secret(Slot::Credentials),
        resume: secret(Slot::Resume),
        answer: secret(Slot::Answer),
        cursors: cursors.into_iter().collect(),
    })
}

pub(super) fn interactions(
    connection: &Connection,
    of: ConnectionId,
    limit: usize,
) -> Result<Vec<InteractionView>, StoreError> {
    let sql = format!(
        "SELECT {INTERACTION} FROM interactions WHERE connection = ?1 ORDER BY id DESC LIMIT ?2"
    );
    decoded(connection, &sql, params![of.as_bytes(), limit], interaction)
}

pub(super) fn load_interaction(
    connection: &Connection,
    of: ConnectionId,
    id: InteractionId,
) -> Result<Option<InteractionView>, StoreError> {
    let sql = format!("SELECT {INTERACTION} FROM interactions WHERE connection = ?1 AND id = ?2");
    let place = params![of.as_bytes(), id.as_bytes()];
    decoded_one(connection, &sql, place, interaction)
}

pub(super) fn fetches(
    connection: &Connection,
    of: ConnectionId,
    before: Option<FetchId>,
    limit: usize,
) -> Result<Vec<FetchRecord>, StoreError> {
    let sql = format!(
        "SELECT {FETCH} FROM fetches WHERE connection = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"
    );
    let before = before.map_or([255; 16], |id| *id.as_bytes());
    decoded(
        connection,
        &sql,
        params![of.as_bytes(), before, limit],
        fetch,
    )
}

pub(super) fn load_fetch(
    connection: &Connection,
    of: ConnectionId,
    id: FetchId,
) -> Result<Option<FetchView>, StoreError> {
    let connection = connection
        .unchecked_transaction()
        .map_err(|error| crate::sqlite::unavailable(&error))?;
    let sql = format!("SELECT {FETCH} FROM fetches WHERE id = ?1 AND connection = ?2");
    let place = params![id.as_bytes(), of.as_bytes()];
    let Some(record) = decoded_one(&connection, &sql, place, fetch)? else {
        return Ok(None);
    };
    let sql = "SELECT number, at, duration_ms, next_at, documents, records, error FROM fetch_attempts WHERE fetch = ?1 ORDER BY number";
    let attempts = decoded(&connection, sql, [id.as_bytes()], |row| {
        let error: Option<String> = row.get(6)?;
        let times = (row.get(1)?, row.get(2)?, row.get(3)?);
        let counts = (row.get(4)?, row.get(5)?);
        let attempt = row::fetch_attempt(id, row.get(0)?, times, counts, error.as_deref());
        Ok(attempt)
    })?;
    Ok(Some(FetchView { record, attempts }))
}

type Decoded<T> = rusqlite::Result<Result<T, StoreError>>;

fn account(row: &Row<'_>) -> Decoded<Account> {
    let account = Account {
        id: AccountId::from_bytes(row.get(0)?),
        tenant: TenantId::from_bytes(row.get(1)?),
        external_id: row.get(2)?,
        created_at: Timestamp::from_millis(row.get(3)?),
        version: row.get(4)?,
        erasing: None,
    };
    Ok(row::account(account, (row.get(5)?, row.get(6)?)))
}

fn aggregate(row: &Row<'_>) -> Decoded<Aggregate> {
    let ids = (
        ConnectionId::from_bytes(row.get(0)?),
        AccountId::from_bytes(row.get(1)?),
        TenantId::from_bytes(row.get(2)?),
    );
    let source: String = row.get(3)?;
    let body: String = row.get(5)?;
    Ok(row::connection(ids, &source, row.get(4)?, &body))
}

fn interaction(row: &Row<'_>) -> Decoded<InteractionView> {
    let id = InteractionId::from_bytes(row.get(0)?);
    let question: String = row.get(6)?;
    let closed = row::closed(id, row.get(4)?, row.get(5)?);
    let (connection, created_at) = (row.get(1)?, row.get(2)?);
    let expires_at: Option<i64> = row.get(3)?;
    let hash = row.get(7)?;
    let view = |question, closed| InteractionView {
        id,
        connection: ConnectionId::from_bytes(connection),
        question,
        created_at: Timestamp::from_millis(created_at),
        expires_at: expires_at.map(Timestamp::from_millis),
        closed,
        hash,
    };
    Ok(row::question(id, &question).and_then(|question| Ok(view(question, closed?))))
}

fn fetch(row: &Row<'_>) -> Decoded<FetchRecord> {
    let id = FetchId::from_bytes(row.get(0)?);
    let connection = ConnectionId::from_bytes(row.get(1)?);
    let body: String = row.get(3)?;
    Ok(row::fetch(id, connection, row.get(2)?, &body))
}

const ACCOUNT: &str = "id, tenant, external_id, created_at, version, erasing_at, erasing_by";
const CONNECTION: &str = "id, account, tenant, source, version, body";
const INTERACTION: &str =
    "id, connection, created_at, expires_at, reason, closed_at, question, hash";
const FETCH: &str = "id, connection, ended_at, body";
