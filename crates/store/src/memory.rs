//! Everything in memory: a durable image for the simulator, and for tests that need no file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use wellspring_core::budget::{BudgetName, Ledger, Spent};
use wellspring_core::connection::{self, Connection, FetchRecord, Slot};
use wellspring_core::source::Source;
use wellspring_core::{
    Account, AccountId, Alert, AlertId, ApiKeyId, Attempt, CollectionId, ConnectionId, Document,
    DocumentId, FetchId, IncarnationId, Incident, IncidentId, InteractionId, Sealed, Shard,
    SourceId, SourceName, SubscriptionId, TenantId, Timestamp,
};
use wellspring_engine::{
    Aggregate, Batch, Clock, CommitError, DeliveryAttempt, DeliveryRow, DispatchState, Entry,
    InboxRow, InteractionView, KeyRecord, KeyRow, Lease, Live, Loaded, LogSlice, Membership,
    Position, Record, Request, RunInputs, Store, StoreError, Subscription, SubscriptionState,
    Sweep, Swept, Tenant, TokenRecord, UnclassifiedView,
};

use crate::row::{Cold, Hot, TallyPlace, TallySums};

mod account;
mod alert;
mod budget;
mod commit;
mod directory;
mod dispatch;
mod load;
mod notices;
mod queries;
mod sweep;
mod unclassified;

/// What survives a crash.
#[derive(Debug, Default)]
pub struct Image {
    pub(crate) life: u64,
    pub(crate) nodes: BTreeMap<IncarnationId, Node>,
    pub(crate) shards: BTreeMap<Shard, ShardRow>,
    pub(crate) hot: BTreeMap<CollectionId, Hot>,
    pub(crate) cold: BTreeMap<CollectionId, Cold>,
    pub(crate) payloads: BTreeMap<CollectionId, Bytes>,
    pub(crate) attempts: BTreeMap<(CollectionId, u32), Attempt>,
    pub(crate) log: BTreeMap<(Shard, u64), Entry>,
    pub(crate) floors: BTreeMap<(Shard, TenantId), u64>,
    pub(crate) keys: BTreeMap<(TenantId, [u8; 32]), KeyRow>,
    pub(crate) inbox: BTreeMap<i64, (Shard, Request)>,
    pub(crate) next_inbox: i64,
    pub(crate) tenants: BTreeMap<TenantId, Tenant>,
    pub(crate) api_keys: BTreeMap<ApiKeyId, KeyRecord>,
    pub(crate) meta: BTreeMap<&'static str, String>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) secrets: BTreeMap<(ConnectionId, Slot), Sealed>,
    pub(crate) interactions: BTreeMap<(ConnectionId, InteractionId), InteractionView>,
    pub(crate) fetches: BTreeMap<(ConnectionId, FetchId), FetchRecord>,
    pub(crate) fetch_attempts: BTreeMap<(ConnectionId, FetchId, u16), connection::Attempt>,
    /// By connection and what [`wellspring_core::reliability::FetchTally`] is told apart by.
    pub(crate) tallies: BTreeMap<(ConnectionId, TallyPlace), (TenantId, SourceName, TallySums)>,
    pub(crate) documents: BTreeMap<DocumentId, Document>,
    pub(crate) garbage: BTreeSet<DocumentId>,
    /// By stream and key.
    pub(crate) records: BTreeMap<(ConnectionId, String, String), Record>,
    pub(crate) cursors: BTreeMap<(ConnectionId, String), String>,
    pub(crate) subscriptions: BTreeMap<SubscriptionId, Subscription>,
    pub(crate) dispatched: BTreeMap<Shard, u64>,
    pub(crate) positions: BTreeMap<(Shard, SubscriptionId), Position>,
    pub(crate) deliveries: BTreeMap<(SubscriptionId, Shard, u64), DeliveryRow>,
    pub(crate) delivery_attempts: BTreeMap<(SubscriptionId, Shard, u64, u16), DeliveryAttempt>,
    pub(crate) tokens: BTreeMap<[u8; 32], TokenRecord>,
    pub(crate) told: notices::NoticeTables,
    pub(crate) alerts: BTreeMap<AlertId, Alert>,
    /// By digest.
    pub(crate) unclassified: BTreeMap<[u8; 32], UnclassifiedView>,
    pub(crate) sources: BTreeMap<SourceId, Source>,
    pub(crate) incidents: BTreeMap<IncidentId, Incident>,
    pub(crate) budgets: BTreeMap<BudgetName, Ledger>,
    pub(crate) budget_use: BTreeMap<(SourceName, Timestamp, TenantId), u64>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) expires_at: Timestamp,
    pub(crate) last_batch: u64,
}

#[derive(Debug)]
pub(crate) struct ShardRow {
    pub(crate) owner: Option<IncarnationId>,
    pub(crate) epoch: u64,
    pub(crate) next_seq: u64,
}

/// A handle on an image; several handles are several nodes of one database.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    image: Arc<Mutex<Image>>,
    clock: Arc<dyn Clock>,
    /// How long a node lives without a renewal; `None` where joining proves that all others are dead.
    lease: Option<Duration>,
    shards: u8,
}

impl MemoryStore {
    /// Makes an empty image with `shards` shards; with a `lease` several nodes may share it.
    pub fn new(clock: Arc<dyn Clock>, shards: u8, lease: Option<Duration>) -> Self {
        let image = Image {
            life: 1,
            next_inbox: 1,
            ..Image::default()
        };
        Self {
            image: Arc::new(Mutex::new(image)),
            clock,
            lease,
            shards: shards.clamp(1, Shard::COUNT),
        }
    }

    pub(crate) fn image(&self) -> MutexGuard<'_, Image> {
        self.image
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn expiry(&self) -> Timestamp {
        self.lease
            .map_or(Timestamp::MAX, |lease| self.now().after(lease))
    }
}

impl Image {
    /// Ends an incarnation: nothing of it commits from here on.
    fn fence(&mut self, incarnation: IncarnationId) {
        self.nodes.remove(&incarnation);
        for row in self.shards.values_mut() {
            if row.owner == Some(incarnation) {
                row.owner = None;
                row.epoch += 1;
            }
        }
    }
}

impl Store for MemoryStore {
    fn join(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut image = self.image();
        if self.lease.is_none() {
            let others: Vec<IncarnationId> = image.nodes.keys().copied().collect();
            for other in others {
                image.fence(other);
            }
        }
        image.nodes.insert(
            incarnation,
            Node {
                expires_at: self.expiry(),
                last_batch: 0,
            },
        );
        Box::pin(ready(Ok(())))
    }

    fn renew(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<Membership, StoreError>> {
        let now = self.now();
        let mut image = self.image();
        if !image.nodes.contains_key(&incarnation) {
            return Box::pin(ready(Err(StoreError::Fenced)));
        }
        if let Some(node) = image.nodes.get_mut(&incarnation) {
            node.expires_at = self.expiry();
        }
        let dead: BTreeSet<IncarnationId> = image
            .nodes
            .iter()
            .filter(|(_, node)| node.expires_at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in dead {
            image.fence(id);
        }
        let owners = image
            .shards
            .iter()
            .filter_map(|(shard, row)| row.owner.map(|owner| (*shard, owner)))
            .collect();
        let membership = Membership {
            nodes: image.nodes.keys().copied().collect(),
            owners,
        };
        Box::pin(ready(Ok(membership)))
    }

    fn acquire(
        &self,
        incarnation: IncarnationId,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>> {
        let mut image = self.image();
        if !image.nodes.contains_key(&incarnation) {
            return Box::pin(ready(Err(StoreError::Fenced)));
        }
        let mut leases = Vec::new();
        for shard in shards.into_iter().filter(|shard| shard.0 < self.shards) {
            let row = image.shards.entry(shard).or_insert(ShardRow {
                owner: None,
                epoch: 0,
                next_seq: 1,
            });
            if row.owner.is_none_or(|owner| owner == incarnation) {
                row.owner = Some(incarnation);
                row.epoch += 1;
                leases.push(Lease {
                    shard,
                    epoch: row.epoch,
                    next_seq: row.next_seq,
                });
            }
        }
        Box::pin(ready(Ok(leases)))
    }

    fn release(
        &self,
        incarnation: IncarnationId,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut image = self.image();
        for shard in shards {
            if let Some(row) = image.shards.get_mut(&shard)
                && row.owner == Some(incarnation)
            {
                row.owner = None;
                row.epoch += 1;
            }
        }
        Box::pin(ready(Ok(())))
    }

    fn leave(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.image().fence(incarnation);
        Box::pin(ready(Ok(())))
    }

    fn shards(&self) -> Vec<Shard> {
        (0..self.shards).map(Shard).collect()
    }

    fn renewal(&self) -> Option<Duration> {
        self.lease.map(|lease| lease * 2 / 5)
    }

    fn scan(
        &self,
        shards: Vec<Shard>,
        after: Option<Aggregate>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Live>, StoreError>> {
        Box::pin(ready(Ok(self.image().scan(&shards, after, limit))))
    }

    fn load(&self, ids: Vec<Aggregate>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        let image = self.image();
        let rows = ids
            .into_iter()
            .filter_map(|id| image.loaded(id).transpose())
            .collect();
        Box::pin(ready(rows))
    }

    fn run_inputs(&self, id: ConnectionId) -> BoxFuture<'_, Result<RunInputs, StoreError>> {
        Box::pin(ready(Ok(self.image().run_inputs(id))))
    }

    fn children(
        &self,
        account: AccountId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ConnectionId>, StoreError>> {
        Box::pin(ready(Ok(self.image().children(account, limit))))
    }

    fn dispatch_state(&self, shard: Shard) -> BoxFuture<'_, Result<DispatchState, StoreError>> {
        Box::pin(ready(Ok(self.image().dispatch_state(shard))))
    }

    fn subscription_state(
        &self,
        subscription: SubscriptionId,
        shard: Shard,
    ) -> BoxFuture<'_, Result<SubscriptionState, StoreError>> {
        let state = self.image().subscription_state(subscription, shard);
        Box::pin(ready(Ok(state)))
    }

    fn log(
        &self,
        shard: Shard,
        after: u64,
        tenant: Option<TenantId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<LogSlice, StoreError>> {
        Box::pin(ready(Ok(self.image().slice(shard, after, tenant, limit))))
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Spent, CommitError>> {
        Box::pin(ready(commit::commit(&mut self.image(), &batch, self.now())))
    }

    fn budgets(
        &self,
        _: Timestamp,
        names: Vec<BudgetName>,
    ) -> BoxFuture<'_, Result<Spent, StoreError>> {
        Box::pin(ready(Ok(self.image().spent(self.now(), &names))))
    }

    fn committed(
        &self,
        incarnation: IncarnationId,
        number: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let image = self.image();
        let outcome = image
            .nodes
            .get(&incarnation)
            .map(|node| node.last_batch >= number)
            .ok_or(StoreError::Fenced);
        Box::pin(ready(outcome))
    }

    fn post(
        &self,
        shard: Shard,
        request: Request,
        key: Option<KeyRow>,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        let mut image = self.image();
        if let Some(key) = key {
            if image.keys.contains_key(&(key.tenant, key.key)) {
                return Box::pin(ready(Err(CommitError::KeysTaken(vec![0]))));
            }
            image.keys.insert((key.tenant, key.key), key);
        }
        let number = image.next_inbox;
        image.next_inbox += 1;
        image.inbox.insert(number, (shard, request));
        Box::pin(ready(Ok(())))
    }

    fn inbox(
        &self,
        shards: Vec<Shard>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        let image = self.image();
        let rows = image
            .inbox
            .iter()
            .filter(|(_, (shard, _))| shards.contains(shard))
            .take(limit);
        let rows = rows
            .map(|(number, (_, request))| InboxRow {
                number: *number,
                request: request.clone(),
            })
            .collect();
        Box::pin(ready(Ok(rows)))
    }

    fn garbage(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DocumentId>, StoreError>> {
        let ids = self.image().garbage.iter().take(limit).copied().collect();
        Box::pin(ready(Ok(ids)))
    }

    fn forget_garbage(&self, ids: Vec<DocumentId>) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut image = self.image();
        for id in ids {
            image.garbage.remove(&id);
        }
        Box::pin(ready(Ok(())))
    }

    fn sweep(&self, sweep: Sweep) -> BoxFuture<'_, Result<Swept, StoreError>> {
        Box::pin(ready(Ok(sweep::sweep(&mut self.image(), &sweep))))
    }
}
