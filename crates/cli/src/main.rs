//! The one binary.

mod admin;
mod backup;
mod bench;
mod child;
mod command;
mod config;
mod data_dir;
mod error;
mod intake;
mod logging;
mod master_key;
mod output;
mod rotation;
mod wiring;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use config::{Config, Flags, ServeFlags};
use output::Output;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps an application's connections to outside data sources alive.
#[derive(Debug, Parser)]
#[command(name = "wellspring", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what Wellspring does, on this machine and with nothing else installed
    Demo(command::demo::Demo),
    /// Run the API and the workers
    Serve {
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        serve: ServeFlags,
    },
    /// Run the pretend sources alone
    Sandbox {
        /// Address to listen on
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4010")]
        listen: SocketAddr,
        /// Seed of its randomness, so that a run can be repeated
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Manage API keys
    Key {
        #[command(subcommand)]
        key: command::key::Key,
        #[command(flatten)]
        common: Common,
    },
    /// Try a source
    Connector {
        #[command(subcommand)]
        connector: command::connector::Connector,
        #[command(flatten)]
        common: Common,
    },
    /// Measure
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Check database, clock, outbound network, keys and sources
    Doctor {
        #[command(flatten)]
        common: Common,
    },
    /// Bring the database's schema up to date
    Migrate {
        #[command(flatten)]
        common: Common,
    },
    /// Copy the database, in use or not
    Backup {
        /// The file to write; it must not exist
        target: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Put a backup into an empty data folder
    Restore {
        /// The file that `backup` wrote
        source: PathBuf,
        #[command(flatten)]
        common: Common,
    },
}

/// What most commands take.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    flags: Flags,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    fn load(self) -> Result<(Config, Output)> {
        Ok((
            Config::load(self.flags, ServeFlags::default())?,
            Output { json: self.json },
        ))
    }
}

fn main() -> ExitCode {
    // Databases, backups and logs are for their owner only.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    end_at_panics();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// Has every panic end the process but those that a connector's attempt is made to survive.
fn end_at_panics() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        if !wellspring_engine::is_contained() {
            std::process::abort();
        }
    }));
}

#[expect(
    clippy::print_stderr,
    reason = "the error goes to whoever ran the command"
)]
fn report(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo(demo) => block_on(2, command::demo::run(demo)),
        Command::Serve { flags, serve } => {
            let end_with_stdin = serve.end_with_stdin;
            let config = Config::load(flags, serve)?;
            block_on(config.threads, command::serve::run(config, end_with_stdin))
        }
        Command::Sandbox { listen, seed } => block_on(2, command::sandbox::run(listen, seed)),
        Command::Key { key, common } => {
            let (config, output) = common.load()?;
            block_on(1, command::key::run(&config, key, output))
        }
        Command::Connector { connector, common } => {
            let (config, output) = common.load()?;
            block_on(1, command::connector::run(&config, connector, output))
        }
        Command::Bench { bench } => block_on(2, bench::run(bench)),
        Command::Doctor { common } => {
            let (config, output) = common.load()?;
            block_on(1, command::doctor::run(&config, output))
        }
        Command::Migrate { common } => {
            let (config, output) = common.load()?;
            block_on(1, command::data::migrate(&config, output))
        }
        Command::Backup { target, common } => {
            let (config, output) = common.load()?;
            block_on(1, command::data::backup(&config, target, output))
        }
        Command::Restore { source, common } => {
            let (config, output) = common.load()?;
            command::data::restore(&config, &source, output)
        }
    }
}

fn block_on(threads: usize, future: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    let outcome = runtime.block_on(future);
    // Name look-ups that hang would otherwise hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    outcome
}
