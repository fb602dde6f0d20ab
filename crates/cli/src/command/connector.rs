//! `wellspring connector`: tries a source from the command line.

mod classify;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Subcommand;
use rand_core::SeedableRng;
use wellspring_connectors::Sources;
use wellspring_core::{CollectionId, ErrorModel, Shard, SourceName, TenantId};
use wellspring_engine::Connector as _;
use wellspring_engine::{Clock, FetchOrder, FetchResult, Nobody, SystemClock, random_seed};

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
    /// Say which rule fires on a recorded response, and what would follow
    Classify {
        /// The source whose rules are asked, instead of those that ship
        #[arg(long)]
        source: Option<String>,
        /// Whose words for errors the response uses: `http` or `plaid`; the recording may say it itself
        #[arg(long, value_parser = error_model, conflicts_with = "source")]
        errors: Option<ErrorModel>,
        /// The recording: YAML, or the text that `curl -i` prints; `-` for the standard input
        file: PathBuf,
    },
    /// List the configured sources
    Discover,
    /// Ask a source once and print its data
    Read {
        /// The source's name
        source: String,
    },
}

pub(crate) async fn run(config: &Config, connector: Connector, output: Output) -> Result<()> {
    let load = || wiring::load_sources(config);
    match connector {
        Connector::Classify {
            source,
            errors,
            file,
        } => classify::run(load, source.as_deref(), errors, &file, output)?,
        Connector::Discover => {
            let sources = load()?;
            let names: Vec<String> = sources
                .iter()
                .map(|source| source.name.to_string())
                .collect();
            output.print(&serde_json::json!({"sources": names}), || names.join("\n"));
        }
        Connector::Read { source } => read(config, load()?, &source, output).await?,
        Connector::Check { source } => {
            let name = source.parse()?;
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let connectors = wiring::connectors(load()?, &clock, &wiring::passing_vault(&clock))?;
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

fn error_model(text: &str) -> Result<ErrorModel, String> {
    let known = ErrorModel::ALL
        .into_iter()
        .find(|model| model.as_str() == text);
    known.ok_or_else(|| {
        format!(
            "must be {}",
            ErrorModel::ALL.map(ErrorModel::as_str).join(" or ")
        )
    })
}

async fn read(config: &Config, sources: Sources, source: &str, output: Output) -> Result<()> {
    let name: SourceName = source.parse()?;
    if sources.get(&name).is_none() {
        bail!(
            "there is no source `{source}` in {}",
            config.sources.display()
        );
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(random_seed());
    let id = CollectionId::mint_in(clock.now(), Shard(0), &mut rng);
    let order = FetchOrder {
        source: name,
        id,
        tenant: TenantId::from_bytes([0; 16]),
    };
    let vault = wiring::passing_vault(&clock);
    match wiring::connectors(sources, &clock, &vault)?
        .fetch(order, Arc::new(Nobody))
        .await
    {
        FetchResult::Fetched(data) => {
            let text = String::from_utf8_lossy(&data);
            let value = serde_json::from_str(&text)?;
            output.print(&value, || text.into_owned());
            Ok(())
        }
        FetchResult::Failed { error, .. } => {
            bail!("{}: {} ({})", error.class, error.message, error.code)
        }
    }
}
