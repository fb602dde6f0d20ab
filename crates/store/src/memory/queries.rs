//! Reads for the API.

use std::collections::BTreeMap;
use std::ops::Bound;

use futures_util::future::{BoxFuture, ready};
use serde_json::value::to_raw_value;
use wellspring_core::connection::{Connection, FetchRecord};
use wellspring_core::reliability::{Day, FetchTally};
use wellspring_core::source::Source;
use wellspring_core::{
    Account, AccountId, Alert, AlertId, CollectionId, CollectionStatus, ConnectionId, Document,
    DocumentId, FetchId, Incident, IncidentId, InteractionId, Outcome, Shard, SourceName,
    SubscriptionId, TenantId, Timestamp, UnclassifiedId,
};
use wellspring_engine::{
    AlertFilter, AttemptView, ChangeView, ChangesPage, CollectionPage, CollectionView, Cursor,
    CursorError, DeliveryFilter, DeliveryRow, DeliveryView, Entry, FetchScope, FetchView,
    IncidentFilter, InteractionView, KeyRow, LogEntry, Queries, StoreError, UnclassifiedView,
};

use super::dispatch::log_entry;
use super::{Image, MemoryStore};
use crate::row::{TallyPlace, TallySums, tally};

impl Queries for MemoryStore {
    fn collection(
        &self,
        tenant: TenantId,
        id: CollectionId,
    ) -> BoxFuture<'_, Result<Option<CollectionView>, StoreError>> {
        Box::pin(ready(self.image().view(tenant, id)))
    }

    fn collections(
        &self,
        tenant: TenantId,
        status: Option<CollectionStatus>,
        before: Option<CollectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<CollectionPage, StoreError>> {
        Box::pin(ready(self.image().page(tenant, status, before, limit)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        let image = self.image();
        let seen = image
            .shards
            .iter()
            .map(|(shard, row)| (*shard, row.next_seq - 1))
            .collect();
        Box::pin(ready(Ok(Cursor {
            life: image.life,
            seen,
        })))
    }

    fn changes(
        &self,
        tenant: TenantId,
        cursor: Cursor,
        limit: usize,
    ) -> BoxFuture<'_, Result<ChangesPage, CursorError>> {
        Box::pin(ready(self.image().changes(tenant, &cursor, limit)))
    }

    fn account(
        &self,
        tenant: TenantId,
        id: AccountId,
    ) -> BoxFuture<'_, Result<Option<Account>, StoreError>> {
        let image = self.image();
        let account = image.accounts.get(&id);
        let account = account.filter(|account| account.tenant == tenant);
        Box::pin(ready(Ok(account.cloned())))
    }

    fn accounts(
        &self,
        tenant: TenantId,
        external_id: Option<String>,
        before: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Account>, StoreError>> {
        let image = self.image();
        let wanted = |account: &&Account| {
            account.tenant == tenant
                && (external_id.is_none() || account.external_id == external_id)
                && before.is_none_or(|before| account.id < before)
        };
        let rows = image.accounts.values().rev().filter(wanted).take(limit);
        Box::pin(ready(Ok(rows.cloned().collect())))
    }

    fn connection(
        &self,
        tenant: TenantId,
        id: ConnectionId,
    ) -> BoxFuture<'_, Result<Option<Connection>, StoreError>> {
        let image = self.image();
        let connection = image.connections.get(&id);
        let connection = connection.filter(|connection| connection.tenant == tenant);
        Box::pin(ready(Ok(connection.cloned())))
    }

    fn connections(
        &self,
        tenant: TenantId,
        account: AccountId,
        before: Option<ConnectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Connection>, StoreError>> {
        let image = self.image();
        let wanted = |connection: &&Connection| {
            (connection.tenant, connection.account) == (tenant, account)
                && before.is_none_or(|before| connection.id < before)
        };
        let rows = image.connections.values().rev().filter(wanted).take(limit);
        Box::pin(ready(Ok(rows.cloned().collect())))
    }

    fn interactions(
        &self,
        connection: ConnectionId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InteractionView>, StoreError>> {
        let image = self.image();
        let rows = image.interactions.values().rev();
        let rows = rows.filter(|row| row.connection == connection).take(limit);
        Box::pin(ready(Ok(rows.cloned().collect())))
    }

    fn interaction(
        &self,
        connection: ConnectionId,
        id: InteractionId,
    ) -> BoxFuture<'_, Result<Option<InteractionView>, StoreError>> {
        let row = self.image().interactions.get(&(connection, id)).cloned();
        Box::pin(ready(Ok(row)))
    }

    fn fetches(
        &self,
        connection: ConnectionId,
        before: Option<FetchId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<FetchRecord>, StoreError>> {
        let image = self.image();
        let rows = image.fetches.values().rev();
        let rows = rows
            .filter(|row| row.connection == connection)
            .filter(|row| before.is_none_or(|before| row.id < before));
        Box::pin(ready(Ok(rows.take(limit).cloned().collect())))
    }

    fn fetch(
        &self,
        connection: ConnectionId,
        id: FetchId,
    ) -> BoxFuture<'_, Result<Option<FetchView>, StoreError>> {
        let image = self.image();
        let record = image.fetches.get(&(connection, id)).cloned();
        let place = |number| (connection, id, number);
        let attempts = image.fetch_attempts.range(place(0)..=place(u16::MAX));
        let attempts = attempts.map(|(_, attempt)| attempt.clone()).collect();
        let view = record.map(|record| FetchView { record, attempts });
        Box::pin(ready(Ok(view)))
    }

    fn fetch_statistics(
        &self,
        tenant: TenantId,
        of: FetchScope,
        since: Day,
    ) -> BoxFuture<'_, Result<Vec<FetchTally>, StoreError>> {
        let image = self.image();
        let mut sums: BTreeMap<TallyPlace, TallySums> = BTreeMap::new();
        for ((connection, place), (owner, source, more)) in &image.tallies {
            let is_of = match &of {
                FetchScope::Account(account) => image
                    .connections
                    .get(connection)
                    .is_some_and(|connection| connection.account == *account),
                FetchScope::Connection(id) => id == connection,
                FetchScope::Source(name) => name == source,
            };
            if *owner == tenant && is_of && place.0 >= since.0 {
                let have = sums.entry(*place).or_default();
                for (have, more) in have.iter_mut().zip(more) {
                    *have = have.saturating_add(*more);
                }
            }
        }
        let tallies = sums.into_iter().map(|(place, sums)| tally(place, sums));
        Box::pin(ready(tallies.collect()))
    }

    fn documents(
        &self,
        tenant: TenantId,
        (account, connection): (Option<AccountId>, Option<ConnectionId>),
        before: Option<DocumentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Document>, StoreError>> {
        let image = self.image();
        let wanted = |document: &&Document| {
            document.tenant == tenant
                && account.is_none_or(|account| document.account == account)
                && connection.is_none_or(|connection| document.connection == connection)
                && before.is_none_or(|before| document.id < before)
        };
        let rows = image.documents.values().rev().filter(wanted).take(limit);
        Box::pin(ready(Ok(rows.cloned().collect())))
    }

    fn document(
        &self,
        tenant: TenantId,
        id: DocumentId,
    ) -> BoxFuture<'_, Result<Option<Document>, StoreError>> {
        let image = self.image();
        let document = image.documents.get(&id);
        let document = document.filter(|document| document.tenant == tenant);
        Box::pin(ready(Ok(document.cloned())))
    }

    fn known_document(
        &self,
        connection: ConnectionId,
        source_id: Option<String>,
        hash: Option<[u8; 32]>,
    ) -> BoxFuture<'_, Result<Option<DocumentId>, StoreError>> {
        let image = self.image();
        let mut rows = image.documents.values();
        let known = rows.find(|row| {
            let same = match &source_id {
                Some(_) => row.source_id == source_id,
                None => Some(row.hash) == hash,
            };
            row.connection == connection && same
        });
        Box::pin(ready(Ok(known.map(|row| row.id))))
    }

    fn existing_documents(
        &self,
        ids: Vec<DocumentId>,
    ) -> BoxFuture<'_, Result<Vec<DocumentId>, StoreError>> {
        let image = self.image();
        let known = |id: &DocumentId| image.documents.contains_key(id);
        Box::pin(ready(Ok(ids.into_iter().filter(known).collect())))
    }

    fn spenders(
        &self,
        source: SourceName,
        since: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<(TenantId, u64)>, StoreError>> {
        let sums = self.image().spenders(&source, since);
        Box::pin(ready(Ok(sums)))
    }

    fn alerts(
        &self,
        tenant: TenantId,
        filter: AlertFilter,
        before: Option<AlertId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Alert>, StoreError>> {
        let rows = self
            .image()
            .listed_alerts(Some(tenant), &filter, before, limit);
        Box::pin(ready(Ok(rows)))
    }

    fn alert(
        &self,
        tenant: TenantId,
        id: AlertId,
    ) -> BoxFuture<'_, Result<Option<Alert>, StoreError>> {
        let alert = self.image().alerts.get(&id).cloned();
        Box::pin(ready(Ok(alert.filter(|alert| alert.tenant == tenant))))
    }

    fn alerts_of_all(
        &self,
        filter: AlertFilter,
        before: Option<AlertId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Alert>, StoreError>> {
        let rows = self.image().listed_alerts(None, &filter, before, limit);
        Box::pin(ready(Ok(rows)))
    }

    fn alert_of_any(&self, id: AlertId) -> BoxFuture<'_, Result<Option<Alert>, StoreError>> {
        let alert = self.image().alerts.get(&id).cloned();
        Box::pin(ready(Ok(alert)))
    }

    fn unclassified(
        &self,
        source: Option<SourceName>,
        before: Option<UnclassifiedId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<UnclassifiedView>, StoreError>> {
        let image = self.image();
        let rows = image.listed_unclassified(source.as_ref(), before, limit);
        Box::pin(ready(Ok(rows)))
    }

    fn sources(&self) -> BoxFuture<'_, Result<Vec<Source>, StoreError>> {
        let sources = self.image().sources.values().cloned().collect();
        Box::pin(ready(Ok(sources)))
    }

    fn incidents(
        &self,
        filter: IncidentFilter,
        before: Option<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        let rows = self.image().listed_incidents(&filter, before, limit);
        Box::pin(ready(Ok(rows)))
    }

    fn deliveries(
        &self,
        tenant: TenantId,
        filter: DeliveryFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeliveryRow>, StoreError>> {
        let image = self.image();
        let place = |row: &DeliveryRow| (row.created_at, row.shard, row.seq);
        let wanted = |row: &&DeliveryRow| {
            let of = filter.subscription;
            row.tenant == tenant
                && of.is_none_or(|of| row.subscription == of)
                && filter.status.is_none_or(|status| row.status == status)
                && filter.before.is_none_or(|before| place(row) < before)
        };
        let rows = image.deliveries.values().filter(wanted);
        let mut rows: Vec<DeliveryRow> = rows.cloned().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((place(row), row.subscription)));
        rows.truncate(limit);
        Box::pin(ready(Ok(rows)))
    }

    fn delivery(
        &self,
        tenant: TenantId,
        subscription: SubscriptionId,
        (shard, seq): (Shard, u64),
    ) -> BoxFuture<'_, Result<Option<DeliveryView>, StoreError>> {
        let image = self.image();
        let row = image.deliveries.get(&(subscription, shard, seq));
        let row = row.filter(|row| row.tenant == tenant).cloned();
        let place = |number| (subscription, shard, seq, number);
        let attempts = image.delivery_attempts.range(place(0)..=place(u16::MAX));
        let attempts = attempts.map(|(_, attempt)| attempt.clone()).collect();
        let view = row.map(|row| DeliveryView { row, attempts });
        Box::pin(ready(Ok(view)))
    }

    fn entry(
        &self,
        tenant: TenantId,
        (shard, seq): (Shard, u64),
    ) -> BoxFuture<'_, Result<Option<LogEntry>, StoreError>> {
        let image = self.image();
        let entry = image.log.get(&(shard, seq));
        let entry = entry.filter(|entry| entry.tenant == tenant);
        let entry = entry.map(|entry| log_entry(shard, seq, entry));
        Box::pin(ready(Ok(entry)))
    }

    fn key(
        &self,
        tenant: TenantId,
        key: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<KeyRow>, StoreError>> {
        Box::pin(ready(Ok(self.image().keys.get(&(tenant, key)).cloned())))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }
}

impl Image {
    fn view(
        &self,
        tenant: TenantId,
        id: CollectionId,
    ) -> Result<Option<CollectionView>, StoreError> {
        let Some(cold) = self.cold.get(&id).filter(|cold| cold.tenant == tenant) else {
            return Ok(None);
        };
        let attempts = self
            .attempts
            .range((id, 0)..=(id, u32::MAX))
            .map(|(_, attempt)| AttemptView {
                stage: attempt.stage,
                at: attempt.at,
                duration: attempt.duration,
                error: match &attempt.outcome {
                    Outcome::Succeeded => None,
                    Outcome::Failed(error) => Some(error.clone()),
                },
            });
        cold.view(self.hot.get(&id), attempts.collect()).map(Some)
    }

    fn page(
        &self,
        tenant: TenantId,
        status: Option<CollectionStatus>,
        before: Option<CollectionId>,
        limit: usize,
    ) -> Result<CollectionPage, StoreError> {
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = Vec::new();
        for (id, cold) in self.cold.range((Bound::Unbounded, end)).rev() {
            if cold.tenant != tenant {
                continue;
            }
            let view = cold.view(self.hot.get(id), Vec::new())?;
            if status.is_some_and(|wanted| wanted != view.status) {
                continue;
            }
            rows.push(view);
            if rows.len() == limit {
                return Ok(CollectionPage {
                    rows,
                    next: Some(*id),
                });
            }
        }
        Ok(CollectionPage { rows, next: None })
    }

    fn changes(
        &self,
        tenant: TenantId,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<ChangesPage, CursorError> {
        if cursor.life != self.life {
            return Err(CursorError::Unknown);
        }
        let mut next = BTreeMap::new();
        let mut entries = Vec::new();
        let (mut left, mut has_more) = (limit, false);
        for (shard, row) in &self.shards {
            let seen = cursor.seen(*shard);
            if seen >= row.next_seq {
                return Err(CursorError::Unknown);
            }
            let floor = self
                .floors
                .get(&(*shard, tenant))
                .filter(|_| cursor.seen.contains_key(shard));
            if floor.is_some_and(|floor| *floor > seen) {
                return Err(CursorError::Expired);
            }
            // A shard that was not reached stays as it was in the cursor, begun or not.
            if left > 0 || cursor.seen.contains_key(shard) {
                next.insert(*shard, seen);
            }
            for ((_, seq), entry) in self.log.range((*shard, seen + 1)..=(*shard, u64::MAX)) {
                if left == 0 {
                    has_more = true;
                    break;
                }
                left -= 1;
                next.insert(*shard, *seq);
                if entry.tenant == tenant {
                    entries.push(view(*shard, *seq, entry));
                }
            }
        }
        entries.sort_by_key(|entry| (entry.at, entry.shard, entry.seq));
        Ok(ChangesPage {
            entries,
            next: Cursor {
                life: self.life,
                seen: next,
            },
            has_more,
        })
    }
}

pub(super) fn view(shard: Shard, seq: u64, entry: &Entry) -> ChangeView {
    let change = &entry.change;
    let (key, property) = change.subject.to_parts();
    ChangeView {
        shard,
        seq,
        at: entry.at,
        verb: change.verb,
        path: wellspring_core::Subject::path_of(&key, property).unwrap_or_default(),
        event: change.event.map(|event| event.as_str().to_owned()),
        actor: change.actor.to_string(),
        cause: change.cause.as_str().to_owned(),
        body: to_raw_value(&change.body).unwrap_or_default(),
    }
}
