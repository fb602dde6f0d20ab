//! Reads for the API.

use futures_util::future::BoxFuture;
use wellspring_core::connection::FetchRecord;
use wellspring_core::reliability::{Day, FetchTally};
use wellspring_core::source::Source;
use wellspring_core::{
    Account, AccountId, Alert, AlertId, CollectionId, CollectionStatus, Connection, ConnectionId,
    Document, DocumentId, FetchId, Incident, IncidentId, InteractionId, Shard, SourceName,
    SubscriptionId, TenantId, Timestamp, UnclassifiedId,
};
use wellspring_engine::{
    AlertFilter, ChangesPage, CollectionPage, CollectionView, Cursor, CursorError, DeliveryFilter,
    DeliveryRow, DeliveryView, FetchScope, FetchView, IncidentFilter, InteractionView, KeyRow,
    LogEntry, Queries, StoreError, UnclassifiedView,
};

use super::columns::Fields;
use super::{PostgresStore, log};
use crate::row::aggregate;

mod account;
mod alert;
mod budget;
mod collection;
mod delivery;
mod document;
mod source;
mod statistics;
mod unclassified;

impl Queries for PostgresStore {
    fn collection(
        &self,
        tenant: TenantId,
        id: CollectionId,
    ) -> BoxFuture<'_, Result<Option<CollectionView>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let view = collection::collection(&session, tenant, id).await?;
            session.keep();
            Ok(view)
        })
    }

    fn collections(
        &self,
        tenant: TenantId,
        status: Option<CollectionStatus>,
        before: Option<CollectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<CollectionPage, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let stretch = self.shared.options.stretch;
            let limits = (limit, stretch);
            let page = collection::page(&session, tenant, status, before, limits).await?;
            session.keep();
            Ok(page)
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        self.within(async {
            let session = self.pool().get().await?;
            let head = log::head(&session).await?;
            session.keep();
            Ok(head)
        })
    }

    fn changes(
        &self,
        tenant: TenantId,
        cursor: Cursor,
        limit: usize,
    ) -> BoxFuture<'_, Result<ChangesPage, CursorError>> {
        let page = self.within(async move {
            let session = self.pool().get().await?;
            let page = log::changes(&session, tenant, &cursor, limit).await?;
            session.keep();
            Ok(page)
        });
        Box::pin(async move {
            page.await
                .unwrap_or_else(|error| Err(CursorError::Store(error)))
        })
    }

    fn account(
        &self,
        tenant: TenantId,
        id: AccountId,
    ) -> BoxFuture<'_, Result<Option<Account>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let account = account::account(&session, tenant, id).await?;
            session.keep();
            Ok(account)
        })
    }

    fn accounts(
        &self,
        tenant: TenantId,
        external_id: Option<String>,
        before: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Account>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let named = external_id.as_deref();
            let accounts = account::accounts(&session, tenant, named, before, limit).await?;
            session.keep();
            Ok(accounts)
        })
    }

    fn connection(
        &self,
        tenant: TenantId,
        id: ConnectionId,
    ) -> BoxFuture<'_, Result<Option<Connection>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let connection = account::connection(&session, tenant, id).await?;
            session.keep();
            Ok(connection)
        })
    }

    fn connections(
        &self,
        tenant: TenantId,
        account: AccountId,
        before: Option<ConnectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Connection>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let page = account::connections(&session, (tenant, account), before, limit).await?;
            session.keep();
            Ok(page)
        })
    }

    fn interactions(
        &self,
        connection: ConnectionId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InteractionView>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let page = account::interactions(&session, connection, limit).await?;
            session.keep();
            Ok(page)
        })
    }

    fn interaction(
        &self,
        connection: ConnectionId,
        id: InteractionId,
    ) -> BoxFuture<'_, Result<Option<InteractionView>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let view = account::interaction(&session, connection, id).await?;
            session.keep();
            Ok(view)
        })
    }

    fn fetches(
        &self,
        connection: ConnectionId,
        before: Option<FetchId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<FetchRecord>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let page = account::fetches(&session, connection, before, limit).await?;
            session.keep();
            Ok(page)
        })
    }

    fn fetch(
        &self,
        connection: ConnectionId,
        id: FetchId,
    ) -> BoxFuture<'_, Result<Option<FetchView>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let view = account::fetch(&session, connection, id).await?;
            session.keep();
            Ok(view)
        })
    }

    fn fetch_statistics(
        &self,
        tenant: TenantId,
        of: FetchScope,
        since: Day,
    ) -> BoxFuture<'_, Result<Vec<FetchTally>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let tallies = statistics::tallies(&session, tenant, &of, since).await?;
            session.keep();
            Ok(tallies)
        })
    }

    fn documents(
        &self,
        tenant: TenantId,
        of: (Option<AccountId>, Option<ConnectionId>),
        before: Option<DocumentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Document>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let page = document::documents(&session, tenant, of, before, limit).await?;
            session.keep();
            Ok(page)
        })
    }

    fn document(
        &self,
        tenant: TenantId,
        id: DocumentId,
    ) -> BoxFuture<'_, Result<Option<Document>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let document = document::document(&session, tenant, id).await?;
            session.keep();
            Ok(document)
        })
    }

    fn known_document(
        &self,
        connection: ConnectionId,
        source_id: Option<String>,
        hash: Option<[u8; 32]>,
    ) -> BoxFuture<'_, Result<Option<DocumentId>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let source_id = source_id.as_deref();
            let known = document::known(&session, connection, source_id, hash).await?;
            session.keep();
            Ok(known)
        })
    }

    fn existing_documents(
        &self,
        ids: Vec<DocumentId>,
    ) -> BoxFuture<'_, Result<Vec<DocumentId>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let existing = document::existing(&session, &ids).await?;
            session.keep();
            Ok(existing)
        })
    }

    fn spenders(
        &self,
        source: SourceName,
        since: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<(TenantId, u64)>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sums = budget::spenders(&session, &source, since).await?;
            session.keep();
            Ok(sums)
        })
    }

    fn alerts(
        &self,
        tenant: TenantId,
        filter: AlertFilter,
        before: Option<AlertId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Alert>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let page = alert::alerts(&session, tenant, &filter, before, limit).await?;
            session.keep();
            Ok(page)
        })
    }

    fn alert(
        &self,
        tenant: TenantId,
        id: AlertId,
    ) -> BoxFuture<'_, Result<Option<Alert>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let alert = alert::alert(&session, Some(tenant), id).await?;
            session.keep();
            Ok(alert)
        })
    }

    fn alerts_of_all(
        &self,
        filter: AlertFilter,
        before: Option<AlertId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Alert>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let page = alert::alerts_of_all(&session, &filter, before, limit).await?;
            session.keep();
            Ok(page)
        })
    }

    fn alert_of_any(&self, id: AlertId) -> BoxFuture<'_, Result<Option<Alert>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let alert = alert::alert(&session, None, id).await?;
            session.keep();
            Ok(alert)
        })
    }

    fn unclassified(
        &self,
        source: Option<SourceName>,
        before: Option<UnclassifiedId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<UnclassifiedView>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let source = source.as_ref();
            let page = unclassified::unclassified(&session, source, before, limit).await?;
            session.keep();
            Ok(page)
        })
    }

    fn sources(&self) -> BoxFuture<'_, Result<Vec<Source>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sources = source::sources(&session).await?;
            session.keep();
            Ok(sources)
        })
    }

    fn incidents(
        &self,
        filter: IncidentFilter,
        before: Option<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let page = source::incidents(&session, &filter, before, limit).await?;
            session.keep();
            Ok(page)
        })
    }

    fn deliveries(
        &self,
        tenant: TenantId,
        filter: DeliveryFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeliveryRow>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let page = delivery::deliveries(&session, tenant, &filter, limit).await?;
            session.keep();
            Ok(page)
        })
    }

    fn delivery(
        &self,
        tenant: TenantId,
        subscription: SubscriptionId,
        place: (Shard, u64),
    ) -> BoxFuture<'_, Result<Option<DeliveryView>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let view = delivery::delivery(&session, tenant, subscription, place).await?;
            session.keep();
            Ok(view)
        })
    }

    fn entry(
        &self,
        tenant: TenantId,
        place: (Shard, u64),
    ) -> BoxFuture<'_, Result<Option<LogEntry>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let entry = log::entry(&session, tenant, place).await?;
            session.keep();
            Ok(entry)
        })
    }

    fn key(
        &self,
        tenant: TenantId,
        key: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<KeyRow>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "SELECT fingerprint, kind, id, at FROM idempotency_keys \
                       WHERE tenant = $1 AND key = $2";
            let row = session
                .query_opt(sql, &[&tenant.uuid(), &key.as_slice()])
                .await?;
            session.keep();
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::new("idempotency_keys", &row);
            Ok(Some(KeyRow {
                tenant,
                key,
                fingerprint: fields.digest("fingerprint")?,
                id: aggregate(fields.code("kind")?, fields.uuid("id")?)
                    .ok_or_else(|| fields.inconsistent("kind"))?,
                at: fields.timestamp("at")?,
            }))
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async {
            let session = self.pool().get().await?;
            session
                .query("SELECT shard FROM shards LIMIT 1", &[])
                .await?;
            session.keep();
            Ok(())
        })
    }
}

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
