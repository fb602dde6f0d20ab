//! Copies of the database.

use std::path::Path;

use rusqlite::Connection;
use wellspring_engine::StoreError;

use super::schema::{self, SqliteOptions};
use super::unavailable;

/// Copies what is committed now; writers go on meanwhile.
pub(super) fn backup(source: &Path, target: &Path) -> Result<(), StoreError> {
    if target.exists() {
        return Err(StoreError::Refused(format!(
            "{} exists already",
            target.display()
        )));
    }
    let connection = schema::connect_reader(source, &SqliteOptions::default())?;
    schema::version(&connection)?;
    connection
        .execute("VACUUM INTO ?1", [target.to_string_lossy()])
        .map_err(|error| unavailable(&error))?;
    let io = |error: std::io::Error| StoreError::Unavailable(error.to_string());
    std::fs::File::open(target)
        .and_then(|file| file.sync_all())
        .map_err(io)
}

/// Copies a backup into place; cursors into the old log lead nowhere in the new one.
pub(super) fn restore(source: &Path, target: &Path, life: u64) -> Result<(), StoreError> {
    if target.exists() {
        return Err(StoreError::Refused(format!(
            "{} exists already; restore into an empty folder",
            target.display()
        )));
    }
    for ending in ["-wal", "-shm", "-journal"] {
        let mut beside = target.as_os_str().to_owned();
        beside.push(ending);
        let beside = Path::new(&beside);
        if beside.exists() {
            return Err(StoreError::Refused(format!(
                "{} belongs to the database that was here and would spoil the restored one; move it away too",
                beside.display()
            )));
        }
    }
    let version = schema::version_of(source)?;
    if version == 0 {
        return Err(StoreError::Refused(format!(
            "{} is not a backup of Wellspring",
            source.display()
        )));
    }
    let partial = target.with_extension("restoring");
    let io = |error: std::io::Error| StoreError::Unavailable(error.to_string());
    std::fs::copy(source, &partial).map_err(io)?;
    let connection = Connection::open(&partial).map_err(|error| unavailable(&error))?;
    connection
        .execute(
            "INSERT INTO meta (name, value) VALUES ('log_life', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1",
            [life.to_string()],
        )
        .map_err(|error| unavailable(&error))?;
    drop(connection);
    std::fs::File::open(&partial)
        .and_then(|file| file.sync_all())
        .map_err(io)?;
    std::fs::rename(&partial, target).map_err(io)?;
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or_else(|| Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(io)
}
