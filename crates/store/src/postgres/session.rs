//! One connection: how it is opened and set up, its statements, and what may be wrong with it.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Connection, Row, Socket, Statement};
use wellspring_engine::{CommitError, StoreError};

use super::options::{self, PostgresOptions};
use super::tls::{Encrypted, Tls};

pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    config: Arc<Config>,
    tls: Tls,
    connect_timeout: Duration,
    setup: Arc<str>,
}

/// One connection with its prepared statements.
pub(super) struct Session {
    client: Client,
    driver: AbortHandle,
    statements: Mutex<BTreeMap<&'static str, Statement>>,
}

/// Why the database did not do something.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server, or the connection to it.
    Postgres(tokio_postgres::Error),
    /// The time was up.
    Late(&'static str),
}

impl Connector {
    pub(super) async fn new(url: &str, options: &PostgresOptions) -> Result<Self, StoreError> {
        let config = options::parse(url, options)?;
        let tls = if config.get_ssl_mode() == SslMode::Disable {
            Tls::unused()?
        } else {
            let authorities = options.authorities.clone();
            // The authorities are read from files.
            let tls = tokio::task::spawn_blocking(move || Tls::new(authorities.as_deref())).await;
            tls.map_err(|error| StoreError::Unavailable(error.to_string()))??
        };
        let (deadline, half) = (
            options.deadline.as_millis(),
            options.deadline.as_millis() / 2,
        );
        // Statements look rows up by their keys whatever the statistics say, and are planned once.
        // A transaction whose node is gone must let go of its locks before anybody gives up waiting.
        let setup = format!(
            "SET statement_timeout = {deadline}; SET lock_timeout = {half}; \
             SET idle_in_transaction_session_timeout = {half}; \
             SET default_transaction_isolation = 'read committed'; \
             SET client_min_messages = 'warning'; SET plan_cache_mode = 'force_generic_plan'; \
             SET jit = 'off'; SET enable_seqscan = 'off'; SET enable_hashjoin = 'off'; \
             SET enable_mergejoin = 'off'; \
             SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local')"
        );
        Ok(Self {
            config: Arc::new(config),
            tls,
            connect_timeout: options.connect_timeout,
            setup: setup.into(),
        })
    }

    /// Opens a connection that somebody else drives.
    pub(super) async fn open(&self) -> Result<(Client, Connection<Socket, Encrypted>), Fault> {
        let opened = timeout(self.connect_timeout, self.config.connect(self.tls.clone())).await;
        let opened = opened.map_err(|_late| Fault::Late("it took too long to connect"))?;
        opened.map_err(Fault::Postgres)
    }

    /// Opens a session.
    pub(super) async fn session(&self) -> Result<Session, Fault> {
        let (client, connection) = self.open().await?;
        let mut drivers = JoinSet::new();
        let driver = drivers.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %describe(&error), "Connection to the database ended");
            }
        });
        // It ends with its client, or is aborted.
        drivers.detach_all();
        let session = Session {
            client,
            driver,
            statements: Mutex::default(),
        };
        let set_up = timeout(self.connect_timeout, session.batch(&self.setup)).await;
        set_up.unwrap_or(Err(Fault::Late("it took too long to set up a session")))?;
        Ok(session)
    }
}

impl Session {
    /// Returns the client, for several statements at once.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Cuts the connection; the server undoes what was not committed.
    pub(super) fn cut(&self) {
        self.driver.abort();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Returns a statement, prepared at its first use.
    pub(super) async fn statement(&self, sql: &'static str) -> Result<Statement, Fault> {
        let statements = || {
            self.statements
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let known = statements().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await.map_err(Fault::Postgres)?;
        statements().insert(sql, statement.clone());
        Ok(statement)
    }

    pub(super) async fn query(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Fault> {
        let statement = self.statement(sql).await?;
        self.client
            .query(&statement, params)
            .await
            .map_err(Fault::Postgres)
    }

    pub(super) async fn query_opt(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, Fault> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    pub(super) async fn execute(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<u64, Fault> {
        let statement = self.statement(sql).await?;
        self.client
            .execute(&statement, params)
            .await
            .map_err(Fault::Postgres)
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(Fault::Postgres)
    }
}

impl Fault {
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) => error.code(),
            Self::Late(_) => None,
        }
    }

    /// Returns whether the server itself says that it undid the transaction and goes on.
    pub(super) fn is_undone(&self) -> bool {
        match self {
            Self::Postgres(error) => error
                .as_db_error()
                .is_some_and(|error| error.severity() == "ERROR"),
            Self::Late(_) => false,
        }
    }

    /// Says what it means when the program starts: later tries would not help with some faults.
    pub(super) fn at_start(self) -> StoreError {
        let lasting = self.code().is_some_and(|code| {
            [
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                SqlState::INVALID_PASSWORD,
                SqlState::INVALID_CATALOG_NAME,
                SqlState::INSUFFICIENT_PRIVILEGE,
            ]
            .contains(code)
        });
        if lasting {
            StoreError::Refused(format!("the database refuses: {self}"))
        } else {
            self.into()
        }
    }

    pub(super) fn not_committed(&self) -> CommitError {
        CommitError::NotCommitted(self.to_string())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Postgres(error) => f.write_str(&describe(error)),
            Self::Late(what) => f.write_str(what),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(fault.to_string())
    }
}

/// Says what the server said, or what became of the connection; never with values of parameters.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
