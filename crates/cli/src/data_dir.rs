//! The data folder: who may use it, and the master key in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use secrecy::{ExposeSecret, SecretString};

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

/// Returns the master key: the configured one, or the folder's.
///
/// A folder that has no database yet gets one; made for a database that is there already, it
/// would only look like the right one.
pub(crate) fn master_key(
    folder: &Path,
    configured: Option<&SecretString>,
    is_new: bool,
) -> Result<[u8; 32]> {
    if let Some(key) = configured {
        return parse_key(key.expose_secret()).context("WELLSPRING_MASTER_KEY");
    }
    let path = folder.join("master.key");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            return parse_key(text.trim()).with_context(|| format!("in {}", path.display()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    if !is_new {
        return Err(coded(
            Code::MasterKeyMismatch,
            format!(
                "there is a database, but its key {} is missing: put it back",
                path.display()
            ),
        ));
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    let partial = folder.join("master.key.new");
    let write = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&partial)?;
        writeln!(file, "{}", hex::encode(key))?;
        file.sync_all()?;
        std::fs::rename(&partial, &path)?;
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key)
}

/// Reads 32 bytes as 64 hexadecimal digits or as base64.
fn parse_key(text: &str) -> Result<[u8; 32]> {
    let bytes = hex::decode(text)
        .ok()
        .or_else(|| base64::engine::general_purpose::STANDARD.decode(text).ok());
    match bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
        Some(key) => Ok(key),
        None => bail!("a master key is 32 bytes, as 64 hexadecimal digits or as base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_and_one_key() {
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

        assert!(master_key(&data, None, false).is_err());
        let key = master_key(&data, None, true).unwrap();
        assert_eq!(master_key(&data, None, false).unwrap(), key);
        let given: SecretString = hex::encode([7; 32]).into();
        assert_eq!(master_key(&data, Some(&given), true).unwrap(), [7; 32]);
        assert!(master_key(&data, Some(&"short".to_owned().into()), true).is_err());
    }
}
