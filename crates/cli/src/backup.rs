//! A copy of the database, and of the documents' bytes beside it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use wellspring_engine::Blobs;
use wellspring_store::{FolderBlobs, SqliteStore};

/// Writes both; the database has its name when the copy is complete.
///
/// The rows are copied first: what they name is there by then, and stays unless retention
/// removes it meanwhile.
pub(crate) async fn write(
    sqlite: &SqliteStore,
    blobs: &FolderBlobs,
    target: &Path,
) -> Result<Value> {
    if target.exists() {
        bail!("{} exists already", target.display());
    }
    let partial = beside(target, ".partial");
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", partial.display()));
        }
        Ok(()) | Err(_) => {}
    }
    sqlite.backup(&partial).await?;
    let folder = blobs_of(target);
    let documents = if blobs.list(None, 1).await?.is_empty() {
        0
    } else {
        blobs.backup(&folder).await?
    };
    std::fs::rename(&partial, target)?;
    if let Some(folder) = target.parent() {
        File::open(folder)?.sync_all()?;
    }
    let bytes = std::fs::metadata(target).map_or(0, |metadata| metadata.len());
    Ok(json!({"file": target, "bytes": bytes, "documents": documents, "blobs": folder}))
}

/// Returns the folder of the documents' bytes that belongs to a copy of a database.
pub(crate) fn blobs_of(copy: &Path) -> PathBuf {
    beside(copy, ".blobs")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}
