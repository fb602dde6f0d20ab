//! `wellspring bench subscriptions`: changes on their way to webhooks, with few and with many
//! subscriptions that do not match.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::Method;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};
use tokio::time::Instant;
use wellspring_core::SubscriptionId;
use wellspring_engine::{
    Clock, Directory, Subscription, SubscriptionKind, SystemClock, Tasks, random_seed,
};
use wellspring_sandbox::{Delivery, Receiver};
use wellspring_server::Access;
use wellspring_store::{SqliteOptions, SqliteStore};
use wellspring_vault::{MasterKey, SecretKind, SigningSecret, SubscriptionSecrets};

use super::report::Report;
use crate::child::{self, Server, Start};
use crate::output::Output;

/// The case.
#[derive(Debug, clap::Args)]
pub(crate) struct Subscriptions {
    /// How many subscriptions there are in the second run, of all tenants together; 100 in the first
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    count: usize,
    /// How many tenants have them
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    tenants: usize,
    /// How many match each change
    #[arg(long, value_name = "N", default_value_t = 10)]
    matching: usize,
    /// Changes per second
    #[arg(long, value_name = "N", default_value_t = 500)]
    rate: u32,
    /// How long to measure each run
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = wellspring_core::parse_duration)]
    duration: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Measures and prints: one subscription; the matching ones among 100; and among many.
pub(crate) async fn run(bench: Subscriptions) -> Result<()> {
    let few = bench.matching.max(100);
    let runs = [
        measure(&bench, 1, 1).await?,
        measure(&bench, few, bench.matching).await?,
        measure(&bench, bench.count, bench.matching).await?,
    ];
    let mut report = Report::new(&["one", "few", "many"]);
    let rows: [Row; 9] = [
        ("subscriptions", "subscriptions", |f| f.subscriptions),
        ("matching", "matching each change", |f| f.matching),
        ("changes_per_second", "changes/s", |f| f.changes),
        ("deliveries_per_second", "deliveries/s", |f| f.deliveries),
        ("p50_ms", "call to webhook, p50, ms", |f| f.p50),
        ("p99_ms", "call to webhook, p99, ms", |f| f.p99),
        (
            "cpu_seconds_per_1000",
            "server CPU seconds per 1,000 changes",
            |f| f.cpu,
        ),
        ("ready_s", "start to ready, s", |f| f.ready),
        ("memory_mib", "server memory, most, MiB", |f| f.memory),
    ];
    for (name, words, figure) in rows {
        report.row(name, words, &runs.each_ref().map(figure));
    }
    report.print(Output { json: bench.json });
    Ok(())
}

/// A row of the report: its name, its words, and its figure.
type Row = (&'static str, &'static str, fn(&Figures) -> f64);

struct Figures {
    subscriptions: f64,
    matching: f64,
    changes: f64,
    deliveries: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    ready: f64,
    memory: f64,
}

/// When what was told first, by the id in the path, and how often anything was.
#[derive(Default)]
struct Told {
    first: BTreeMap<String, Instant>,
    count: u64,
}

async fn measure(bench: &Subscriptions, count: usize, matching: usize) -> Result<Figures> {
    let tasks = Tasks::default();
    let folder = tempfile::tempdir()?;
    std::fs::create_dir_all(folder.path().join("data"))?;
    std::fs::create_dir_all(folder.path().join("sources"))?;
    let told = Arc::new(Mutex::new(Told::default()));
    let (url, client) = (receive(&told, &tasks)?, child::client()?);
    let others = count.saturating_sub(matching);
    fill(
        &folder.path().join("data/wellspring.db"),
        others,
        bench.tenants,
    )
    .await?;

    let mut start = Start::serve(std::env::current_exe()?, folder.path(), None);
    let key = ("WELLSPRING_MASTER_KEY".to_owned(), MASTER_KEY.to_owned());
    start.environment.push(key);
    let started = Instant::now();
    let server = Server::start(start).await?;
    let ready = started.elapsed();
    for _ in 0..matching {
        let body = json!({"url": url, "patterns": ["CREATED /accounts/*"]}).to_string();
        let path = server.url("/v1/subscriptions");
        let made = child::send(&client, Method::POST, &path, None, body.into()).await?;
        if made.status != http::StatusCode::CREATED {
            bail!("{}", String::from_utf8_lossy(&made.body));
        }
    }
    let warm_up = bench.duration / 5;
    drop(call(&server, bench.rate, warm_up).await?);
    settle(&told).await;
    let (cpu, before) = (server.cpu_seconds(), lock(&told).count);
    let from = Instant::now();
    let sent = call(&server, bench.rate, bench.duration).await?;
    settle(&told).await;
    let seconds = from.elapsed().as_secs_f64();
    let cpu = server.cpu_seconds() - cpu;
    let (taken, first) = {
        let told = lock(&told);
        (told.count - before, told.first.clone())
    };
    let mut waits: Vec<f64> = sent
        .iter()
        .filter_map(|(id, at)| first.get(id).map(|took| *took - *at))
        .map(|wait| wait.as_secs_f64() * 1_000.0)
        .collect();
    if waits.len() < sent.len() {
        bail!(
            "{} of {} changes were not told",
            sent.len() - waits.len(),
            sent.len()
        );
    }
    waits.sort_by(f64::total_cmp);
    let at = |share: usize| waits.get(waits.len().saturating_sub(1) * share / 100);
    let figures = Figures {
        subscriptions: count as f64,
        matching: matching as f64,
        changes: sent.len() as f64 / seconds,
        deliveries: taken as f64 / seconds,
        p50: at(50).copied().unwrap_or(f64::NAN),
        p99: at(99).copied().unwrap_or(f64::NAN),
        cpu: cpu * 1_000.0 / sent.len() as f64,
        ready: ready.as_secs_f64(),
        memory: server.memory_mib(true),
    };
    drop(server);
    tasks.stop();
    tasks.ended().await;
    Ok(figures)
}

/// Starts the endpoint of all subscriptions that match.
fn receive(told: &Arc<Mutex<Told>>, tasks: &Tasks) -> Result<String> {
    let watcher = Arc::clone(told);
    let receiver = Receiver::bind("127.0.0.1:0".parse()?, 1)?
        .counting_only()
        .on_delivery(Arc::new(move |delivery: &Delivery| {
            let now = Instant::now();
            let body: Value = serde_json::from_slice(&delivery.body).unwrap_or(Value::Null);
            let id = body["data"]["path"]
                .as_str()
                .and_then(|path| path.rsplit('/').next());
            let mut told = lock(&watcher);
            told.count += 1;
            if let Some(id) = id {
                told.first.entry(id.to_owned()).or_insert(now);
            }
        }));
    let url = format!("http://{}/changes", receiver.local_addr());
    let stop = tasks.stop_token().clone();
    tasks.spawn(
        "receiver",
        receiver.run(async move { stop.cancelled().await }),
    );
    Ok(url)
}

/// Makes accounts at the rate, whatever the answers take; returns when each was asked for.
async fn call(server: &Server, rate: u32, duration: Duration) -> Result<Vec<(String, Instant)>> {
    let client = Arc::new(child::client()?);
    let url = server.url("/v1/accounts");
    let gap = Duration::from_secs(1) / rate.max(1);
    let (mut next, end) = (Instant::now(), Instant::now() + duration);
    let mut calls = tokio::task::JoinSet::new();
    while next < end {
        tokio::time::sleep_until(next).await;
        let (client, url, due) = (Arc::clone(&client), url.clone(), next);
        calls.spawn(async move {
            let made = child::send(&client, Method::POST, &url, None, "{}".into()).await?;
            let body: Value = serde_json::from_slice(&made.body)?;
            let id = body["id"].as_str().context("no account")?.to_owned();
            Ok::<_, anyhow::Error>((id, due))
        });
        next += gap;
    }
    let mut sent = Vec::new();
    while let Some(made) = calls.join_next().await {
        sent.push(made??);
    }
    Ok(sent)
}

/// Waits until nothing more is told.
async fn settle(told: &Mutex<Told>) {
    let mut last = u64::MAX;
    loop {
        let count = lock(told).count;
        if count == last {
            return;
        }
        last = count;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Writes tenants that all use the recommended wildcards.
async fn fill(path: &Path, subscriptions: usize, tenants: usize) -> Result<()> {
    let store = SqliteStore::open(path, &SqliteOptions::default())?;
    let now = SystemClock.now();
    let master: MasterKey = MASTER_KEY.parse().context("key")?;
    let vault = wellspring_server::open_vault(&store, &[master], now).await?;
    let mut rng = ChaCha8Rng::seed_from_u64(random_seed());
    let patterns = PATTERNS.map(|text| text.parse());
    let patterns: Vec<_> = patterns.into_iter().collect::<Result<_, _>>()?;
    let mut owners = Vec::new();
    let backend = Arc::new(store.clone());
    let access = Access::load(backend, vault.clone(), Arc::new(SystemClock)).await?;
    access
        .create_tenant(crate::wiring::DEFAULT_TENANT, None)
        .await?;
    for n in 0..tenants.min(subscriptions) {
        owners.push(access.create_tenant(&format!("tenant {n}"), None).await?);
    }
    for n in 0..subscriptions {
        let id = SubscriptionId::mint(now, &mut rng);
        let secret = SigningSecret::random(SecretKind::Hmac);
        let secrets = SubscriptionSecrets::new(secret, now.as_millis());
        let subscription = Subscription {
            id,
            tenant: owners[n % owners.len()],
            kind: SubscriptionKind::Webhook,
            patterns: patterns.clone(),
            url: format!("http://127.0.0.1:9/{n}").into(),
            description: None,
            created_at: now,
            version: 1,
            enabled: true,
            disabled: None,
            sealed_secrets: secrets.seal(&vault, id.as_bytes()),
        };
        store.put_subscription(subscription, None).await?;
    }
    Ok(())
}

fn lock(told: &Mutex<Told>) -> std::sync::MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

const MASTER_KEY: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
/// What the first seed tells everybody to subscribe to.
const PATTERNS: [&str; 3] = [
    "UPDATED /accounts/*/connections/*/state/*",
    "CREATED /accounts/*/connections/*/interactions/*",
    "DELETED /accounts/*/connections/*/interactions/*",
];
