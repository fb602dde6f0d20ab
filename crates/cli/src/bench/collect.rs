//! `wellspring bench collect`: the whole job, and the limit of the same HTTP without a store.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;
use wellspring_engine::Tasks;

use super::load::{Case, Counts, World};
use super::report::Report;
use crate::child::{self, Server, Start};
use crate::output::Output;

/// The case.
#[derive(Debug, clap::Args)]
pub(crate) struct Collect {
    /// How long the provider takes to answer
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = wellspring_core::parse_duration)]
    provider_latency: Duration,
    /// Share of the provider's answers that fail
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    failure_rate: f64,
    /// Requests per second (open loop) [default: as fast as answers come]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Connections of the callers
    #[arg(long, value_name = "N", default_value_t = 64)]
    connections: usize,
    /// Unfinished collections at most, without --rate
    #[arg(long, value_name = "N", default_value_t = 1_024)]
    outstanding: usize,
    /// Hosts that receive callbacks; at most 16 calls are in flight to each
    #[arg(long, value_name = "N", default_value_t = 16)]
    receivers: u8,
    /// How long to measure, after a warm-up of a fifth of it
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = wellspring_core::parse_duration)]
    duration: Duration,
    /// postgres://… [default: SQLite in a temporary folder]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Threads of the server for network work [default: its own default]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Leave out the comparison with the same HTTP without a store
    #[arg(long)]
    no_limit: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

struct Figures {
    from: Counts,
    to: Counts,
    cpu: f64,
    idle_mib: f64,
    peak_mib: f64,
    wal_mib: f64,
    stall_ms: f64,
    percentiles: [f64; 3],
    lost: f64,
}

/// Measures and prints.
pub(crate) async fn run(bench: Collect) -> Result<()> {
    let case = Case {
        connections: bench.connections,
        rate: bench.rate,
        outstanding: bench.outstanding,
        receivers: bench.receivers,
        provider_latency: bench.provider_latency,
        failure_rate: bench.failure_rate,
    };
    let mut figures = vec![measure(&bench, &case, false).await?];
    let mut columns = vec!["wellspring"];
    if !bench.no_limit {
        figures.push(measure(&bench, &case, true).await?);
        columns.push("limit");
    }
    let mut report = Report::new(&columns);
    let each = |value: &dyn Fn(&Figures) -> f64| figures.iter().map(value).collect::<Vec<f64>>();
    let seconds = |f: &Figures| (f.to.at - f.from.at).as_secs_f64();
    report.row(
        "accepted_per_second",
        "accepted/s",
        &each(&|f| (f.to.accepted - f.from.accepted) as f64 / seconds(f)),
    );
    report.row(
        "completed_per_second",
        "completed/s",
        &each(&|f| (f.to.completed - f.from.completed) as f64 / seconds(f)),
    );
    report.row(
        "p50_ms",
        "accept to callback, p50, ms",
        &each(&|f| f.percentiles[0]),
    );
    report.row(
        "p95_ms",
        "accept to callback, p95, ms",
        &each(&|f| f.percentiles[1]),
    );
    report.row(
        "p99_ms",
        "accept to callback, p99, ms",
        &each(&|f| f.percentiles[2]),
    );
    report.row(
        "cpu_seconds_per_1000",
        "server CPU seconds per 1,000",
        &each(&|f| f.cpu * 1_000.0 / (f.to.completed - f.from.completed) as f64),
    );
    report.row(
        "idle_mib",
        "server memory when idle, MiB",
        &each(&|f| f.idle_mib),
    );
    report.row(
        "peak_mib",
        "server memory at most, MiB",
        &each(&|f| f.peak_mib),
    );
    report.row("wal_mib", "write-ahead log, MiB", &each(&|f| f.wal_mib));
    report.row(
        "worst_commit_ms",
        "worst commit, ms",
        &each(&|f| f.stall_ms),
    );
    report.row(
        "refused",
        "refused with 503",
        &each(&|f| (f.to.refused - f.from.refused) as f64),
    );
    report.row(
        "unfinished",
        "accepted but not called back at the end",
        &each(&|f| f.lost),
    );
    report.print(Output { json: bench.json });
    Ok(())
}

async fn measure(bench: &Collect, case: &Case, limit: bool) -> Result<Figures> {
    let folder = tempfile::tempdir()?;
    let tasks = Tasks::default();
    let world = World::start(case, &tasks)?;
    write_source(folder.path(), &world.provider_url)?;
    let mut start = Start::serve(
        std::env::current_exe()?,
        folder.path(),
        bench.database.as_deref(),
    );
    if limit {
        let sources = folder.path().join("sources").display().to_string();
        start.arguments = ["bench", "limit-server", "--sources", &sources]
            .map(str::to_owned)
            .to_vec();
    }
    if let Some(threads) = bench.threads {
        start
            .arguments
            .extend(["--threads".to_owned(), threads.to_string()]);
    }
    let server = Server::start(start).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let idle_mib = server.memory_mib(false);

    let begin = Instant::now() + bench.duration / 5;
    let end = begin + bench.duration;
    let load = world.send(server.address, case, end, &tasks);
    tokio::pin!(load);
    let mut from = None;
    let loaded = loop {
        tokio::select! {
            outcome = &mut load => break outcome,
            () = tokio::time::sleep_until(begin), if from.is_none() => {
                from = Some((world.counts(), server.cpu_seconds()));
            }
        }
    };
    loaded?;
    let (from, cpu_before) = from.context("the load ended before the warm-up did")?;
    let (to, cpu_after) = (world.counts(), server.cpu_seconds());
    world.settle(Duration::from_secs(30)).await;
    let last = world.counts();
    let percentiles = [0.5, 0.95, 0.99].map(|share| world.percentile(&from, &to, share));
    let stall_ms = metric(&server, "wellspring_sqlite_longest_commit_seconds").await * 1e3;
    let wal = std::fs::metadata(folder.path().join("data/wellspring.db-wal"));
    let figures = Figures {
        from,
        to,
        cpu: cpu_after - cpu_before,
        idle_mib,
        peak_mib: server.memory_mib(true),
        wal_mib: wal.map_or(f64::NAN, |file| file.len() as f64 / f64::from(1 << 20)),
        stall_ms,
        percentiles,
        lost: last.accepted.saturating_sub(last.completed) as f64,
    };
    drop(server);
    tasks.stop();
    tasks.ended().await;
    Ok(figures)
}

fn write_source(folder: &Path, provider_url: &str) -> Result<()> {
    let sources = folder.join("sources");
    std::fs::create_dir_all(&sources)?;
    let yaml = format!(
        "name: gas\nconnector: http_json\nurl: {provider_url}\nconcurrency: 512\n\
         retry: {{ interval: 200ms, rate: 1.5, max_delay: 5s, max_retries: 60 }}\n"
    );
    std::fs::write(sources.join("gas.yaml"), yaml)?;
    Ok(())
}

/// Returns a metric of the server, or NaN where it has none.
async fn metric(server: &Server, name: &str) -> f64 {
    let Ok(client) = child::client() else {
        return f64::NAN;
    };
    let Ok(response) = child::get(&client, &server.url("/metrics")).await else {
        return f64::NAN;
    };
    let text = String::from_utf8_lossy(&response.body).into_owned();
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .and_then(|line| line.split(' ').nth(1));
    line.and_then(|value| value.parse().ok())
        .unwrap_or(f64::NAN)
}
