//! The threads that own the connections: one writes, a few read.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;
use wellspring_core::Shard;
use wellspring_core::budget::Spent;
use wellspring_engine::{Batch, CommitError, KeyRow, Request, StoreError};

use super::checkpoint::Checkpointer;
use super::schema::{SqliteOptions, connect_reader};
use super::sweep::Position;
use super::{commit, unavailable};

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

enum Job {
    Commit(Arc<Batch>, oneshot::Sender<Result<Spent, CommitError>>),
    Work(Work),
}

/// Hands work to the writer thread, which ends with the last handle.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: SyncSender<Job>,
    checkpointer: Arc<Checkpointer>,
    longest_commit_us: Arc<AtomicU64>,
    sweep: Arc<Mutex<Position>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        checkpointer: Arc<Checkpointer>,
    ) -> Result<Self, StoreError> {
        let (jobs, inbox) = sync_channel(64);
        let longest_commit_us = Arc::new(AtomicU64::new(0));
        let (checkpoints, longest) = (Arc::clone(&checkpointer), Arc::clone(&longest_commit_us));
        spawn("sqlite-writer", move || {
            write_loop(connection, &inbox, &checkpoints, &longest)
        })?;
        Ok(Self {
            jobs,
            checkpointer,
            longest_commit_us,
            sweep: Arc::default(),
        })
    }

    pub(super) async fn commit(&self, batch: Arc<Batch>) -> Result<Spent, CommitError> {
        let (done, outcome) = oneshot::channel();
        let gone = |()| CommitError::Unknown("the writer has ended".to_owned());
        self.jobs
            .try_send(Job::Commit(batch, done))
            .map_err(|_full| CommitError::NotCommitted("the writer's queue is full".to_owned()))?;
        outcome.await.map_err(|_ended| gone(()))?
    }

    pub(super) async fn post(
        &self,
        shard: Shard,
        request: Request,
        key: Option<KeyRow>,
    ) -> Result<(), CommitError> {
        let text = serde_json::to_string(&request)
            .map_err(|error| CommitError::NotCommitted(error.to_string()))?;
        let keys: Vec<KeyRow> = key.into_iter().collect();
        let work = move |connection: &mut Connection| {
            let lost = |error: rusqlite::Error| CommitError::NotCommitted(error.to_string());
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(lost)?;
            commit::keys(&transaction, &keys)?;
            transaction
                .execute(
                    "INSERT INTO inbox (shard, request) VALUES (?1, ?2)",
                    (shard.0, text),
                )
                .map_err(lost)?;
            transaction
                .commit()
                .map_err(|error| CommitError::Unknown(error.to_string()))
        };
        let outcome = self.run(move |connection| Ok(work(connection))).await;
        outcome.unwrap_or_else(|error| Err(CommitError::NotCommitted(error.to_string())))
    }

    pub(super) async fn run<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<R, StoreError> + Send + 'static,
    {
        let (done, outcome) = oneshot::channel();
        let job = Job::Work(Box::new(move |connection| {
            drop(done.send(work(connection)))
        }));
        let refused = |_full| StoreError::Unavailable("the writer's queue is full".to_owned());
        self.jobs.try_send(job).map_err(refused)?;
        outcome
            .await
            .map_err(|_ended| StoreError::Unavailable("the writer has ended".to_owned()))?
    }

    pub(super) fn gauges(&self) -> (u64, Duration) {
        let longest = Duration::from_micros(self.longest_commit_us.load(Ordering::Relaxed));
        (self.checkpointer.log_bytes(), longest)
    }

    pub(super) fn sweep_position(&self) -> Arc<Mutex<Position>> {
        Arc::clone(&self.sweep)
    }
}

fn write_loop(
    mut connection: Connection,
    jobs: &Receiver<Job>,
    checkpoints: &Checkpointer,
    longest: &AtomicU64,
) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Commit(batch, done) => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "measures a gauge, decides nothing"
                )]
                let started = std::time::Instant::now();
                let outcome = commit::commit(&mut connection, &batch);
                let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                longest.fetch_max(took, Ordering::Relaxed);
                // Whoever waits may have gone.
                drop(done.send(outcome));
            }
            Job::Work(work) => work(&mut connection),
        }
        checkpoints.after_commit(&connection);
    }
}

/// Hands work to the reading threads.
#[derive(Clone)]
pub(super) struct Readers {
    jobs: SyncSender<Work>,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Readers")
    }
}

impl Readers {
    pub(super) fn start(path: &Path, options: &SqliteOptions) -> Result<Self, StoreError> {
        let (jobs, inbox) = sync_channel::<Work>(1_024);
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..options.readers.max(1) {
            let mut connection = connect_reader(path, options)?;
            let inbox = Arc::clone(&inbox);
            spawn("sqlite-reader", move || {
                loop {
                    let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(work) = job else { return };
                    work(&mut connection);
                }
            })?;
        }
        Ok(Self { jobs })
    }

    pub(super) async fn run<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
    {
        let (done, outcome) = oneshot::channel();
        let job: Work = Box::new(move |connection| drop(done.send(work(connection))));
        let refused = |_full| StoreError::Unavailable("too many reads wait".to_owned());
        self.jobs.try_send(job).map_err(refused)?;
        outcome
            .await
            .map_err(|_ended| StoreError::Unavailable("the reader has ended".to_owned()))?
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let spawned = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body);
    spawned
        .map(drop)
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// Runs `work` in a transaction that writes.
pub(super) fn transact<R>(
    connection: &mut Connection,
    work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<R>,
) -> Result<R, StoreError> {
    let run = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    };
    run(connection).map_err(|error| unavailable(&error))
}
