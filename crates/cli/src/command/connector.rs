//! `wellspring connector`: tries a source from the command line.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Subcommand;
use wellspring_engine::{Clock, SystemClock};

use crate::config::Config;
use crate::output::Output;
use crate::wiring;

/// What to try.
#[derive(Debug, Subcommand)]
pub(crate) enum Connector {
    /// Ask a source once and say what came of it
    Check {
        /// The source's name
        source: String,
    },
    /// List the configured sources
    Discover,
}

pub(crate) async fn run(config: &Config, connector: Connector, output: Output) -> Result<()> {
    let sources = wiring::load_sources(config)?;
    match connector {
        Connector::Discover => {
            let names: Vec<String> = sources
                .iter()
                .map(|source| source.name.to_string())
                .collect();
            output.print(&serde_json::json!({"sources": names}), || names.join("\n"));
        }
        Connector::Check { source } => {
            let name = source.parse()?;
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let connectors = wiring::connectors(sources, &clock)?;
            let Some(report) = connectors.check(&name).await else {
                bail!(
                    "there is no source `{source}` in {}",
                    config.sources.display()
                );
            };
            let value = serde_json::to_value(&report)?;
            output.print(&value, || match &report.error {
                None => format!(
                    "{source}: ok, {} bytes in {} ms",
                    report.bytes,
                    report.duration.as_millis()
                ),
                Some(error) => format!(
                    "{source}: {}: {} ({}), rule: {}",
                    error.class,
                    error.message,
                    error.code,
                    report.rule.as_deref().unwrap_or("none")
                ),
            });
            if !report.ok {
                bail!("the source did not give data");
            }
        }
    }
    Ok(())
}
