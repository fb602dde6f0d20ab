//! `wellspring bench`: measurements that print and never judge.

use anyhow::Result;
use clap::Subcommand;

mod backlog;
mod churn;
mod collect;
mod limit;
mod load;
mod report;
mod store;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The whole job: accept, fetch, call back
    Collect(collect::Collect),
    /// Durable steps per second by batch size
    Store(store::StoreBench),
    /// Disk use over a long run with retention on
    Churn(churn::Churn),
    /// Disk use and start-up time with many collections waiting for a retry
    Backlog(backlog::Backlog),
    /// The same three HTTP exchanges without a store; `collect` runs it for comparison
    #[command(hide = true)]
    LimitServer(limit::LimitServer),
}

/// Runs one of them.
pub(crate) async fn run(bench: Bench) -> Result<()> {
    match bench {
        Bench::Collect(bench) => collect::run(bench).await,
        Bench::Store(bench) => store::run(bench).await,
        Bench::Churn(bench) => churn::run(bench).await,
        Bench::Backlog(bench) => backlog::run(bench).await,
        Bench::LimitServer(server) => limit::run(server).await,
    }
}
