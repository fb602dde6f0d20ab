//! What callers hold of an engine.

use std::sync::{Arc, RwLock};

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wellspring_core::{AccountId, CollectionId, ConnectionId, Shard, SourceId, Timestamp};

use super::{Caller, Holding, Snapshot, Table, random_seed};
use crate::driver::{Answer, Busy, Command, Key, Origin, Request};
use crate::{Aggregate, Backend, Clock, SourceTable, SubscriptionTable, TenantTable};

/// Gives commands to an engine; cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    pub(super) commands: mpsc::Sender<Command<Caller>>,
    pub(super) tables: mpsc::Sender<Table>,
    pub(super) snapshot: Arc<RwLock<Snapshot>>,
    pub(super) log: watch::Receiver<u64>,
    pub(super) holding: watch::Receiver<Holding>,
    pub(super) writers: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) store: Arc<dyn Backend>,
    pub(super) clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineHandle")
    }
}

impl EngineHandle {
    /// Has a request done; the answer comes when it is durable.
    pub async fn request(&self, request: Request, key: Option<Key>) -> Answer {
        let (caller, answer) = oneshot::channel();
        let command = Command {
            request: request.clone(),
            key,
            origin: Origin::Caller(caller),
        };
        match self.commands.try_send(command) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Answer::Busy(Busy::Queue),
            Err(mpsc::error::TrySendError::Closed(_)) => return Answer::Busy(Busy::NotReady),
        }
        match answer.await {
            Ok(Answer::Elsewhere) => self.post(request, key).await,
            Ok(answer) => answer,
            // The driver that had it was replaced with a commit under way.
            Err(_dropped) => Answer::Unknown,
        }
    }

    /// Replaces the configured sources.
    pub async fn set_sources(&self, sources: Arc<SourceTable>) {
        // An engine that has ended needs no sources.
        drop(self.tables.send(Table::Sources(sources)).await);
    }

    /// Replaces what tenants have set.
    pub async fn set_tenants(&self, tenants: Arc<TenantTable>) {
        drop(self.tables.send(Table::Tenants(tenants)).await);
    }

    /// Replaces what subscriptions there are, and returns when everything that becomes durable
    /// from then on is matched against them.
    pub async fn set_subscriptions(&self, subscriptions: Arc<SubscriptionTable>) {
        self.subscriptions(subscriptions, true).await;
    }

    /// Takes in these subscriptions besides those that are known, and returns as
    /// [`Self::set_subscriptions`] does. The cost is that of `subscriptions`, not of all there are.
    pub async fn put_subscriptions(&self, subscriptions: Arc<SubscriptionTable>) {
        self.subscriptions(subscriptions, false).await;
    }

    async fn subscriptions(&self, table: Arc<SubscriptionTable>, whole: bool) {
        let (taken, is_taken) = oneshot::channel();
        let table = Table::Subscriptions {
            table,
            whole,
            taken,
        };
        // An engine that has ended sends nothing.
        drop(self.tables.send(table).await);
        drop(is_taken.await);
    }

    /// Returns what the engine looks like.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.read().map_or_else(
            |poisoned| poisoned.into_inner().clone(),
            |snapshot| snapshot.clone(),
        )
    }

    /// Returns a number that changes whenever this node has added to the log.
    ///
    /// Other nodes add to it as well, of which this tells nothing.
    pub fn log_grew(&self) -> watch::Receiver<u64> {
        self.log.clone()
    }

    /// Returns which shards are this node's, as that changes.
    pub fn holding(&self) -> watch::Receiver<Holding> {
        self.holding.clone()
    }

    /// Returns what keeps the shards this node's at its end, for who writes under their epochs.
    pub(crate) fn writing(&self) -> TaskTrackerToken {
        self.writers.token()
    }

    /// Waits until the engine is asked to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Leaves the request in the inbox of the shard's owner.
    async fn post(&self, request: Request, key: Option<Key>) -> Answer {
        let shards = self.store.shards();
        // Where leases do not end there is no other node: this one is starting or stopping.
        if self.store.renewal().is_none() || shards.is_empty() {
            return Answer::Busy(Busy::NotReady);
        }
        let now = self.clock.now();
        let mut rng = ChaCha8Rng::seed_from_u64(random_seed());
        let place = usize::try_from(random_seed()).unwrap_or(0) % shards.len();
        let shard = shards.get(place).copied().unwrap_or(Shard(0));
        if let Request::Subscription { shard, .. } = request {
            return match self.store.post(shard, request, None).await {
                Ok(()) => Answer::Dispatched,
                Err(error) => {
                    tracing::warn!(%error, "Request could not be left for its owner");
                    Answer::Busy(Busy::Database)
                }
            };
        }
        let Some((id, request)) = promised(request, shard, now, &mut rng) else {
            return Answer::NotFound;
        };
        let row = key.map(|key| key.row(request.tenant(), id, now));
        match self.store.post(id.shard(), request, row).await {
            Ok(()) => Answer::Done(id),
            Err(crate::CommitError::KeysTaken(_)) => Answer::KeyTaken,
            Err(error) => {
                tracing::warn!(%error, "Request could not be left for its owner");
                Answer::Busy(Busy::Database)
            }
        }
    }
}

/// Returns the request with the id of what it makes or changes, which is promised with the answer;
/// nothing for what is no aggregate's.
fn promised(
    mut request: Request,
    shard: Shard,
    now: Timestamp,
    rng: &mut ChaCha8Rng,
) -> Option<(Aggregate, Request)> {
    let made = match &mut request {
        Request::Collect { id, .. } => {
            let id = id.get_or_insert_with(|| CollectionId::mint_in(now, shard, rng));
            Aggregate::Collection(*id)
        }
        Request::CreateAccount { id, .. } => {
            let id = id.get_or_insert_with(|| AccountId::mint_in(now, shard, rng));
            Aggregate::Account(*id)
        }
        Request::Connect { id, account, .. } => {
            let shard = account.shard();
            let id = id.get_or_insert_with(|| ConnectionId::mint_in(now, shard, rng));
            Aggregate::Connection(*id)
        }
        Request::Resume { id, .. } | Request::Erase { id, .. } => Aggregate::Collection(*id),
        Request::PatchAccount { id, .. } | Request::EraseAccount { id, .. } => {
            Aggregate::Account(*id)
        }
        Request::Connection { id, .. } => Aggregate::Connection(*id),
        Request::Source { name, .. } => Aggregate::Source(SourceId::of(name)),
        Request::Subscription { .. } => return None,
    };
    Some((made, request))
}
