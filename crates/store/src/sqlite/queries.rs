//! Reads: for the driver, and for the API.

use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use wellspring_core::connection::FetchRecord;
use wellspring_core::reliability::{Day, FetchTally};
use wellspring_core::source::Source;
use wellspring_core::{
    Account, AccountId, Alert, AlertId, CollectionId, CollectionStatus, ConnectionId, Document,
    DocumentId, FetchId, Incident, IncidentId, InteractionId, Lane, Shard, SourceName,
    SubscriptionId, TenantId, Timestamp, UnclassifiedId,
};
use wellspring_engine::{
    Aggregate, AlertFilter, ChangesPage, CollectionPage, CollectionView, Cursor, CursorError,
    DeliveryFilter, DeliveryRow, DeliveryView, FetchScope, FetchView, InboxRow, IncidentFilter,
    InteractionView, KeyRow, Live, Loaded, LogEntry, Queries, StoreError, UnclassifiedView,
};

use super::{SqliteStore, unavailable};
use crate::row::{aggregate, aggregate_parts, live_account, live_connection};

mod alert;
mod budget;
mod collection;
mod connection;
mod delivery;
mod document;
mod log;
mod source;
mod statistics;
mod unclassified;

pub(super) use connection::{children, run_inputs};
pub(super) use delivery::{dispatch_state, subscription_state};
pub(super) use document::garbage;
pub(super) use log::slice;

impl Queries for SqliteStore {
    fn collection(
        &self,
        tenant: TenantId,
        id: CollectionId,
    ) -> BoxFuture<'_, Result<Option<CollectionView>, StoreError>> {
        Box::pin(self.read(move |connection| collection::view(connection, tenant, id)))
    }

    fn collections(
        &self,
        tenant: TenantId,
        status: Option<CollectionStatus>,
        before: Option<CollectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<CollectionPage, StoreError>> {
        Box::pin(
            self.read(move |connection| {
                collection::page(connection, tenant, status, before, limit)
            }),
        )
    }

    fn head(&self) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        Box::pin(self.read(|connection| {
            let (life, next_seq) = log::log_state(connection)?;
            Ok(Cursor {
                life,
                seen: [(Shard(0), next_seq - 1)].into_iter().collect(),
            })
        }))
    }

    fn changes(
        &self,
        tenant: TenantId,
        cursor: Cursor,
        limit: usize,
    ) -> BoxFuture<'_, Result<ChangesPage, CursorError>> {
        Box::pin(async move {
            let page = self
                .read(move |connection| Ok(log::changes(connection, tenant, &cursor, limit)))
                .await;
            page.unwrap_or_else(|error| Err(CursorError::Store(error)))
        })
    }

    fn account(
        &self,
        tenant: TenantId,
        id: AccountId,
    ) -> BoxFuture<'_, Result<Option<Account>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let account = connection::load_account(connection, id)?;
            Ok(account.filter(|account| account.tenant == tenant))
        }))
    }

    fn accounts(
        &self,
        tenant: TenantId,
        external_id: Option<String>,
        before: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Account>, StoreError>> {
        Box::pin(self.read(move |connection| {
            connection::accounts(connection, tenant, external_id.as_deref(), before, limit)
        }))
    }

    fn connection(
        &self,
        tenant: TenantId,
        id: ConnectionId,
    ) -> BoxFuture<'_, Result<Option<wellspring_core::Connection>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let found = connection::load(connection, id)?;
            Ok(found.filter(|found| found.tenant == tenant))
        }))
    }

    fn connections(
        &self,
        tenant: TenantId,
        account: AccountId,
        before: Option<ConnectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<wellspring_core::Connection>, StoreError>> {
        Box::pin(self.read(move |connection| {
            connection::connections(connection, tenant, account, before, limit)
        }))
    }

    fn interactions(
        &self,
        connection: ConnectionId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InteractionView>, StoreError>> {
        let of = connection;
        Box::pin(self.read(move |connection| connection::interactions(connection, of, limit)))
    }

    fn interaction(
        &self,
        connection: ConnectionId,
        id: InteractionId,
    ) -> BoxFuture<'_, Result<Option<InteractionView>, StoreError>> {
        let of = connection;
        Box::pin(self.read(move |connection| connection::load_interaction(connection, of, id)))
    }

    fn fetches(
        &self,
        connection: ConnectionId,
        before: Option<FetchId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<FetchRecord>, StoreError>> {
        let of = connection;
        Box::pin(self.read(move |connection| connection::fetches(connection, of, before, limit)))
    }

    fn fetch(
        &self,
        connection: ConnectionId,
        id: FetchId,
    ) -> BoxFuture<'_, Result<Option<FetchView>, StoreError>> {
        let of = connection;
        Box::pin(self.read(move |connection| connection::load_fetch(connection, of, id)))
    }

    fn fetch_statistics(
        &self,
        tenant: TenantId,
        of: FetchScope,
        since: Day,
    ) -> BoxFuture<'_, Result<Vec<FetchTally>, StoreError>> {
        Box::pin(self.read(move |connection| statistics::tallies(connection, tenant, &of, since)))
    }

    fn documents(
        &self,
        tenant: TenantId,
        of: (Option<AccountId>, Option<ConnectionId>),
        before: Option<DocumentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Document>, StoreError>> {
        Box::pin(
            self.read(move |connection| document::documents(connection, tenant, of, before, limit)),
        )
    }

    fn document(
        &self,
        tenant: TenantId,
        id: DocumentId,
    ) -> BoxFuture<'_, Result<Option<Document>, StoreError>> {
        Box::pin(self.read(move |connection| document::load(connection, tenant, id)))
    }

    fn known_document(
        &self,
        connection: ConnectionId,
        source_id: Option<String>,
        hash: Option<[u8; 32]>,
    ) -> BoxFuture<'_, Result<Option<DocumentId>, StoreError>> {
        let of = connection;
        Box::pin(
            self.read(move |connection| {
                document::known(connection, of, source_id.as_deref(), hash)
            }),
        )
    }

    fn existing_documents(
        &self,
        ids: Vec<DocumentId>,
    ) -> BoxFuture<'_, Result<Vec<DocumentId>, StoreError>> {
        Box::pin(self.read(move |connection| document::existing(connection, ids)))
    }

    fn spenders(
        &self,
        source: SourceName,
        since: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<(TenantId, u64)>, StoreError>> {
        Box::pin(self.read(move |connection| budget::spenders(connection, &source, since)))
    }

    fn alerts(
        &self,
        tenant: TenantId,
        filter: AlertFilter,
        before: Option<AlertId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Alert>, StoreError>> {
        Box::pin(self.read(move |connection| {
            alert::alerts(connection, Some(tenant), &filter, before, limit)
        }))
    }

    fn alert(
        &self,
        tenant: TenantId,
        id: AlertId,
    ) -> BoxFuture<'_, Result<Option<Alert>, StoreError>> {
        Box::pin(self.read(move |connection| alert::load(connection, Some(tenant), id)))
    }

    fn alerts_of_all(
        &self,
        filter: AlertFilter,
        before: Option<AlertId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Alert>, StoreError>> {
        Box::pin(
            self.read(move |connection| alert::alerts(connection, None, &filter, before, limit)),
        )
    }

    fn alert_of_any(&self, id: AlertId) -> BoxFuture<'_, Result<Option<Alert>, StoreError>> {
        Box::pin(self.read(move |connection| alert::load(connection, None, id)))
    }

    fn unclassified(
        &self,
        source: Option<SourceName>,
        before: Option<UnclassifiedId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<UnclassifiedView>, StoreError>> {
        Box::pin(self.read(move |connection| {
            unclassified::unclassified(connection, source.as_ref(), before, limit)
        }))
    }

    fn sources(&self) -> BoxFuture<'_, Result<Vec<Source>, StoreError>> {
        Box::pin(self.read(source::sources))
    }

    fn incidents(
        &self,
        filter: IncidentFilter,
        before: Option<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        Box::pin(self.read(move |connection| source::incidents(connection, &filter, before, limit)))
    }

    fn deliveries(
        &self,
        tenant: TenantId,
        filter: DeliveryFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeliveryRow>, StoreError>> {
        Box::pin(
            self.read(move |connection| delivery::deliveries(connection, tenant, &filter, limit)),
        )
    }

    fn delivery(
        &self,
        tenant: TenantId,
        subscription: SubscriptionId,
        (shard, seq): (Shard, u64),
    ) -> BoxFuture<'_, Result<Option<DeliveryView>, StoreError>> {
        Box::pin(self.read(move |connection| match shard {
            Shard(0) => delivery::load(connection, tenant, subscription, seq),
            Shard(_) => Ok(None),
        }))
    }

    fn entry(
        &self,
        tenant: TenantId,
        (shard, seq): (Shard, u64),
    ) -> BoxFuture<'_, Result<Option<LogEntry>, StoreError>> {
        Box::pin(self.read(move |connection| match shard {
            Shard(0) => log::entry(connection, tenant, seq),
            Shard(_) => Ok(None),
        }))
    }

    fn key(
        &self,
        tenant: TenantId,
        key: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<KeyRow>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT fingerprint, kind, id, at FROM idempotency_keys WHERE tenant = ?1 AND key = ?2";
            decoded_one(connection, sql, (tenant.as_bytes(), key), |row| {
                let (kind, id) = (row.get(1)?, row.get(2)?);
                let (fingerprint, at) = (row.get(0)?, row.get(3)?);
                let id = aggregate(kind, id).ok_or_else(|| StoreError::Inconsistent {
                    table: "idempotency_keys",
                    column: "kind",
                    row: kind.to_string(),
                });
                Ok(id.map(|id| KeyRow {
                    tenant,
                    key,
                    fingerprint,
                    id,
                    at: Timestamp::from_millis(at),
                }))
            })
        }))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.read(|connection| log::log_state(connection).map(drop)))
    }
}

pub(super) fn scan(
    connection: &Connection,
    after: Option<Aggregate>,
    limit: usize,
) -> Result<Vec<Live>, StoreError> {
    let (kind, id) = after.map_or((0, [0; 16]), aggregate_parts);
    let mut live = Vec::new();
    for (number, sql) in (1..).zip(SCANS) {
        if number < kind || live.len() == limit {
            continue;
        }
        let from = if number == kind { id } else { [0; 16] };
        let page = (from, limit - live.len());
        live.extend(rows(connection, sql, page, |row| {
            let (id, due) = (row.get(0)?, row.get(1)?);
            Ok(match number {
                1 => Live {
                    id: Aggregate::Collection(CollectionId::from_bytes(id)),
                    due: Timestamp::from_millis(due),
                    since: Timestamp::from_millis(row.get(2)?),
                    lane: Lane(row.get::<_, i64>(3)?.cast_unsigned()),
                    tenant: TenantId::from_bytes(row.get::<_, Option<_>>(4)?.unwrap_or_default()),
                    awaited: false,
                },
                2 => {
                    let tenant = TenantId::from_bytes(row.get(2)?);
                    live_account(AccountId::from_bytes(id), tenant, due)
                }
                _ => {
                    let tenant = TenantId::from_bytes(row.get(3)?);
                    let id = (ConnectionId::from_bytes(id), tenant);
                    live_connection(id, due, row.get(2)?, row.get(4)?)
                }
            })
        })?);
    }
    Ok(live)
}

pub(super) fn load(connection: &Connection, ids: &[Aggregate]) -> Result<Vec<Loaded>, StoreError> {
    // One snapshot for all: a row and its payload belong together.
    let transaction = connection
        .unchecked_transaction()
        .map_err(|error| unavailable(&error))?;
    let mut loaded = Vec::with_capacity(ids.len());
    for id in ids {
        loaded.extend(match id {
            Aggregate::Collection(id) => collection::load(&transaction, *id)?
                .map(|found| Loaded::Collection(Box::new(found))),
            Aggregate::Account(id) => {
                connection::load_account(&transaction, *id)?.map(Loaded::Account)
            }
            Aggregate::Connection(id) => connection::load(&transaction, *id)?
                .map(|found| Loaded::Connection(Box::new(found))),
            Aggregate::Source(id) => {
                source::load(&transaction, *id)?.map(|found| Loaded::Source(Box::new(found)))
            }
        });
    }
    Ok(loaded)
}

pub(super) fn inbox(
    connection: &Connection,
    shards: &[Shard],
    limit: usize,
) -> Result<Vec<InboxRow>, StoreError> {
    if !shards.contains(&Shard(0)) {
        return Ok(Vec::new());
    }
    let sql = "SELECT number, request FROM inbox WHERE shard = 0 ORDER BY number LIMIT ?1";
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|error| unavailable(&error))?;
    let rows = statement.query_map([limit], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    });
    let rows: Vec<(i64, String)> = rows
        .and_then(Iterator::collect)
        .map_err(|error| unavailable(&error))?;
    rows.into_iter()
        .map(|(number, text)| crate::row::inbox_row(number, &text))
        .collect()
}

/// Reads all rows of a query.
fn rows<T>(
    connection: &Connection,
    sql: &str,
    of: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|error| unavailable(&error))?;
    let rows = statement.query_map(of, read);
    rows.and_then(Iterator::collect)
        .map_err(|error| unavailable(&error))
}

/// Reads the first row of a query.
fn one<T>(
    connection: &Connection,
    sql: &str,
    of: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    let row = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(of, read).optional());
    row.map_err(|error| unavailable(&error))
}

/// Reads all rows of a query, each of which may not decode.
fn decoded<T>(
    connection: &Connection,
    sql: &str,
    of: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<Result<T, StoreError>>,
) -> Result<Vec<T>, StoreError> {
    rows(connection, sql, of, read)?.into_iter().collect()
}

/// Reads the first row of a query, which may not decode.
fn decoded_one<T>(
    connection: &Connection,
    sql: &str,
    of: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<Result<T, StoreError>>,
) -> Result<Option<T>, StoreError> {
    one(connection, sql, of, read)?.transpose()
}

/// What is live of each kind, in the order of the kinds. Somebody waits for a connection that was
/// made, asked for or answered, and for a fetch under way that says so.
const SCANS: [&str; 3] = [
    "SELECT id, due, since, lane, (SELECT tenant FROM collections WHERE collections.id = hot.id) \
     FROM hot WHERE id > ?1 ORDER BY id LIMIT ?2",
    "SELECT id, erasing_at, tenant FROM accounts WHERE id > ?1 AND erasing_at IS NOT NULL ORDER BY id LIMIT ?2",
    "SELECT id, due, lane, tenant, CASE WHEN state IN (1, 5, 9) THEN 1 \
     WHEN state IN (3, 6) THEN instr(body, '\"present\":true') > 0 ELSE 0 END \
     FROM connections WHERE id > ?1 AND due IS NOT NULL ORDER BY id LIMIT ?2",
];
