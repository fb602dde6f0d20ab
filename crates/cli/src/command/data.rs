//! `wellspring migrate`, `backup` and `restore`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use secrecy::ExposeSecret;
use serde_json::json;
use wellspring_engine::random_seed;
use wellspring_store::{FolderBlobs, PostgresOptions, PostgresStore, SqliteStore};

use crate::admin::{self, Request};
use crate::backup;
use crate::config::Config;
use crate::data_dir;
use crate::output::Output;
use crate::wiring::{self, database_error};

/// Brings the schema up to date.
pub(crate) async fn migrate(config: &Config, output: Output) -> Result<()> {
    let schema = if let Some(url) = &config.database {
        let store = PostgresStore::connect(url.expose_secret(), PostgresOptions::default()).await;
        store.map_err(database_error)?;
        PostgresStore::SCHEMA
    } else {
        if tokio::net::UnixStream::connect(data_dir::admin_socket(&config.data_dir))
            .await
            .is_err()
        {
            wiring::open(config).await?;
        }
        // Whoever uses the folder migrated it when it started.
        SqliteStore::schema_version(&config.sqlite_path()).map_err(database_error)?
    };
    output.print(&json!({"schema": schema}), || {
        format!("the schema is at version {schema}")
    });
    Ok(())
}

/// Copies the database, in use or not.
pub(crate) async fn backup(config: &Config, target: PathBuf, output: Output) -> Result<()> {
    let target = std::path::absolute(target)?;
    if let Some(folder) = target.parent().filter(|folder| !folder.is_dir()) {
        bail!("there is no folder {}", folder.display());
    }
    let reply = admin::run(config, Request::Backup { target }).await?;
    output.print(&reply, || {
        let file = reply["file"].as_str().unwrap_or_default();
        let documents = match reply["documents"].as_u64() {
            Some(count @ 1..) => format!(
                "\n{} ({count} documents)",
                reply["blobs"].as_str().unwrap_or_default()
            ),
            Some(0) | None => String::new(),
        };
        let mib = reply["bytes"].as_f64().unwrap_or(0.0) / f64::from(1 << 20);
        format!(
            "{file} ({mib:.1} MiB){documents}\nThe master key is not in it: keep {} too.",
            master_key(config)
        )
    });
    Ok(())
}

/// Puts a backup into an empty data folder.
pub(crate) fn restore(config: &Config, source: &Path, output: Output) -> Result<()> {
    if config.database.is_some() {
        bail!("with PostgreSQL, use pg_restore or the backups of your PostgreSQL service");
    }
    if !source.is_file() {
        bail!("there is no file {}", source.display());
    }
    let _lock = data_dir::lock(&config.data_dir)?;
    let blobs = backup::blobs_of(source);
    if blobs.is_dir() && !config.sqlite_path().exists() {
        // Before the rows that name them, as ever.
        FolderBlobs::restore(&blobs, &data_dir::blobs(&config.data_dir))
            .map_err(database_error)
            .with_context(|| format!("cannot restore {}", blobs.display()))?;
    }
    SqliteStore::restore(source, &config.sqlite_path(), random_seed() >> 1)
        .map_err(database_error)
        .with_context(|| format!("cannot restore {}", source.display()))?;
    let path = config.sqlite_path();
    output.print(&json!({"file": path}), || {
        let key = if config.master_key.is_some() || config.data_dir.join("master.key").exists() {
            String::new()
        } else {
            format!(
                "\nNow put the master key of the backed-up folder to {}.",
                master_key(config)
            )
        };
        format!("restored into {}{key}", path.display())
    });
    Ok(())
}

fn master_key(config: &Config) -> String {
    config.data_dir.join("master.key").display().to_string()
}
