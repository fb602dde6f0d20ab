//! A store that fails and stalls at command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;
use wellspring_core::{CollectionId, CollectionStatus, IncarnationId, Shard, TenantId};
use wellspring_engine::{
    Batch, ChangesPage, Clock, CollectionPage, CollectionView, CommitError, Cursor, CursorError,
    Directory, InboxRow, KeyRecord, KeyRow, Lease, Live, Loaded, Membership, Queries, Request,
    Store, StoreError, Sweep, Swept, Tenant,
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
        scan(shards: Vec<Shard>, after: Option<CollectionId>, limit: usize) -> Vec<Live>, StoreError;
        load(ids: Vec<CollectionId>) -> Vec<Loaded>, StoreError;
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

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), CommitError>> {
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
        key(tenant: TenantId, key: [u8; 32]) -> Option<KeyRow>, StoreError;
        ping() -> (), StoreError;
    }
}

impl Directory for Switched {
    unless_down! {
        tenants() -> Vec<Tenant>, StoreError;
        put_tenant(tenant: Tenant) -> (), StoreError;
        keys() -> Vec<KeyRecord>, StoreError;
        put_key(key: KeyRecord) -> (), StoreError;
        meta(name: &'static str) -> Option<String>, StoreError;
        put_meta(name: &'static str, value: String) -> String, StoreError;
        replace_meta(name: &'static str, old: String, new: String) -> bool, StoreError;
    }
}
