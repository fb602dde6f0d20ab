//! `wellspring bench backlog`: many collections that wait for a retry, and a start on top of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use wellspring_core::{Error, ErrorClass, Input};
use wellspring_engine::{Clock, SystemClock};
use wellspring_store::{SqliteOptions, SqliteStore};

use super::report::Report;
use super::store::Stepper;
use crate::child::{Server, Start};
use crate::output::Output;

/// The case.
#[derive(Debug, clap::Args)]
pub(crate) struct Backlog {
    /// How many wait
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    count: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Fills a folder, starts a server on it, and prints sizes and times.
pub(crate) async fn run(bench: Backlog) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir_all(folder.path().join("data"))?;
    std::fs::create_dir_all(folder.path().join("sources"))?;
    fill(&folder.path().join("data/wellspring.db"), bench.count).await?;
    let size = |name: &str| {
        std::fs::metadata(folder.path().join("data").join(name))
            .map_or(0.0, |file| file.len() as f64 / 1e6)
    };
    let (database, log) = (size("wellspring.db"), size("wellspring.db-wal"));
    let started = tokio::time::Instant::now();
    let mut start = Start::serve(std::env::current_exe()?, folder.path(), None);
    // The folder was filled without a server, so there is no key in it yet.
    start
        .environment
        .push(("WELLSPRING_MASTER_KEY".to_owned(), "5a".repeat(32)));
    let server = Server::start(start).await?;
    let ready = started.elapsed();
    let mut report = Report::new(&["backlog"]);
    report.row(
        "waiting",
        "collections waiting for a retry",
        &[bench.count as f64],
    );
    report.row("database_mb", "database, MB", &[database]);
    report.row("log_mb", "write-ahead log, MB", &[log]);
    report.row("ready_s", "start to ready, s", &[ready.as_secs_f64()]);
    report.row(
        "memory_mib",
        "server memory then, MiB",
        &[server.memory_mib(false)],
    );
    report.print(Output { json: bench.json });
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a long run shows progress")]
async fn fill(path: &Path, count: usize) -> Result<()> {
    let store = SqliteStore::open(path, &SqliteOptions::default())?;
    let mut stepper = Stepper::join(Arc::new(store)).await?;
    let mut made = 0;
    while made < count {
        let now = SystemClock.now();
        let size = (count - made).min(512);
        let accepted: Vec<_> = (0..size).map(|_| stepper.accept(now)).collect();
        let collections: Vec<_> = accepted
            .iter()
            .filter_map(|(_, _, step)| step.next.clone())
            .collect();
        let batch = stepper.batch(now, accepted);
        stepper
            .store
            .commit(Arc::new(batch))
            .await
            .context("commit")?;
        let failed: Vec<_> = collections
            .into_iter()
            .map(|collection| {
                let error = Error {
                    class: ErrorClass::ConnectionFailure,
                    code: "http_500".to_owned(),
                    message: "the source answered 500 Internal Server Error".to_owned(),
                };
                let retry_at = Some(now.after(Duration::from_secs(3_600)));
                stepper.step(
                    now,
                    collection,
                    Input::FetchFailed {
                        started: now,
                        error,
                        retry_at,
                        probe: false,
                    },
                )
            })
            .collect();
        let batch = stepper.batch(now, failed);
        stepper
            .store
            .commit(Arc::new(batch))
            .await
            .context("commit")?;
        made += size;
        if made % (512 * 400) == 0 {
            eprintln!("{made} of {count}");
        }
    }
    Ok(())
}
