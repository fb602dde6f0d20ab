//! `wellspring bench`: measurements that print and never judge.

use anyhow::Result;
use clap::Subcommand;

mod backlog;
mod churn;
mod collect;
mod connections;
mod limit;
mod load;
mod report;
mod store;
mod subscriptions;

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
    /// Many connections: fetched as they come due, and drained when they are overdue
    Connections(connections::Connections),
    /// Changes on their way to webhooks, with few and with many subscriptions
    Subscriptions(subscriptions::Subscriptions),
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
        Bench::Connections(bench) => connections::run(bench).await,
        Bench::Subscriptions(bench) => subscriptions::run(bench).await,
        Bench::LimitServer(server) => limit::run(server).await,
    }
}
