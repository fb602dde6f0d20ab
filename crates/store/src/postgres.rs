//! PostgreSQL: several nodes, each the one writer of the shards that it holds a lease of.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::timeout;
use wellspring_core::budget::{BudgetName, Spent};
use wellspring_core::{
    AccountId, ConnectionId, DocumentId, IncarnationId, Shard, SubscriptionId, TenantId, Timestamp,
};
use wellspring_engine::{
    Aggregate, Batch, CommitError, DispatchState, InboxRow, KeyRow, Lease, Live, Loaded, LogSlice,
    Membership, Request, RunInputs, Store, StoreError, SubscriptionState, Sweep, Swept,
};

mod blobs;
mod budget;
mod columns;
mod commit;
mod directory;
mod dispatch;
mod inbox;
mod lease;
mod load;
mod log;
mod notices;
mod options;
mod pool;
mod queries;
mod round;
mod schema;
mod session;
mod sweep;
mod tls;

pub use blobs::PostgresBlobs;
pub use options::PostgresOptions;

use inbox::Bell;
use pool::Pool;
use session::{Connector, Fault, Session};

/// A store in one PostgreSQL database, which several nodes may share.
///
/// It needs sessions of its own: a pooler in between must not hand a session to others within its life.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

struct Shared {
    options: PostgresOptions,
    connector: Connector,
    /// The one connection that commits.
    writer: Pool,
    pool: Arc<Pool>,
    bell: Arc<Bell>,
    sweep: Mutex<sweep::Position>,
    _tasks: JoinSet<()>,
}

impl PostgresStore {
    /// Connects, makes or migrates the schema as needed, and starts listening for other nodes.
    ///
    /// The URL is `postgres://user:password@host:port/database`.
    /// With `?sslmode=require` the connection is encrypted, with `disable` it is not; without
    /// either it is where the server offers it.
    /// The server's certificate is verified wherever there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when the URL, the password or the database is wrong, or the
    /// database is another program's or a newer version's,
    /// [`StoreError::Unavailable`] when it cannot be reached.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let connector = Connector::new(url, &options).await?;
        let session = connector.session().await.map_err(Fault::at_start)?;
        schema::migrate(&session).await?;
        drop(session);
        let pool = Arc::new(Pool::new(connector.clone(), options.connections));
        let bell = Arc::<Bell>::default();
        let tasks = bell.start(connector.clone(), Arc::clone(&pool));
        let shared = Shared {
            options,
            writer: Pool::new(connector.clone(), 1),
            connector,
            pool,
            bell,
            sweep: Mutex::default(),
            _tasks: tasks,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Returns the version of the schema in the database; 0 for one that is empty.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub async fn schema_version(url: &str, options: PostgresOptions) -> Result<u32, StoreError> {
        let connector = Connector::new(url, &options).await?;
        let session = connector.session().await.map_err(Fault::at_start)?;
        schema::version(&session).await
    }

    /// The newest schema that this program knows.
    pub const SCHEMA: u32 = schema::NEWEST;

    fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// Gives an operation no more time than it may have.
    fn within<'a, R: Send>(
        &'a self,
        work: impl Future<Output = Result<R, StoreError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<R, StoreError>> {
        let late = |_late| StoreError::Unavailable("the database does not answer".to_owned());
        let deadline = self.shared.options.deadline;
        Box::pin(async move { timeout(deadline, work).await.map_err(late)? })
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresStore")
    }
}

impl Store for PostgresStore {
    fn join(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            lease::join(&session, incarnation, self.shared.options.lease).await?;
            session.keep();
            Ok(())
        })
    }

    fn renew(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<Membership, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let membership = lease::renew(&session, incarnation, self.shared.options.lease).await?;
            session.keep();
            Ok(membership)
        })
    }

    fn acquire(
        &self,
        incarnation: IncarnationId,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let leases = lease::acquire(&session, incarnation, &shards).await?;
            session.keep();
            Ok(leases)
        })
    }

    fn release(
        &self,
        incarnation: IncarnationId,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            lease::release(&session, incarnation, &shards).await?;
            session.keep();
            Ok(())
        })
    }

    fn leave(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            lease::leave(&session, incarnation).await?;
            session.keep();
            Ok(())
        })
    }

    fn shards(&self) -> Vec<Shard> {
        (0..Shard::COUNT).map(Shard).collect()
    }

    fn renewal(&self) -> Option<Duration> {
        Some(self.shared.options.lease * 2 / 5)
    }

    fn scan(
        &self,
        shards: Vec<Shard>,
        after: Option<Aggregate>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Live>, StoreError>> {
        Box::pin(async move {
            // As long as it takes: each of its statements has a deadline.
            let session = self.within(async { Ok(self.pool().get().await?) }).await?;
            let options = &self.shared.options;
            let rows = load::scan(&session, &shards, after, limit, options).await?;
            session.keep();
            Ok(rows)
        })
    }

    fn load(&self, ids: Vec<Aggregate>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let rows = load::load(&session, &ids).await?;
            session.keep();
            Ok(rows)
        })
    }

    fn run_inputs(&self, id: ConnectionId) -> BoxFuture<'_, Result<RunInputs, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let inputs = load::run_inputs(&session, id).await?;
            session.keep();
            Ok(inputs)
        })
    }

    fn children(
        &self,
        account: AccountId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ConnectionId>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let children = load::children(&session, account, limit).await?;
            session.keep();
            Ok(children)
        })
    }

    fn dispatch_state(&self, shard: Shard) -> BoxFuture<'_, Result<DispatchState, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let state = dispatch::state(&session, shard).await?;
            session.keep();
            Ok(state)
        })
    }

    fn subscription_state(
        &self,
        subscription: SubscriptionId,
        shard: Shard,
    ) -> BoxFuture<'_, Result<SubscriptionState, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let state = dispatch::subscription(&session, subscription, shard).await?;
            session.keep();
            Ok(state)
        })
    }

    fn log(
        &self,
        shard: Shard,
        after: u64,
        tenant: Option<TenantId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<LogSlice, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let limits = (limit, self.shared.options.stretch);
            let slice = dispatch::slice(&session, shard, after, tenant, limits).await?;
            session.keep();
            Ok(slice)
        })
    }

    fn budgets(
        &self,
        now: Timestamp,
        names: Vec<BudgetName>,
    ) -> BoxFuture<'_, Result<Spent, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let spent = budget::read(&session, now, &names).await?;
            session.keep();
            Ok(spent)
        })
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Spent, CommitError>> {
        let Shared {
            writer, options, ..
        } = &*self.shared;
        Box::pin(async move { commit::commit(writer, &batch, options.deadline).await })
    }

    fn committed(
        &self,
        incarnation: IncarnationId,
        number: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.within(async move {
            // A connection of its own, whatever became of the others.
            let session: Session = self.shared.connector.session().await?;
            lease::committed(&session, incarnation, number).await
        })
    }

    fn post(
        &self,
        shard: Shard,
        request: Request,
        key: Option<KeyRow>,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let Shared {
                pool,
                options,
                bell,
                ..
            } = &*self.shared;
            inbox::post(pool, shard, &request, key.as_ref(), options.deadline).await?;
            bell.ring_for(shard);
            Ok(())
        })
    }

    fn inbox(
        &self,
        shards: Vec<Shard>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let rows = inbox::read(&session, &shards, limit).await?;
            session.keep();
            Ok(rows)
        })
    }

    fn inbox_filled(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.bell.heard())
    }

    fn garbage(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DocumentId>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let ids = load::garbage(&session, limit).await?;
            session.keep();
            Ok(ids)
        })
    }

    fn forget_garbage(&self, ids: Vec<DocumentId>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            load::forget_garbage(&session, &ids).await?;
            session.keep();
            Ok(())
        })
    }

    fn sweep(&self, sweep: Sweep) -> BoxFuture<'_, Result<Swept, StoreError>> {
        self.within(async move {
            let position = || {
                self.shared
                    .sweep
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
            };
            let from = position().clone();
            let session = self.pool().get().await?;
            let (swept, next) = sweep::sweep(&session, &sweep, from).await?;
            session.keep();
            *position() = next;
            Ok(swept)
        })
    }
}
