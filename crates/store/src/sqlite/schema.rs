//! Opening a file and bringing its schema up to date.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use wellspring_engine::StoreError;

use super::unavailable;

/// How the file is used.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// Page cache of the writer, in KiB.
    pub cache_kib: u32,
    /// How long a lock held by another program is waited for.
    pub busy_timeout: Duration,
    /// Size of the write-ahead log at which a passive checkpoint is wanted, in bytes.
    pub checkpoint_at: u64,
    /// Size at which the writer itself finishes one, in bytes.
    pub checkpoint_by: u64,
    /// How many threads read.
    pub readers: usize,
    /// The largest that the database may grow, in bytes; `None` for as large as the disk.
    pub max_bytes: Option<u64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            cache_kib: 32 * 1024,
            busy_timeout: Duration::from_secs(1),
            checkpoint_at: 16 << 20,
            checkpoint_by: 128 << 20,
            readers: 2,
            max_bytes: None,
        }
    }
}

pub(super) const NEWEST: u32 = 12;

const MIGRATIONS: [&str; 12] = [
    include_str!("../../migrations/sqlite/0001_collections.sql"),
    include_str!("../../migrations/sqlite/0002_notifications.sql"),
    include_str!("../../migrations/sqlite/0003_fetch_statistics.sql"),
    include_str!("../../migrations/sqlite/0004_sources.sql"),
    include_str!("../../migrations/sqlite/0005_unclassified.sql"),
    include_str!("../../migrations/sqlite/0006_people.sql"),
    include_str!("../../migrations/sqlite/0007_budgets.sql"),
    include_str!("../../migrations/sqlite/0008_allowances.sql"),
    include_str!("../../migrations/sqlite/0009_phones.sql"),
    include_str!("../../migrations/sqlite/0010_told_of_maintenance.sql"),
    include_str!("../../migrations/sqlite/0011_budget_use.sql"),
    include_str!("../../migrations/sqlite/0012_alerts_of_all.sql"),
];

/// "Wspr": tells our files from other programs'.
const APPLICATION_ID: i32 = 0x5773_7072;

/// Opens a connection that may write.
pub(super) fn connect(path: &Path, options: &SqliteOptions) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(|error| unavailable(&error))?;
    let set = || -> rusqlite::Result<()> {
        connection.busy_timeout(options.busy_timeout)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
        if let Some(bytes) = options.max_bytes {
            let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
            // The pragma answers with what is in force, so it is a query.
            let pages = bytes / page.max(1);
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        }
        connection.set_prepared_statement_cache_capacity(128);
        Ok(())
    };
    set().map_err(|error| {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
            StoreError::Refused(format!("{} is not an SQLite database", path.display()))
        } else {
            unavailable(&error)
        }
    })?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn connect_reader(
    path: &Path,
    options: &SqliteOptions,
) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|error| unavailable(&error))?;
    connection
        .busy_timeout(options.busy_timeout)
        .map_err(|error| unavailable(&error))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Runs the migrations that the file lacks, each in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let have = version(connection)?;
    for (number, sql) in (1_u32..)
        .zip(MIGRATIONS)
        .skip(usize::try_from(have).unwrap_or(usize::MAX))
    {
        let run = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "user_version", number)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.commit()
        };
        run(connection).map_err(|error| unavailable(&error))?;
        tracing::info!(migration = number, "Schema migrated");
    }
    Ok(())
}

pub(super) fn version_of(path: &Path) -> Result<u32, StoreError> {
    let connection = connect_reader(path, &SqliteOptions::default())?;
    version(&connection)
}

/// Returns the file's schema version; refuses other programs' files and newer ones.
pub(super) fn version(connection: &Connection) -> Result<u32, StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let application = pragma("application_id").map_err(|error| unavailable(&error))?;
    let version = pragma("user_version").map_err(|error| unavailable(&error))?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| unavailable(&error))?;
    if application != APPLICATION_ID && tables > 0 {
        return Err(StoreError::Refused(
            "the database file belongs to another program".to_owned(),
        ));
    }
    let version = u32::try_from(version).unwrap_or(0);
    if version > NEWEST {
        return Err(StoreError::Refused(format!(
            "the database has schema {version}, this program knows {NEWEST}: use the newer program that wrote it"
        )));
    }
    Ok(version)
}
