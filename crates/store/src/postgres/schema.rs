//! Bringing the schema up to date.

use tokio_postgres::error::SqlState;
use wellspring_engine::StoreError;

use super::session::{Fault, Session};

pub(super) const NEWEST: u32 = 14;

const MIGRATIONS: [&str; 14] = [
    include_str!("../../migrations/postgres/0001_collections.sql"),
    include_str!("../../migrations/postgres/0002_blobs.sql"),
    include_str!("../../migrations/postgres/0003_connections.sql"),
    include_str!("../../migrations/postgres/0004_notifications.sql"),
    include_str!("../../migrations/postgres/0005_fetch_statistics.sql"),
    include_str!("../../migrations/postgres/0006_sources.sql"),
    include_str!("../../migrations/postgres/0007_unclassified.sql"),
    include_str!("../../migrations/postgres/0008_people.sql"),
    include_str!("../../migrations/postgres/0009_budgets.sql"),
    include_str!("../../migrations/postgres/0010_allowances.sql"),
    include_str!("../../migrations/postgres/0011_phones.sql"),
    include_str!("../../migrations/postgres/0012_told_of_maintenance.sql"),
    include_str!("../../migrations/postgres/0013_budget_use.sql"),
    include_str!("../../migrations/postgres/0014_alerts_of_all.sql"),
];

/// "Wspr": one program at a time migrates a database.
const LOCK: i64 = 0x5773_7072;

/// Runs the migrations that the database lacks, all of them or none.
pub(super) async fn migrate(session: &Session) -> Result<(), StoreError> {
    check_encoding(session).await?;
    session.batch("BEGIN").await?;
    session
        .batch("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'")
        .await?;
    session
        .query("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .await?;
    let have = version(session).await?;
    if have == 0 {
        let sql = "CREATE TABLE schema_version (number integer PRIMARY KEY, \
                   applied_at timestamptz NOT NULL DEFAULT now())";
        session.batch(sql).await.map_err(foreign)?;
    }
    for (number, sql) in (1_u32..)
        .zip(MIGRATIONS)
        .filter(|(number, _)| *number > have)
    {
        session.batch(sql).await.map_err(foreign)?;
        let sql = "INSERT INTO schema_version (number) VALUES ($1)";
        session.execute(sql, &[&number.cast_signed()]).await?;
        tracing::info!(migration = number, "Schema migrated");
    }
    session.batch("COMMIT").await?;
    Ok(())
}

/// Returns the schema version, 0 where there is none; refuses other programs' and newer ones.
pub(super) async fn version(session: &Session) -> Result<u32, StoreError> {
    let sql = "SELECT to_regclass('schema_version') IS NOT NULL AS present";
    let row = session.query_opt(sql, &[]).await?;
    let present = row.is_some_and(|row| row.try_get("present").unwrap_or(false));
    if !present {
        return Ok(0);
    }
    let sql = "SELECT coalesce(max(number), 0) AS number FROM schema_version";
    let row = session.query_opt(sql, &[]).await.map_err(foreign)?;
    let number = row.map_or(Ok(0), |row| row.try_get::<_, i32>("number"));
    let number = number.map_err(|_other| foreign_table())?;
    let number = u32::try_from(number).unwrap_or(0);
    if number > NEWEST {
        return Err(StoreError::Refused(format!(
            "the database has schema {number}, this program knows {NEWEST}: \
             use the newer program that wrote it"
        )));
    }
    Ok(number)
}

/// Texts must be able to hold any character, or a single message could stop all commits.
async fn check_encoding(session: &Session) -> Result<(), StoreError> {
    let sql = "SELECT current_setting('server_encoding') AS encoding, \
               current_setting('fsync') AS fsync";
    let Some(row) = session.query_opt(sql, &[]).await? else {
        return Ok(());
    };
    let setting = |name: &str| row.try_get::<_, String>(name).unwrap_or_default();
    if setting("encoding") != "UTF8" {
        return Err(StoreError::Refused(format!(
            "the database has the encoding {}: make one with the encoding UTF8",
            setting("encoding")
        )));
    }
    if setting("fsync") == "off" {
        tracing::warn!("The database runs with fsync = off: a crash of its machine may lose it");
    }
    Ok(())
}

fn foreign(fault: Fault) -> StoreError {
    let taken = [
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::UNDEFINED_COLUMN,
        SqlState::UNDEFINED_FUNCTION,
    ];
    if fault.code().is_some_and(|code| taken.contains(code)) {
        return foreign_table();
    }
    fault.at_start()
}

fn foreign_table() -> StoreError {
    StoreError::Refused(
        "the database has tables of another program: give Wellspring a database of its own"
            .to_owned(),
    )
}
