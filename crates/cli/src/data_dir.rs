//! The data folder: who may use it, and what is where in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::error::{Code, coded};

/// The right to use a data folder; ends with the value, also when the process is killed.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the folder, making it if there is none.
///
/// # Errors
///
/// When another process has it.
pub(crate) fn lock(folder: &Path) -> Result<Lock> {
    make(folder)?;
    let path = folder.join("wellspring.lock");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())?;
            Ok(Lock { _file: file })
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The holder's number is a help, nothing depends on it.
            file.read_to_string(&mut holder).unwrap_or_default();
            Err(coded(
                Code::FolderInUse,
                format!(
                    "{} is in use by another wellspring process (pid {})",
                    folder.display(),
                    holder.trim()
                ),
            ))
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn make(folder: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(folder)
        .with_context(|| format!("cannot make the data folder {}", folder.display()))
}

/// Returns the socket of the server that uses the folder.
pub(crate) fn admin_socket(folder: &Path) -> PathBuf {
    folder.join("admin.sock")
}

/// Returns the folder of the documents' bytes.
pub(crate) fn blobs(folder: &Path) -> PathBuf {
    folder.join("blobs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let first = lock(&data).unwrap();
        let refused = lock(&data).unwrap_err().to_string();
        assert!(
            refused.contains("in use") && refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        drop(first);
        let _second = lock(&data).unwrap();
    }
}
