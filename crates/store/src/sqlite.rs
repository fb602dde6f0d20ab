//! SQLite: one file, one writer thread with group commit, checkpoints off the commit path.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension};
use wellspring_core::budget::{BudgetName, Spent};
use wellspring_core::{
    AccountId, ConnectionId, DocumentId, IncarnationId, Shard, SubscriptionId, TenantId, Timestamp,
};
use wellspring_engine::{
    Aggregate, Batch, CommitError, DispatchState, InboxRow, KeyRow, Lease, Live, Loaded, LogSlice,
    Membership, Request, RunInputs, Store, StoreError, SubscriptionState, Sweep, Swept,
};

mod backup;
mod checkpoint;
mod columns;
mod commit;
mod directory;
mod notices;
mod queries;
mod schema;
mod sweep;
mod threads;

pub use schema::SqliteOptions;

use threads::{Readers, Writer};

/// A store in one SQLite file.
///
/// Whoever opens it for writing must hold the data folder's lock: joining takes every
/// shard over from earlier incarnations.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
}

impl SqliteStore {
    /// Opens the file, making or migrating it as needed, and starts the threads.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when the file is another program's or a newer version's,
    /// [`StoreError::Unavailable`] when it cannot be opened or written.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<Self, StoreError> {
        let mut connection = schema::connect(path, options)?;
        schema::migrate(&mut connection)?;
        let checkpointer = checkpoint::start(path, options, &mut connection)?;
        let readers = Readers::start(path, options)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Writer::start(connection, checkpointer)?,
            readers,
        })
    }

    /// Returns the version of the schema in the file; 0 for one that is empty.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn schema_version(path: &Path) -> Result<u32, StoreError> {
        schema::version_of(path)
    }

    /// The newest schema that this program knows.
    pub const SCHEMA: u32 = schema::NEWEST;

    /// Writes a consistent copy of the database to `target`, which must not exist.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it cannot be written.
    pub async fn backup(&self, target: &Path) -> Result<(), StoreError> {
        let (source, target) = (self.path.clone(), target.to_owned());
        tokio::task::spawn_blocking(move || backup::backup(&source, &target))
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    /// Puts a backup at `target`, which must not exist, and begins another life of the log.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when `source` is no backup of this program or of a newer version.
    pub fn restore(source: &Path, target: &Path, life: u64) -> Result<(), StoreError> {
        backup::restore(source, target, life)
    }

    /// Returns the size of the write-ahead log and the longest commit so far.
    pub fn gauges(&self) -> (u64, Duration) {
        self.writer.gauges()
    }

    async fn write<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<R, StoreError> + Send + 'static,
    {
        self.writer.run(work).await
    }

    async fn read<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
    {
        self.readers.run(work).await
    }
}

/// Says what SQLite says.
pub(crate) fn unavailable(error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

impl Store for SqliteStore {
    fn join(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |connection| {
            let owner = incarnation.as_bytes();
            connection
                .execute(
                    "UPDATE shards SET owner = ?1, epoch = epoch + 1, last_batch = 0",
                    [owner],
                )
                .map_err(|error| unavailable(&error))?;
            Ok(())
        }))
    }

    fn renew(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<Membership, StoreError>> {
        Box::pin(self.read(move |connection| {
            let owner: Option<[u8; 16]> = connection
                .query_row("SELECT owner FROM shards", [], |row| row.get(0))
                .map_err(|error| unavailable(&error))?;
            if owner != Some(*incarnation.as_bytes()) {
                return Err(StoreError::Fenced);
            }
            let owners = [(Shard(0), incarnation)].into_iter().collect();
            Ok(Membership {
                nodes: vec![incarnation],
                owners,
            })
        }))
    }

    fn acquire(
        &self,
        incarnation: IncarnationId,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>> {
        Box::pin(self.write(move |connection| {
            if !shards.contains(&Shard(0)) {
                return Ok(Vec::new());
            }
            let sql = "SELECT epoch, next_seq FROM shards WHERE owner = ?1";
            let lease = connection
                .query_row(sql, [incarnation.as_bytes()], |row| {
                    Ok(Lease {
                        shard: Shard(0),
                        epoch: row.get::<_, i64>(0)?.cast_unsigned(),
                        next_seq: row.get::<_, i64>(1)?.cast_unsigned(),
                    })
                })
                .optional()
                .map_err(|error| unavailable(&error))?;
            lease.map(|lease| vec![lease]).ok_or(StoreError::Fenced)
        }))
    }

    fn release(
        &self,
        incarnation: IncarnationId,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |connection| {
            if shards.contains(&Shard(0)) {
                connection
                    .execute(
                        "UPDATE shards SET owner = NULL, epoch = epoch + 1 WHERE owner = ?1",
                        [incarnation.as_bytes()],
                    )
                    .map_err(|error| unavailable(&error))?;
            }
            Ok(())
        }))
    }

    fn leave(&self, incarnation: IncarnationId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.release(incarnation, vec![Shard(0)])
    }

    fn shards(&self) -> Vec<Shard> {
        vec![Shard(0)]
    }

    fn renewal(&self) -> Option<Duration> {
        None
    }

    fn scan(
        &self,
        shards: Vec<Shard>,
        after: Option<Aggregate>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Live>, StoreError>> {
        Box::pin(self.read(move |connection| {
            if !shards.contains(&Shard(0)) {
                return Ok(Vec::new());
            }
            queries::scan(connection, after, limit)
        }))
    }

    fn load(&self, ids: Vec<Aggregate>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        Box::pin(self.read(move |connection| queries::load(connection, &ids)))
    }

    fn run_inputs(&self, id: ConnectionId) -> BoxFuture<'_, Result<RunInputs, StoreError>> {
        Box::pin(self.read(move |connection| queries::run_inputs(connection, id)))
    }

    fn children(
        &self,
        account: AccountId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ConnectionId>, StoreError>> {
        Box::pin(self.read(move |connection| queries::children(connection, account, limit)))
    }

    fn dispatch_state(&self, shard: Shard) -> BoxFuture<'_, Result<DispatchState, StoreError>> {
        Box::pin(self.read(move |connection| match shard {
            Shard(0) => queries::dispatch_state(connection),
            Shard(_) => Ok(DispatchState::default()),
        }))
    }

    fn subscription_state(
        &self,
        subscription: SubscriptionId,
        shard: Shard,
    ) -> BoxFuture<'_, Result<SubscriptionState, StoreError>> {
        Box::pin(self.read(move |connection| match shard {
            Shard(0) => queries::subscription_state(connection, subscription),
            Shard(_) => Ok(SubscriptionState::default()),
        }))
    }

    fn log(
        &self,
        shard: Shard,
        after: u64,
        tenant: Option<TenantId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<LogSlice, StoreError>> {
        Box::pin(self.read(move |connection| match shard {
            Shard(0) => queries::slice(connection, after, tenant, limit),
            Shard(_) => Ok(LogSlice {
                entries: Vec::new(),
                seen: after,
                has_more: false,
                gap: false,
            }),
        }))
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Spent, CommitError>> {
        Box::pin(self.writer.commit(batch))
    }

    fn budgets(
        &self,
        now: Timestamp,
        names: Vec<BudgetName>,
    ) -> BoxFuture<'_, Result<Spent, StoreError>> {
        Box::pin(self.read(move |connection| {
            commit::spent(connection, now, names.iter()).map_err(|error| unavailable(&error))
        }))
    }

    fn committed(
        &self,
        incarnation: IncarnationId,
        number: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        // Asked of the writer, so that no commit can still be under way.
        Box::pin(self.write(move |connection| {
            let sql = "SELECT last_batch FROM shards WHERE owner = ?1";
            let last: Option<i64> = connection
                .query_row(sql, [incarnation.as_bytes()], |row| row.get(0))
                .optional()
                .map_err(|error| unavailable(&error))?;
            last.map(|last| last.cast_unsigned() >= number)
                .ok_or(StoreError::Fenced)
        }))
    }

    fn post(
        &self,
        shard: Shard,
        request: Request,
        key: Option<KeyRow>,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(self.writer.post(shard, request, key))
    }

    fn inbox(
        &self,
        shards: Vec<Shard>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        Box::pin(self.read(move |connection| queries::inbox(connection, &shards, limit)))
    }

    fn garbage(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DocumentId>, StoreError>> {
        Box::pin(self.read(move |connection| queries::garbage(connection, limit)))
    }

    fn forget_garbage(&self, ids: Vec<DocumentId>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |connection| {
            threads::transact(connection, |transaction| {
                let sql = "DELETE FROM blob_garbage WHERE id = ?1";
                let mut statement = transaction.prepare_cached(sql)?;
                for id in &ids {
                    statement.execute([id.as_bytes()])?;
                }
                Ok(())
            })
        }))
    }

    fn sweep(&self, sweep: Sweep) -> BoxFuture<'_, Result<Swept, StoreError>> {
        let position = self.writer.sweep_position();
        Box::pin(self.write(move |connection| sweep::sweep(connection, &sweep, &position)))
    }
}
