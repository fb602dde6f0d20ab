//! `wellspring bench store`: durable steps per second by batch size.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use tokio::time::Instant;
use wellspring_core::budget::Spends;
use wellspring_core::{
    Actor, Collection, CollectionId, CollectionPolicy, CollectionStep, IncarnationId, Input, State,
    TenantId, Timestamp,
};
use wellspring_engine::{
    Backend, Batch, Before, Clock, CollectionWrite, DispatchWrites, Entry, Lease, SystemClock,
    Write, random_seed,
};
use wellspring_store::{MemoryStore, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};

use super::report::Report;
use crate::output::Output;

/// The case.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreBench {
    /// postgres://…, or `memory` [default: SQLite in a temporary folder]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// How long to measure each size
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = wellspring_core::parse_duration)]
    duration: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Makes batches of the steps that collections take on their way, as the driver would.
pub(crate) struct Stepper {
    pub(crate) store: Arc<dyn Backend>,
    incarnation: IncarnationId,
    leases: Vec<Lease>,
    number: u64,
    rng: ChaCha8Rng,
    under_way: VecDeque<Collection>,
    policy: CollectionPolicy,
}

impl Stepper {
    pub(crate) async fn join(store: Arc<dyn Backend>) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(random_seed());
        let incarnation = IncarnationId::mint(SystemClock.now(), &mut rng);
        store.join(incarnation).await?;
        let leases = store.acquire(incarnation, store.shards()).await?;
        let policy = CollectionPolicy::default();
        Ok(Self {
            store,
            incarnation,
            leases,
            number: 0,
            rng,
            under_way: VecDeque::new(),
            policy,
        })
    }

    /// Steps `count` times: collections are accepted, fetched and delivered in turn.
    pub(crate) fn life(&mut self, now: Timestamp, count: usize) -> Batch {
        let mut steps = Vec::with_capacity(count);
        for n in 0..count {
            let oldest = if n % 3 == 0 {
                None
            } else {
                self.under_way.pop_front()
            };
            steps.push(match oldest {
                None => self.accept(now),
                Some(collection) => {
                    let input = match &collection.state {
                        State::Collecting { .. } => Input::Fetched { started: now },
                        State::Delivering { .. }
                        | State::Delivered { .. }
                        | State::Failed { .. } => Input::DeliverySucceeded { started: now },
                    };
                    self.step(now, collection, input)
                }
            });
        }
        self.batch(now, steps)
    }

    /// Makes one step that accepts a collection.
    pub(crate) fn accept(&mut self, now: Timestamp) -> (CollectionId, Before, CollectionStep) {
        self.number += 1;
        let shard =
            self.leases[usize::try_from(self.number).unwrap_or(0) % self.leases.len()].shard;
        let id = CollectionId::mint_in(now, shard, &mut self.rng);
        let url = format!("https://callbacks.example.com/wellspring/{}", self.number).into();
        #[expect(clippy::expect_used, reason = "the literal is a name")]
        let source = "gas".parse().expect("a name");
        let step = Collection::accept(now, id, TENANT, source, url, Actor::Engine);
        (id, Before::New, step)
    }

    /// Steps one collection.
    pub(crate) fn step(
        &mut self,
        now: Timestamp,
        collection: Collection,
        input: Input,
    ) -> (CollectionId, Before, CollectionStep) {
        let (id, before) = (collection.id, Before::Live(collection.version));
        #[expect(
            clippy::expect_used,
            reason = "the input fits the state it was chosen for"
        )]
        let step = collection
            .handle(now, input, &self.policy, &mut self.rng)
            .expect("fits");
        (id, before, step)
    }

    /// Puts steps into a batch; what is unfinished after them is under way.
    pub(crate) fn batch(
        &mut self,
        now: Timestamp,
        steps: Vec<(CollectionId, Before, CollectionStep)>,
    ) -> Batch {
        self.number += 1;
        let mut batch = Batch {
            incarnation: self.incarnation,
            number: self.number,
            epochs: Vec::new(),
            writes: Vec::with_capacity(steps.len()),
            entries: Vec::with_capacity(steps.len()),
            keys: Vec::new(),
            consumed: Vec::new(),
            unclassified: Vec::new(),
            dispatch: DispatchWrites::default(),
            spends: Spends::default(),
        };
        for (id, before, step) in steps {
            let Some(lease) = self
                .leases
                .iter_mut()
                .find(|lease| lease.shard == id.shard())
            else {
                continue;
            };
            if !batch.epochs.contains(&(lease.shard, lease.epoch)) {
                batch.epochs.push((lease.shard, lease.epoch));
            }
            if let Some(change) = step.change {
                batch.entries.push(Entry {
                    shard: lease.shard,
                    seq: lease.next_seq,
                    at: now,
                    tenant: TENANT,
                    change,
                });
                lease.next_seq += 1;
            }
            let fetched = matches!(step.payload, wellspring_core::PayloadChange::Put);
            if let Some(next) = step
                .next
                .clone()
                .filter(|next| next.next_wakeup().is_some())
            {
                self.under_way.push_back(next);
            }
            let payload = fetched.then(|| Bytes::from_static(PAYLOAD));
            let write = CollectionWrite {
                id,
                before,
                next: step.next,
                attempt: step.attempt,
                payload,
            };
            batch.writes.push(Write::Collection(Box::new(write)));
        }
        batch
    }
}

/// Measures and prints.
pub(crate) async fn run(bench: StoreBench) -> Result<()> {
    let mut report = Report::new(&["steps/s", "commits/s", "p50 ms", "p99 ms", "worst ms"]);
    for size in [1, 16, 64, 256, 512] {
        let folder = tempfile::tempdir()?;
        let store = open(bench.database.as_deref(), folder.path()).await?;
        let mut stepper = Stepper::join(store).await?;
        let (mut steps, mut times) = (0_usize, Vec::new());
        let end = Instant::now() + bench.duration;
        let begin = Instant::now();
        while Instant::now() < end {
            let batch = Arc::new(stepper.life(SystemClock.now(), size));
            steps += batch.writes.len();
            let started = Instant::now();
            stepper.store.commit(batch).await.context("commit")?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        let seconds = begin.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let at = |share: usize| {
            times
                .get((times.len() - 1) * share / 100)
                .copied()
                .unwrap_or(f64::NAN)
        };
        let figures = [
            steps as f64 / seconds,
            times.len() as f64 / seconds,
            at(50),
            at(99),
            at(100),
        ];
        let (name, words) = match size {
            1 => ("batch_1", "batches of 1"),
            16 => ("batch_16", "batches of 16"),
            64 => ("batch_64", "batches of 64"),
            256 => ("batch_256", "batches of 256"),
            _ => ("batch_512", "batches of 512"),
        };
        report.row(name, words, &figures);
    }
    report.print(Output { json: bench.json });
    Ok(())
}

async fn open(database: Option<&str>, folder: &std::path::Path) -> Result<Arc<dyn Backend>> {
    Ok(match database {
        None => Arc::new(SqliteStore::open(
            &folder.join("wellspring.db"),
            &SqliteOptions::default(),
        )?),
        Some("memory") => Arc::new(MemoryStore::new(Arc::new(SystemClock), 1, None)),
        Some(url) => Arc::new(PostgresStore::connect(url, PostgresOptions::default()).await?),
    })
}

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
/// What the sandbox's gas provider gives.
const PAYLOAD: &[u8] = br#"[{"billedOn":"2020-04-07T15:03:14.257Z","amount":22.27},{"billedOn":"2020-05-07T15:03:14.257Z","amount":30.00}]"#;
