//! `wellspring bench churn`: disk use over a long run with retention on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use wellspring_engine::{Clock, Settings, Sweep, SystemClock};
use wellspring_store::{SqliteOptions, SqliteStore};

use super::store::Stepper;
use crate::output::Output;

/// The case.
#[derive(Debug, clap::Args)]
pub(crate) struct Churn {
    /// Days of virtual time
    #[arg(long, value_name = "N", default_value_t = 180)]
    days: u32,
    /// Collections a day
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    per_day: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the days and prints the size of the database after every fifteen.
#[expect(clippy::print_stderr, reason = "a long run shows progress")]
pub(crate) async fn run(bench: Churn) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("wellspring.db");
    let store = SqliteStore::open(&path, &SqliteOptions::default())?;
    let mut stepper = Stepper::join(Arc::new(store)).await?;
    let mut now = SystemClock.now();
    let mut sizes = Vec::new();
    for day in 1..=bench.days {
        now = now.after(DAY);
        let mut left = bench.per_day * 3;
        while left > 0 {
            let count = left.min(512);
            let batch = stepper.life(now, count);
            stepper
                .store
                .commit(Arc::new(batch))
                .await
                .context("commit")?;
            left -= count;
        }
        let tenants = [(
            wellspring_core::TenantId::from_bytes([1; 16]),
            Settings::default(),
        )]
        .into_iter()
        .collect();
        let sweep = Sweep {
            now,
            tenants,
            rows: 1_000,
        };
        while !stepper.store.sweep(sweep.clone()).await?.done {}
        if day % 15 == 0 {
            let bytes = std::fs::metadata(&path)?.len();
            eprintln!("day {day}: {:.1} MiB", bytes as f64 / f64::from(1 << 20));
            sizes.push((day, bytes));
        }
    }
    let value = serde_json::json!({
        "per_day": bench.per_day,
        "sizes": sizes.iter().map(|(day, bytes)| serde_json::json!({"day": day, "bytes": bytes})).collect::<Vec<_>>(),
    });
    Output { json: bench.json }.print(&value, || {
        let row = |(day, bytes): &(u32, u64)| {
            format!(
                "day {day:>4}  {:>10.1} MiB",
                *bytes as f64 / f64::from(1 << 20)
            )
        };
        sizes.iter().map(row).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

const DAY: Duration = Duration::from_secs(86_400);
