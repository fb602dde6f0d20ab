//! How the database is used, and what its URL says.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;
use wellspring_engine::StoreError;

/// How the database is used.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// How long a node lives without a renewal, by the database's clock.
    pub lease: Duration,
    /// Connections for everything but commits.
    pub connections: usize,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long any operation may take.
    pub deadline: Duration,
    /// How many rows at most are looked at by one statement of a scan or a list.
    pub stretch: usize,
    /// The authorities whose certificates are trusted, a PEM file; those of the system if absent.
    pub authorities: Option<PathBuf>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            connections: 4,
            connect_timeout: Duration::from_secs(3),
            deadline: Duration::from_secs(10),
            stretch: 5_000,
            authorities: None,
        }
    }
}

/// Reads the URL; what is wrong with it is not repeated, since it may be a part of the password.
pub(super) fn parse(url: &str, options: &PostgresOptions) -> Result<Config, StoreError> {
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let config: Option<Config> = url.parse().ok().filter(|_| is_url);
    let mut config = config.ok_or_else(|| {
        StoreError::Refused(
            "the database's URL is not valid: it has the form \
             postgres://user:password@host:5432/database?sslmode=require, \
             other characters in the password are percent-encoded"
                .to_owned(),
        )
    })?;
    if config.get_application_name().is_none() {
        config.application_name("wellspring");
    }
    // Of several hosts only the primary is of use.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    config.connect_timeout(options.connect_timeout);
    config.tcp_user_timeout(options.deadline / 2);
    // The kernel counts these in whole seconds.
    config.keepalives_idle(options.deadline.max(SECOND));
    config.keepalives_interval((options.deadline / 4).max(SECOND));
    config.keepalives_retries(2);
    Ok(config)
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_password_is_repeated() {
        for bad in [
            "postgre://user:secret@host/db?x=y",
            "postgres://user:pw@host/db?secret=1",
            "host=localhost password=secret",
            "postgres://user:secret@host:port/db",
            "",
        ] {
            let error = parse(bad, &PostgresOptions::default()).unwrap_err();
            assert!(!error.to_string().contains("cret"), "{error}");
        }
        let good = "postgres://user:secret@host/db?sslmode=require";
        let config = parse(good, &PostgresOptions::default()).unwrap();
        assert!(!format!("{config:?}").contains("secret"));
    }
}
