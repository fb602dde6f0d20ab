//! Configuration: defaults, then the file, then the environment, then flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use wellspring_delivery::NoticeOptions;
use wellspring_engine::Limits;

mod notifications;
mod telemetry;

pub(crate) use telemetry::Traces;

/// Flags and environment of every command that opens the database.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Flags {
    /// Configuration file [default: wellspring.toml where it exists]
    #[arg(long, global = true, value_name = "FILE", env = "WELLSPRING_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Folder of the database, the master key and the sources [default: ./wellspring-data]
    #[arg(long, global = true, value_name = "DIR", env = "WELLSPRING_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// postgres://… for PostgreSQL [default: SQLite in the data folder]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "WELLSPRING_DATABASE_URL",
        hide_env_values = true
    )]
    pub(crate) database: Option<String>,
    /// Folder of the source files [default: <data-dir>/sources]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "WELLSPRING_SOURCES_DIR"
    )]
    pub(crate) sources: Option<PathBuf>,
    /// What to log, as a filter such as `info` or `wellspring_engine=debug` [default: info]
    #[arg(long, global = true, value_name = "FILTER", env = "WELLSPRING_LOG")]
    pub(crate) log: Option<String>,
    /// How to log
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "WELLSPRING_LOG_FORMAT"
    )]
    pub(crate) log_format: Option<LogFormat>,
    /// Networks (CIDR, comma separated) that callbacks may reach although they are private
    #[arg(
        long,
        global = true,
        value_name = "CIDRS",
        env = "WELLSPRING_OUTBOUND_ALLOW",
        value_delimiter = ',', value_parser = network
    )]
    pub(crate) outbound_allow: Option<Vec<IpNet>>,
}

/// Flags and environment of `serve` alone.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeFlags {
    /// Address of the API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "WELLSPRING_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Base of the links given to others, behind a proxy [default: the listen address]
    #[arg(long, value_name = "URL", env = "WELLSPRING_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    /// Address of /metrics [default: the listen address]
    #[arg(long, value_name = "ADDR", env = "WELLSPRING_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Threads for network work; the database has its own [default: half the cores]
    #[arg(long, value_name = "N", env = "WELLSPRING_THREADS")]
    pub(crate) threads: Option<usize>,
    /// Stop when standard input ends, for a parent that may be killed
    #[arg(long, hide = true)]
    pub(crate) end_with_stdin: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The configuration in force.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) database: Option<SecretString>,
    pub(crate) sources: PathBuf,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) outbound_allow: Vec<IpNet>,
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<String>,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) threads: usize,
    pub(crate) limits: Limits,
    pub(crate) notifications: NoticeOptions,
    pub(crate) traces: Option<Traces>,
    /// With what the gateway signs the SMS that it takes in.
    pub(crate) sms_secret: Option<SecretString>,
    pub(crate) master_key: Option<SecretString>,
    pub(crate) bootstrap_api_key: Option<SecretString>,
    pub(crate) bootstrap_callback_secret: Option<SecretString>,
}

/// The file; an unknown key is an error. It may hold secrets, so that it has no debug form.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data_dir: Option<PathBuf>,
    database: Option<String>,
    sources: Option<PathBuf>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    outbound_allow: Option<Vec<IpNet>>,
    listen: Option<SocketAddr>,
    public_url: Option<String>,
    metrics_listen: Option<SocketAddr>,
    threads: Option<usize>,
    limits: LimitsSection,
    notifications: notifications::Section,
    telemetry: telemetry::Section,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsSection {
    commands: Option<usize>,
    backlog: Option<u64>,
    in_flight: Option<u32>,
    receiver_concurrency: Option<u32>,
}

impl Config {
    /// Reads everything that configures the program.
    pub(crate) fn load(flags: Flags, serve: ServeFlags) -> Result<Self> {
        let path = file_path(flags.config.as_deref());
        let file = read_file(path)?;
        let data_dir = flags
            .data_dir
            .or(file.data_dir)
            .unwrap_or_else(|| PathBuf::from("wellspring-data"));
        let database = match secret("WELLSPRING_DATABASE_URL", flags.database)? {
            Some(url) => Some(url),
            None => file.database.map(SecretString::from),
        };
        if let Some(url) = &database
            && !url.expose_secret().starts_with("postgres://")
            && !url.expose_secret().starts_with("postgresql://")
        {
            bail!(
                "`database` must begin with postgres:// (without it SQLite in the data folder is used)"
            );
        }
        if let Some(folder) = flags.sources.as_ref().or(file.sources.as_ref())
            && !folder.is_dir()
        {
            bail!("`sources`: there is no folder {}", folder.display());
        }
        let limits = file.limits.apply(Limits::default())?;
        let threads = serve
            .threads
            .or(file.threads)
            .unwrap_or_else(default_threads);
        if threads == 0 || threads > 256 {
            bail!("`threads` must be between 1 and 256");
        }
        let public_url = serve
            .public_url
            .or(file.public_url)
            .map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = &public_url
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            bail!("`public_url` must begin with http:// or https://");
        }
        Ok(Self {
            sources: flags
                .sources
                .or(file.sources)
                .unwrap_or_else(|| data_dir.join("sources")),
            data_dir,
            database,
            log: flags.log.or(file.log).unwrap_or_else(|| "info".to_owned()),
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
            outbound_allow: flags
                .outbound_allow
                .or(file.outbound_allow)
                .unwrap_or_default(),
            listen: serve.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN),
            public_url,
            metrics_listen: serve.metrics_listen.or(file.metrics_listen),
            threads,
            limits,
            sms_secret: file.notifications.inbound_secret()?,
            notifications: file.notifications.options()?,
            traces: file.telemetry.traces().with_context(|| in_file(path))?,
            master_key: secret("WELLSPRING_MASTER_KEY", None)?,
            bootstrap_api_key: secret("WELLSPRING_BOOTSTRAP_API_KEY", None)?,
            bootstrap_callback_secret: secret("WELLSPRING_BOOTSTRAP_CALLBACK_SECRET", None)?,
        })
    }

    /// Returns the file of the SQLite database.
    pub(crate) fn sqlite_path(&self) -> PathBuf {
        self.data_dir.join("wellspring.db")
    }
}

impl LimitsSection {
    fn apply(self, limits: Limits) -> Result<Limits> {
        let limits = Limits {
            commands: self.commands.unwrap_or(limits.commands),
            backlog: self.backlog.unwrap_or(limits.backlog),
            in_flight: self.in_flight.unwrap_or(limits.in_flight),
            receiver_concurrency: self
                .receiver_concurrency
                .unwrap_or(limits.receiver_concurrency),
            ..limits
        };
        if limits.commands == 0 || limits.in_flight == 0 || limits.receiver_concurrency == 0 {
            bail!("every number under [limits] must be at least 1");
        }
        Ok(limits)
    }
}

/// Returns the file that is read: the named one, or that of the usual name where it exists.
fn file_path(named: Option<&Path>) -> Option<&Path> {
    named.or_else(|| Some(Path::new(DEFAULT_FILE)).filter(|path| path.exists()))
}

fn in_file(path: Option<&Path>) -> String {
    format!(
        "in {}",
        path.unwrap_or_else(|| Path::new(DEFAULT_FILE)).display()
    )
}

fn read_file(path: Option<&Path>) -> Result<File> {
    let Some(path) = path else {
        return Ok(File::default());
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| in_file(Some(path)))
}

/// Returns a secret from the environment, or from the file that `NAME_FILE` names.
fn secret(name: &str, given: Option<String>) -> Result<Option<SecretString>> {
    if let Some(value) = given.or_else(|| variable(name)) {
        return Ok(Some(value.into()));
    }
    let Some(path) = variable(&format!("{name}_FILE")) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{name}_FILE: cannot read {path}"))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned().into()))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads a network such as 10.0.0.0/8; an address alone is a network of one.
fn network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.trim()
        .parse()
        .or_else(|_network| alone())
        .map_err(|_neither| format!("`{text}` is not a network such as 10.0.0.0/8 or an address"))
}

fn default_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 2).max(1)
}

const DEFAULT_FILE: &str = "wellspring.toml";
const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_key_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\nlissten = 3\n").unwrap();
        let flags = Flags {
            config: Some(path.clone()),
            ..Flags::default()
        };
        let error = format!(
            "{:#}",
            Config::load(flags, ServeFlags::default()).unwrap_err()
        );
        assert!(
            error.contains("lissten") && error.contains(&path.display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\npublic_url = \"https://w.example/\"\n[limits]\ncommands = 7\n")
            .unwrap();
        let flags = Flags {
            config: Some(path),
            data_dir: Some("d".into()),
            ..Flags::default()
        };
        let serve = ServeFlags {
            listen: Some("127.0.0.1:2".parse().unwrap()),
            ..ServeFlags::default()
        };
        let config = Config::load(flags, serve).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.public_url.as_deref(), Some("https://w.example"));
        assert_eq!(config.limits.commands, 7);
        assert_eq!(config.sources, Path::new("d/sources"));
    }
}
