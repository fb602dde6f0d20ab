//! The master key: given by the operator, or kept in the data folder.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use secrecy::{ExposeSecret, SecretString};
use wellspring_vault::MasterKey;
use zeroize::Zeroizing;

use crate::error::{Code, coded};

/// Who keeps the master key.
#[derive(Debug)]
pub(crate) enum Keeper {
    /// The operator, who gives it by configuration.
    Operator,
    /// This program, in the data folder.
    Folder(PathBuf),
}

/// Returns the master keys that may fit the database: the configured one, or the folder's.
///
/// A folder has two when a rotation was cut short.
/// A folder that has no database yet gets one; made for a database that is there already, it
/// would only look like the right one.
pub(crate) fn read(
    folder: &Path,
    configured: Option<&SecretString>,
    is_new: bool,
) -> Result<(Keeper, Vec<MasterKey>)> {
    if let Some(key) = configured {
        let key = key.expose_secret().parse();
        return Ok((
            Keeper::Operator,
            vec![key.context("WELLSPRING_MASTER_KEY")?],
        ));
    }
    let keeper = Keeper::Folder(folder.to_owned());
    let keys = [load(folder, PRESENT)?, load(folder, NEXT)?];
    let keys: Vec<MasterKey> = keys.into_iter().flatten().collect();
    if !keys.is_empty() {
        return Ok((keeper, keys));
    }
    if !is_new {
        return Err(coded(
            Code::MasterKeyMismatch,
            format!(
                "there is a database, but its key {} is missing: put it back",
                folder.join(PRESENT).display()
            ),
        ));
    }
    let key = MasterKey::generate();
    save(folder, PRESENT, &key)?;
    Ok((keeper, vec![key]))
}

/// Keeps the key that is to come, so that it is there before the database needs it.
pub(crate) fn save_next(folder: &Path, key: &MasterKey) -> Result<()> {
    save(folder, NEXT, key)
}

/// Ends a rotation: the key with this fingerprint is the folder's, another next one is dropped.
///
/// Killed anywhere in between, the next start finds the right key under one of the names and
/// comes here again.
pub(crate) fn settle(folder: &Path, fingerprint: &str) -> Result<()> {
    let Some(next) = load(folder, NEXT)? else {
        return Ok(());
    };
    let path = |name| folder.join(name);
    let settle = || -> std::io::Result<()> {
        if next.fingerprint() == fingerprint {
            // Earlier backups need it; a kill may have come just after this.
            match std::fs::rename(path(PRESENT), path(PREVIOUS)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            std::fs::rename(path(NEXT), path(PRESENT))?;
        } else {
            std::fs::remove_file(path(NEXT))?;
        }
        File::open(folder)?.sync_all()
    };
    settle().with_context(|| format!("cannot put {} in its place", path(NEXT).display()))
}

/// Returns where the key before a rotation is kept.
pub(crate) fn previous(folder: &Path) -> PathBuf {
    folder.join(PREVIOUS)
}

fn load(folder: &Path, name: &str) -> Result<Option<MasterKey>> {
    let path = folder.join(name);
    match std::fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => {
            let key = text.parse();
            key.map(Some)
                .with_context(|| format!("in {}", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes the key whole or not at all, for the owner only.
fn save(folder: &Path, name: &str, key: &MasterKey) -> Result<()> {
    let (partial, path) = (folder.join("master.key.new"), folder.join(name));
    let write = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(key.to_hex().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&partial, &path)?;
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

const PRESENT: &str = "master.key";
/// The key that the database is about to be wrapped with.
const NEXT: &str = "master.key.next";
const PREVIOUS: &str = "master.key.previous";

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprints(folder: &Path) -> Vec<String> {
        let (_, keys) = read(folder, None, false).unwrap();
        keys.iter().map(MasterKey::fingerprint).collect()
    }

    #[test]
    fn a_folder_gets_one_key_and_a_given_one_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert!(read(data, None, false).is_err());
        let (_, made) = read(data, None, true).unwrap();
        assert_eq!(fingerprints(data), [made[0].fingerprint()]);
        let given: SecretString = "07".repeat(32).into();
        let (keeper, keys) = read(data, Some(&given), true).unwrap();
        assert!(matches!(keeper, Keeper::Operator));
        let seven = MasterKey::new([7; 32]);
        assert_eq!(keys[0].fingerprint(), seven.fingerprint());
        assert!(read(data, Some(&"short".to_owned().into()), true).is_err());
    }

    #[test]
    fn wherever_a_rotation_is_cut_short_the_fitting_key_stays() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let old = read(data, None, true).unwrap().1.remove(0).fingerprint();
        let key = MasterKey::generate();
        let new = key.fingerprint();

        save_next(data, &key).unwrap();
        assert_eq!(fingerprints(data), [old.clone(), new.clone()]);
        settle(data, &old).unwrap();
        assert_eq!(
            fingerprints(data),
            std::slice::from_ref(&old),
            "the database had not changed"
        );

        save_next(data, &key).unwrap();
        std::fs::rename(data.join(PRESENT), previous(data)).unwrap();
        assert_eq!(
            fingerprints(data),
            std::slice::from_ref(&new),
            "between the two renames"
        );
        settle(data, &new).unwrap();
        settle(data, &new).unwrap();
        assert_eq!(fingerprints(data), [new]);
        assert!(data.join(PRESENT).exists() && !data.join(NEXT).exists());
        let kept = std::fs::read_to_string(previous(data)).unwrap();
        let kept: MasterKey = kept.parse().unwrap();
        assert_eq!(kept.fingerprint(), old, "for earlier backups");
    }
}
