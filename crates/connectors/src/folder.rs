//! The folder of source files.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fmt, fs, io};

use thiserror::Error;
use wellspring_core::SourceName;

use crate::{SourceConfig, Sources};

/// A folder with one YAML file per source.
///
/// Its methods block on the file system.
#[derive(Debug, Clone)]
pub struct SourceFolder {
    path: PathBuf,
}

/// What a folder looked like: the names, times and sizes of its source files.
///
/// The default is that of a missing or empty folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// `None` while the folder cannot be read.
    files: Option<BTreeMap<OsString, (Option<SystemTime>, u64)>>,
}

/// Everything that is wrong with a folder of sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceErrors {
    errors: Vec<SourceError>,
}

/// One thing that is wrong with one file, or with the folder itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{}: {reason}", .file.display(), .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct SourceError {
    /// Which file.
    pub file: PathBuf,
    /// Where in it, counted from 1.
    pub line: Option<u64>,
    /// What.
    pub reason: String,
}

impl SourceFolder {
    /// Names a folder, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads every `*.yaml` and `*.yml` that is not hidden; a missing folder has none.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of them.
    pub fn load(&self) -> Result<Sources, SourceErrors> {
        let files = match self.files() {
            Ok(files) => files,
            Err(error) => return Err(unreadable(&self.path, &error)),
        };
        let mut errors = Vec::new();
        let mut sources: BTreeMap<SourceName, (PathBuf, SourceConfig)> = BTreeMap::new();
        for file in files.into_keys().map(|name| self.path.join(name)) {
            match read(&file) {
                Err(found) => errors.extend(found.errors),
                Ok(source) => match sources.get(&source.name) {
                    None => {
                        sources.insert(source.name.clone(), (file, source));
                    }
                    Some((first, _)) => {
                        let first = first.file_name().unwrap_or_default().display();
                        let reason = format!("`name` {} is taken by {first}", source.name);
                        errors.push(SourceError {
                            file,
                            line: None,
                            reason,
                        });
                    }
                },
            }
        }
        if errors.is_empty() {
            Ok(Sources::new(
                sources.into_values().map(|(_, source)| source),
            ))
        } else {
            Err(SourceErrors { errors })
        }
    }

    /// Returns how the folder looks if that is not as it was when `seen`.
    ///
    /// Ask before loading: what is written meanwhile then shows the next time.
    pub fn changed(&self, seen: &Fingerprint) -> Option<Fingerprint> {
        let now = Fingerprint {
            files: self.files().ok(),
        };
        (now != *seen).then_some(now)
    }

    fn files(&self) -> io::Result<BTreeMap<OsString, (Option<SystemTime>, u64)>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        let mut files = BTreeMap::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if !is_source_file(&name) {
                continue;
            }
            // Follows links, as mounted configuration is often made of them.
            match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => {
                    files.insert(name, (metadata.modified().ok(), metadata.len()));
                }
                Ok(_) => {}
                // Listed all the same, so that loading fails and no source silently vanishes.
                Err(_) => {
                    files.insert(name, (None, 0));
                }
            }
        }
        Ok(files)
    }
}

impl Default for Fingerprint {
    fn default() -> Self {
        Self {
            files: Some(BTreeMap::new()),
        }
    }
}

impl SourceErrors {
    /// Iterates over the errors; there is at least one.
    pub fn iter(&self) -> impl Iterator<Item = &SourceError> {
        self.errors.iter()
    }
}

/// One line per error.
impl fmt::Display for SourceErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SourceErrors {}

fn is_source_file(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    let is_yaml = extension.is_some_and(|extension| extension == "yaml" || extension == "yml");
    is_yaml && !name.as_encoded_bytes().starts_with(b".")
}

fn read(file: &Path) -> Result<SourceConfig, SourceErrors> {
    let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(one(file, "is not UTF-8 text".to_owned()));
    };
    SourceConfig::from_yaml(&text).map_err(|faults| SourceErrors {
        errors: faults
            .into_iter()
            .map(|fault| SourceError {
                file: file.to_owned(),
                line: fault.line,
                reason: fault.reason,
            })
            .collect(),
    })
}

fn unreadable(path: &Path, error: &io::Error) -> SourceErrors {
    one(path, format!("cannot be read: {error}"))
}

fn one(file: &Path, reason: String) -> SourceErrors {
    SourceErrors {
        errors: vec![SourceError {
            file: file.to_owned(),
            line: None,
            reason,
        }],
    }
}

#[cfg(test)]
mod tests;
