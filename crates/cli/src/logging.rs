//! Log lines on stderr.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::config::{Config, LogFormat};

/// Starts logging as configured.
pub(crate) fn init(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .with_context(|| format!("`log`: `{}` is not a filter", config.log))?;
    // At its lower levels the driver logs the parameters of statements, secrets and payloads among them.
    let filter = filter.add_directive("tokio_postgres=info".parse().context("log directive")?);
    let lines = match config.log_format {
        LogFormat::Text => {
            let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
            if std::io::stderr().is_terminal() {
                lines.boxed()
            } else {
                lines.with_ansi(false).boxed()
            }
        }
        LogFormat::Json => fmt::layer().json().with_writer(std::io::stderr).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    Ok(())
}
