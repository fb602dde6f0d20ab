//! `wellspring bench connections`: many connections in one folder, fetched as they come due, and
//! a backlog of overdue ones drained within the limits of its source.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use tokio::time::Instant;
use wellspring_core::budget::Spends;
use wellspring_core::connection::{Config, Connection, Next, SecretWrite, Slot, State};
use wellspring_core::schedule::Schedule;
use wellspring_core::{
    Access, Account, AccountId, ConnectionId, IncarnationId, OnQuestionExpired, Reason, Sealed,
    Shard, TenantId, Timestamp,
};
use wellspring_engine::{
    AccountWrite, Batch, Before, Clock, ConnectionWrite, DispatchWrites, Lease, Store, SystemClock,
    Tasks, Write, random_seed,
};
use wellspring_sandbox::{Control, Sandbox, Source};
use wellspring_store::{SqliteOptions, SqliteStore};
use wellspring_vault::{MasterKey, Vault, context};

use super::report::Report;
use crate::child::{self, Server, Start};
use crate::output::Output;

/// The case.
#[derive(Debug, clap::Args)]
pub(crate) struct Connections {
    /// How many connections there are
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    count: usize,
    /// How many of them come due in each second of the measurement
    #[arg(long, value_name = "N", default_value_t = 500)]
    rate: u32,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = wellspring_core::parse_duration)]
    duration: Duration,
    /// How many are overdue at the start of the second run, which drains them
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    overdue: usize,
    /// How many fetches their source allows in a minute
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    per_minute: u32,
    /// How many fetches their source allows at once
    #[arg(long, value_name = "N", default_value_t = 32)]
    concurrency: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Fills a folder, serves it, and prints what was measured.
pub(crate) async fn run(bench: Connections) -> Result<()> {
    let mut report = Report::new(&["steady", "drain"]);
    let steady = steady(&bench).await?;
    let drain = if bench.overdue > 0 {
        drain(&bench).await?
    } else {
        Figures::default()
    };
    let rows: [Row; 11] = [
        ("connections", "connections", |f| f.connections),
        ("ready_s", "start to ready, s", |f| f.ready),
        ("first_s", "start to first fetch, s", |f| f.first),
        ("due_per_second", "due/s", |f| f.due_rate),
        ("fetched_per_second", "fetched/s", |f| f.fetched_rate),
        ("lag_p99_s", "lag p99, s (upper bound)", |f| f.lag_p99),
        ("memory_mib", "server memory, most, MiB", |f| f.memory),
        (
            "cpu_seconds_per_1000",
            "server CPU seconds per 1,000 fetches",
            |f| f.cpu,
        ),
        ("took_s", "until none was due, s", |f| f.took),
        ("most_at_once", "most calls at once at the source", |f| {
            f.at_once
        }),
        ("most_per_minute", "most logins in any minute", |f| {
            f.in_minute
        }),
    ];
    for (name, words, figure) in rows {
        report.row(name, words, &[figure(&steady), figure(&drain)]);
    }
    report.print(Output { json: bench.json });
    Ok(())
}

/// A row of the report: its name, its words, and its figure.
type Row = (&'static str, &'static str, fn(&Figures) -> f64);

/// What one run brought; what it does not measure is not a number.
struct Figures {
    connections: f64,
    ready: f64,
    first: f64,
    due_rate: f64,
    fetched_rate: f64,
    lag_p99: f64,
    memory: f64,
    cpu: f64,
    took: f64,
    at_once: f64,
    in_minute: f64,
}

impl Default for Figures {
    fn default() -> Self {
        let none = f64::NAN;
        Self {
            connections: none,
            ready: none,
            first: none,
            due_rate: none,
            fetched_rate: none,
            lag_p99: none,
            memory: none,
            cpu: none,
            took: none,
            at_once: none,
            in_minute: none,
        }
    }
}

/// Connections come due one after the other at the rate; the server is there a little before.
async fn steady(bench: &Connections) -> Result<Figures> {
    let tasks = Tasks::default();
    let place = Place::set(&tasks, bench.concurrency, None)?;
    let fill_time = Duration::from_secs_f64(bench.count as f64 / SLOWEST_FILL);
    let first_due = SystemClock.now().after(fill_time + Duration::from_secs(10));
    let gap = Duration::from_secs(1) / bench.rate.max(1);
    let due = |n: usize| first_due.after(gap.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX)));
    fill(&place.database(), bench.count, due).await?;
    let early = first_due
        .since(SystemClock.now())
        .saturating_sub(HEAD_START);
    tokio::time::sleep(early).await;

    let started = Instant::now();
    let server = place.serve().await?;
    let ready = started.elapsed();
    place.bank.wait_until_bank(|bank| bank.logins > 0).await;
    let first = started.elapsed();
    let warm = first_due.after(Duration::from_secs(5));
    tokio::time::sleep(warm.since(SystemClock.now())).await;
    let (cpu, logins, from) = (server.cpu_seconds(), place.logins(), Instant::now());
    tokio::time::sleep(bench.duration).await;
    let fetched = place.logins() - logins;
    let seconds = from.elapsed().as_secs_f64();
    let figures = Figures {
        connections: bench.count as f64,
        ready: ready.as_secs_f64(),
        first: first.as_secs_f64(),
        due_rate: f64::from(bench.rate),
        fetched_rate: fetched as f64 / seconds,
        lag_p99: lag_p99(&server).await?,
        memory: server.memory_mib(true),
        cpu: (server.cpu_seconds() - cpu) * 1_000.0 / fetched as f64,
        ..Figures::default()
    };
    drop(server);
    tasks.stop();
    tasks.ended().await;
    Ok(figures)
}

/// All connections are overdue when the server starts, as after a downtime.
async fn drain(bench: &Connections) -> Result<Figures> {
    let tasks = Tasks::default();
    let place = Place::set(&tasks, bench.concurrency, Some(bench.per_minute))?;
    let now = SystemClock.now();
    let overdue = now.before(Duration::from_secs(3_600));
    fill(&place.database(), bench.overdue, |_| overdue).await?;
    let started = Instant::now();
    let server = place.serve().await?;
    let ready = started.elapsed();
    place.bank.wait_until_bank(|bank| bank.logins > 0).await;
    let (first, cpu) = (started.elapsed(), server.cpu_seconds());
    let all = u64::try_from(bench.overdue)?;
    place.bank.wait_until_bank(|bank| bank.logins >= all).await;
    let took = started.elapsed();
    let counts = place.bank.bank_counts();
    let figures = Figures {
        connections: bench.overdue as f64,
        ready: ready.as_secs_f64(),
        first: first.as_secs_f64(),
        fetched_rate: all as f64 / (took - first).as_secs_f64(),
        memory: server.memory_mib(true),
        cpu: (server.cpu_seconds() - cpu) * 1_000.0 / all as f64,
        took: took.as_secs_f64(),
        at_once: f64::from(
            u32::try_from(place.bank.counts(Source::SandboxBank).max_in_flight).unwrap_or(u32::MAX),
        ),
        in_minute: counts.max_logins_per_minute as f64,
        ..Figures::default()
    };
    drop(server);
    tasks.stop();
    tasks.ended().await;
    Ok(figures)
}

/// A folder, and the bank that its connections lead to.
struct Place {
    folder: tempfile::TempDir,
    bank: Control,
}

impl Place {
    fn set(tasks: &Tasks, concurrency: u32, per_minute: Option<u32>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir_all(folder.path().join("data"))?;
        std::fs::create_dir_all(folder.path().join("sources"))?;
        let sandbox = Sandbox::bind("127.0.0.1:0".parse()?, 1).context("bank")?;
        let limit = per_minute.map_or_else(String::new, |most| format!("per_minute: {most}\n"));
        let yaml = format!(
            "name: bank\nconnector: sandbox_bank\nurl: http://{}/bank\nconcurrency: {concurrency}\n{limit}",
            sandbox.local_addr()
        );
        std::fs::write(folder.path().join("sources/bank.yaml"), yaml)?;
        let bank = sandbox.control();
        let stop = tasks.stop_token().clone();
        tasks.spawn("bank", sandbox.run(async move { stop.cancelled().await }));
        Ok(Self { folder, bank })
    }

    fn database(&self) -> std::path::PathBuf {
        self.folder.path().join("data/wellspring.db")
    }

    fn logins(&self) -> u64 {
        self.bank.bank_counts().logins
    }

    async fn serve(&self) -> Result<Server> {
        let mut start = Start::serve(std::env::current_exe()?, self.folder.path(), None);
        // The folder was filled without a server, under this key.
        start
            .environment
            .push(("WELLSPRING_MASTER_KEY".to_owned(), MASTER_KEY.to_owned()));
        Server::start(start).await
    }
}

/// Writes connections that rest until they are due, with the credentials of an account that has
/// no documents.
#[expect(clippy::print_stderr, reason = "a long run shows progress")]
async fn fill(path: &Path, count: usize, due: impl Fn(usize) -> Timestamp) -> Result<()> {
    let store = SqliteStore::open(path, &SqliteOptions::default())?;
    let master: MasterKey = MASTER_KEY.parse().context("key")?;
    let vault = wellspring_server::open_vault(&store, &[master], SystemClock.now()).await?;
    let mut writer = Writer::join(&store).await?;
    let tenant = TenantId::mint(SystemClock.now(), &mut writer.rng);
    let account = writer.account(tenant).await?;
    let mut made = 0;
    while made < count {
        let size = (count - made).min(BATCH);
        let writes = (made..made + size)
            .map(|n| writer.connection(&vault, (tenant, account), due(n)))
            .collect();
        writer.commit(writes).await?;
        made += size;
        if made % (BATCH * 400) == 0 {
            eprintln!("{made} of {count}");
        }
    }
    Ok(())
}

/// Commits batches as a driver would.
struct Writer<'s> {
    store: &'s SqliteStore,
    incarnation: IncarnationId,
    lease: Lease,
    number: u64,
    rng: ChaCha8Rng,
}

impl<'s> Writer<'s> {
    async fn join(store: &'s SqliteStore) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(random_seed());
        let incarnation = IncarnationId::mint(SystemClock.now(), &mut rng);
        store.join(incarnation).await?;
        let leases = store.acquire(incarnation, store.shards()).await?;
        let lease = *leases.first().context("no shard")?;
        Ok(Self {
            store,
            incarnation,
            lease,
            number: 0,
            rng,
        })
    }

    async fn account(&mut self, tenant: TenantId) -> Result<AccountId> {
        let now = SystemClock.now();
        let id = AccountId::mint_in(now, self.shard(), &mut self.rng);
        let step = Account::create(now, id, tenant, None, wellspring_core::Actor::Engine);
        let write = AccountWrite {
            id,
            before: Before::New,
            next: step.next,
        };
        self.commit(vec![Write::Account(write)]).await?;
        Ok(id)
    }

    const fn shard(&self) -> Shard {
        self.lease.shard
    }

    fn connection(
        &mut self,
        vault: &Vault,
        (tenant, account): (TenantId, AccountId),
        due: Timestamp,
    ) -> Write {
        let now = SystemClock.now();
        let id = ConnectionId::mint_in(now, self.shard(), &mut self.rng);
        let sealed = vault.seal(&context::credentials(id.as_bytes()), CREDENTIALS);
        #[expect(clippy::expect_used, reason = "the literals are a name and a period")]
        let (source, schedule) = (
            "bank".parse().expect("a name"),
            Schedule::every(Duration::from_secs(86_400)).expect("a period"),
        );
        let connection = Connection {
            id,
            account,
            tenant,
            source,
            created_at: now,
            version: 1,
            config: Config {
                label: None,
                schedule,
                slow_plan: None,
                on_question_expired: OnQuestionExpired::Retry,
                start_date: None,
                paused: false,
            },
            state: State::Waiting {
                next: Some(Next {
                    at: due,
                    reason: Reason::Schedule,
                }),
            },
            access: Access::Valid,
            outcome: None,
            retries: 0,
            waits: 0,
            last_success_at: None,
            repair: None,
            alerts: Vec::new(),
            asked_in: None,
        };
        Write::Connection(Box::new(ConnectionWrite {
            id,
            before: Before::New,
            next: Some(connection),
            fetch: None,
            attempt: None,
            interactions: Vec::new(),
            secrets: vec![SecretWrite::Put(Slot::Credentials, Sealed::new(sealed))],
            documents: Vec::new(),
            records: Vec::new(),
            cursors: Vec::new(),
            alerts: Vec::new(),
        }))
    }

    async fn commit(&mut self, writes: Vec<Write>) -> Result<()> {
        self.number += 1;
        let batch = Batch {
            incarnation: self.incarnation,
            number: self.number,
            epochs: vec![(self.lease.shard, self.lease.epoch)],
            writes,
            entries: Vec::new(),
            keys: Vec::new(),
            consumed: Vec::new(),
            unclassified: Vec::new(),
            dispatch: DispatchWrites::default(),
            spends: Spends::default(),
        };
        let spent = self.store.commit(Arc::new(batch)).await;
        spent.map(drop).context("commit")
    }
}

/// Reads the server's own measurement of how late fetches began.
async fn lag_p99(server: &Server) -> Result<f64> {
    let response = child::get(&child::client()?, &server.url("/metrics")).await?;
    let text = String::from_utf8_lossy(&response.body);
    let mut buckets = Vec::new();
    for line in text.lines() {
        // There is one source, and so one series of buckets.
        let series = line.strip_prefix("wellspring_fetch_lag_seconds_bucket{");
        let bucket = series.and_then(|labels| labels.split_once("le=\""));
        let Some((bound, count)) = bucket.and_then(|(_, rest)| rest.split_once("\"} ")) else {
            continue;
        };
        buckets.push((
            bound.parse().unwrap_or(f64::INFINITY),
            count.parse().unwrap_or(0.0),
        ));
    }
    let all: f64 = buckets.last().map_or(0.0, |(_, count)| *count);
    let reached = buckets.iter().find(|(_, count)| *count >= all * 0.99);
    Ok(reached.map_or(f64::NAN, |(bound, _)| *bound))
}

const MASTER_KEY: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
const CREDENTIALS: &[u8] = br#"{"username":"user","password":"nodocs"}"#;
/// How many connections a second are written at the least.
const SLOWEST_FILL: f64 = 15_000.0;
/// How long before the first fetch is due the server starts.
const HEAD_START: Duration = Duration::from_secs(4);
const BATCH: usize = 512;
