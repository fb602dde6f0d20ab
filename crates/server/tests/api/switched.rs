//! A store that fails and stalls at command.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;
use wellspring_core::budget::{BudgetName, Spent};
use wellspring_core::connection::FetchRecord;
use wellspring_core::notification::{Channel, Issue};
use wellspring_core::reliability::{Day, FetchTally};
use wellspring_core::source::Source;
use wellspring_core::{
    Account, AccountId, Alert, AlertId, CollectionId, CollectionStatus, Connection, ConnectionId,
    Document, DocumentId, FetchId, IncarnationId, Incident, IncidentId, InteractionId,
    NotificationId, Shard, SourceName, SubscriptionId, TenantId, Timestamp, UnclassifiedId,
};
use wellspring_engine::{
    Aggregate, AlertFilter, Allowance, Batch, ChangesPage, Clock, CollectionPage, CollectionView,
    CommitError, Cursor, CursorError, DeliveryFilter, DeliveryRow, DeliveryView, Directory,
    DispatchState, FetchScope, FetchView, InboxRow, IncidentFilter, IncidentsTold, InteractionView,
    KeyRecord, KeyRow, Lease, Live, Loaded, LogEntry, LogSlice, MaintenanceTold, Membership,
    Notice, NoticeBatch, Notices, Notification, NotificationFilter, Person, PhoneMark, Queries,
    Request, RunInputs, Store, StoreError, Subscription, SubscriptionState, Sweep, Swept, Tenant,
    TokenRecord, UnclassifiedView,
};
use wellspring_store::MemoryStore;

/// A memory store that can be switched off, and whose commits can be held up.
#[derive(Debug)]
pub(crate) struct Switched {
    inner: MemoryStore,
    down: AtomicBool,
    held: watch::Sender<bool>,
    waiting: AtomicUsize,
}

impl Switched {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: MemoryStore::new(clock, 4, None),
            down: AtomicBool::new(false),
            held: watch::Sender::new(false),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    pub(crate) fn hold_commits(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Returns whether a commit is held up.
    pub(crate) fn is_holding(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    fn is_down(&self) -> bool {
        self.down.load(Ordering::SeqCst)
    }
}

macro_rules! unless_down {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $out:ty, $error:ty;)*) => {
        $(
            fn $name(&self, $($arg: $kind),*) -> BoxFuture<'_, Result<$out, $error>> {
                if self.is_down() {
                    let error = StoreError::Unavailable("switched off at 10.0.0.1".to_owned());
                    return Box::pin(ready(Err(error.into())));
                }
                self.inner.$name($($arg),*)
            }
        )*
    };
}

impl Store for Switched {
    unless_down! {
        join(incarnation: IncarnationId) -> (), StoreError;
        renew(incarnation: IncarnationId) -> Membership, StoreError;
        acquire(incarnation: IncarnationId, shards: Vec<Shard>) -> Vec<Lease>, StoreError;
        release(incarnation: IncarnationId, shards: Vec<Shard>) -> (), StoreError;
        leave(incarnation: IncarnationId) -> (), StoreError;
        scan(shards: Vec<Shard>, after: Option<Aggregate>, limit: usize) -> Vec<Live>, StoreError;
        load(ids: Vec<Aggregate>) -> Vec<Loaded>, StoreError;
        run_inputs(id: ConnectionId) -> RunInputs, StoreError;
        children(account: AccountId, limit: usize) -> Vec<ConnectionId>, StoreError;
        dispatch_state(shard: Shard) -> DispatchState, StoreError;
        subscription_state(subscription: SubscriptionId, shard: Shard) -> SubscriptionState, StoreError;
        log(shard: Shard, after: u64, tenant: Option<TenantId>, limit: usize) -> LogSlice, StoreError;
        garbage(limit: usize) -> Vec<DocumentId>, StoreError;
        forget_garbage(ids: Vec<DocumentId>) -> (), StoreError;
        budgets(now: Timestamp, names: Vec<BudgetName>) -> Spent, StoreError;
        committed(incarnation: IncarnationId, number: u64) -> bool, StoreError;
        inbox(shards: Vec<Shard>, limit: usize) -> Vec<InboxRow>, StoreError;
        sweep(sweep: Sweep) -> Swept, StoreError;
    }

    fn shards(&self) -> Vec<Shard> {
        self.inner.shards()
    }

    fn renewal(&self) -> Option<Duration> {
        self.inner.renewal()
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Spent, CommitError>> {
        let mut held = self.held.subscribe();
        Box::pin(async move {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            drop(held.wait_for(|held| !held).await);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            if self.is_down() {
                return Err(CommitError::NotCommitted("switched off".to_owned()));
            }
            self.inner.commit(batch).await
        })
    }

    fn post(
        &self,
        shard: Shard,
        request: Request,
        key: Option<KeyRow>,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        self.inner.post(shard, request, key)
    }
}

impl Queries for Switched {
    unless_down! {
        collection(tenant: TenantId, id: CollectionId) -> Option<CollectionView>, StoreError;
        collections(tenant: TenantId, status: Option<CollectionStatus>, before: Option<CollectionId>, limit: usize) -> CollectionPage, StoreError;
        head() -> Cursor, StoreError;
        changes(tenant: TenantId, cursor: Cursor, limit: usize) -> ChangesPage, CursorError;
        account(tenant: TenantId, id: AccountId) -> Option<Account>, StoreError;
        accounts(tenant: TenantId, external_id: Option<String>, before: Option<AccountId>, limit: usize) -> Vec<Account>, StoreError;
        connection(tenant: TenantId, id: ConnectionId) -> Option<Connection>, StoreError;
        connections(tenant: TenantId, account: AccountId, before: Option<ConnectionId>, limit: usize) -> Vec<Connection>, StoreError;
        interactions(connection: ConnectionId, limit: usize) -> Vec<InteractionView>, StoreError;
        interaction(connection: ConnectionId, id: InteractionId) -> Option<InteractionView>, StoreError;
        fetches(connection: ConnectionId, before: Option<FetchId>, limit: usize) -> Vec<FetchRecord>, StoreError;
        fetch(connection: ConnectionId, id: FetchId) -> Option<FetchView>, StoreError;
        fetch_statistics(tenant: TenantId, of: FetchScope, since: Day) -> Vec<FetchTally>, StoreError;
        spenders(source: SourceName, since: Timestamp) -> Vec<(TenantId, u64)>, StoreError;
        documents(tenant: TenantId, of: (Option<AccountId>, Option<ConnectionId>), before: Option<DocumentId>, limit: usize) -> Vec<Document>, StoreError;
        document(tenant: TenantId, id: DocumentId) -> Option<Document>, StoreError;
        known_document(connection: ConnectionId, source_id: Option<String>, hash: Option<[u8; 32]>) -> Option<DocumentId>, StoreError;
        existing_documents(ids: Vec<DocumentId>) -> Vec<DocumentId>, StoreError;
        alerts(tenant: TenantId, filter: AlertFilter, before: Option<AlertId>, limit: usize) -> Vec<Alert>, StoreError;
        alert(tenant: TenantId, id: AlertId) -> Option<Alert>, StoreError;
        alerts_of_all(filter: AlertFilter, before: Option<AlertId>, limit: usize) -> Vec<Alert>, StoreError;
        alert_of_any(id: AlertId) -> Option<Alert>, StoreError;
        unclassified(source: Option<SourceName>, before: Option<UnclassifiedId>, limit: usize) -> Vec<UnclassifiedView>, StoreError;
        sources() -> Vec<Source>, StoreError;
        incidents(filter: IncidentFilter, before: Option<IncidentId>, limit: usize) -> Vec<Incident>, StoreError;
        deliveries(tenant: TenantId, filter: DeliveryFilter, limit: usize) -> Vec<DeliveryRow>, StoreError;
        delivery(tenant: TenantId, subscription: SubscriptionId, place: (Shard, u64)) -> Option<DeliveryView>, StoreError;
        entry(tenant: TenantId, place: (Shard, u64)) -> Option<LogEntry>, StoreError;
        key(tenant: TenantId, key: [u8; 32]) -> Option<KeyRow>, StoreError;
        ping() -> (), StoreError;
    }
}

impl Notices for Switched {
    unless_down! {
        people(accounts: Vec<AccountId>) -> Vec<Person>, StoreError;
        put_person(person: Person, expected: u32) -> bool, StoreError;
        people_called(phone: PhoneMark) -> Vec<Person>, StoreError;
        hear_phone(phone: PhoneMark, by: Option<PhoneMark>, stopped: bool) -> (), StoreError;
        stopped_phones(phones: Vec<PhoneMark>) -> Vec<PhoneMark>, StoreError;
        spend(account: AccountId, allowance: Allowance, now: Timestamp) -> Option<Timestamp>, StoreError;
        accounts_at(source: SourceName, shard: Shard, after: Option<AccountId>, limit: usize) -> Vec<(AccountId, TenantId)>, StoreError;
        accounts_told(source: SourceName, shard: Shard, after: Option<AccountId>, limit: usize) -> Vec<(AccountId, TenantId)>, StoreError;
        maintenance_told(of: Vec<(AccountId, SourceName)>) -> MaintenanceTold, StoreError;
        incidents_told(shards: Vec<Shard>) -> IncidentsTold, StoreError;
        held_notices(accounts: Vec<AccountId>) -> Vec<Notice>, StoreError;
        notification_head(account: AccountId) -> u64, StoreError;
        notifications_since(account: AccountId, after: u64, limit: usize) -> Vec<(u64, Notification)>, StoreError;
        notice_cursors(shards: Vec<Shard>) -> BTreeMap<Shard, u64>, StoreError;
        issues(connections: Vec<ConnectionId>) -> BTreeMap<ConnectionId, Issue>, StoreError;
        add_notification(notification: Notification, notices: Vec<Notice>) -> Option<Notification>, StoreError;
        due_notices(channel: Channel, shards: Vec<Shard>, by: Timestamp, limit: usize) -> Vec<Notice>, StoreError;
        notifications_of(ids: Vec<NotificationId>) -> Vec<Notification>, StoreError;
        notifications(account: AccountId, filter: NotificationFilter, limit: usize) -> Vec<Notification>, StoreError;
        notices(notification: NotificationId) -> Vec<Notice>, StoreError;
        read_notification(account: AccountId, id: NotificationId, at: Timestamp) -> bool, StoreError;
        sweep_notifications(before: Timestamp, limit: usize) -> usize, StoreError;
    }

    fn commit_notices(&self, batch: NoticeBatch) -> BoxFuture<'_, Result<(), CommitError>> {
        if self.is_down() {
            return Box::pin(ready(Err(CommitError::NotCommitted(
                "switched off".to_owned(),
            ))));
        }
        self.inner.commit_notices(batch)
    }
}

impl Directory for Switched {
    unless_down! {
        tenants() -> Vec<Tenant>, StoreError;
        put_tenant(tenant: Tenant) -> (), StoreError;
        keys() -> Vec<KeyRecord>, StoreError;
        put_key(key: KeyRecord) -> (), StoreError;
        subscriptions() -> Vec<Subscription>, StoreError;
        put_subscription(subscription: Subscription, expected: Option<u32>) -> bool, StoreError;
        delete_subscription(tenant: TenantId, id: SubscriptionId) -> bool, StoreError;
        put_token(token: TokenRecord) -> (), StoreError;
        token(hash: [u8; 32]) -> Option<TokenRecord>, StoreError;
        exchange_token(hash: [u8; 32], now: Timestamp, bearer: TokenRecord) -> bool, StoreError;
        forget_unclassified(id: UnclassifiedId) -> bool, StoreError;
        meta(name: &'static str) -> Option<String>, StoreError;
        put_meta(name: &'static str, value: String) -> String, StoreError;
        replace_meta(name: &'static str, old: String, new: String) -> bool, StoreError;
    }
}
