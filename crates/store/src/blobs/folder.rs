//! Blobs as files.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read, Result as IoResult, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tempfile::NamedTempFile;
use wellspring_core::DocumentId;
use wellspring_engine::{BlobError, Blobs, StoreError};

use super::within;

/// Blobs in a folder, which one process uses at a time.
///
/// A file lies two folders deep, each named by a part of the time in the id: so names sort as
/// ids do, a folder covers about 17 minutes, and folders of the past empty and go.
#[derive(Debug, Clone)]
pub struct FolderBlobs {
    root: Arc<Path>,
}

impl FolderBlobs {
    /// Opens the folder, making it if there is none.
    ///
    /// # Errors
    ///
    /// [`BlobError::Unavailable`] when it cannot be made or written.
    pub fn open(root: &Path) -> Result<Self, BlobError> {
        let open = || {
            make(root)?;
            sync(
                root.parent()
                    .filter(|folder| !folder.as_os_str().is_empty()),
            )?;
            // What a killed process was writing.
            match std::fs::remove_dir_all(root.join(INCOMING)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            make(&root.join(INCOMING))
        };
        open().map_err(|error| unavailable(root, &error))?;
        Ok(Self { root: root.into() })
    }

    /// Copies every blob into the folder `target`, which must not exist; returns how many.
    ///
    /// On the same file system they are linked: a blob is never changed, only replaced.
    /// Blobs that are removed meanwhile may be missing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when `target` exists, [`StoreError::Unavailable`] when it cannot be written.
    pub async fn backup(&self, target: &Path) -> Result<u64, StoreError> {
        let (root, target) = (Arc::clone(&self.root), target.to_owned());
        tokio::task::spawn_blocking(move || copy(&root, &target))
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    /// Copies blobs that [`Self::backup`] put into `source` to the folder `target`, which must not have any.
    ///
    /// # Errors
    ///
    /// As [`Self::backup`].
    pub fn restore(source: &Path, target: &Path) -> Result<u64, StoreError> {
        // One that has nothing in it may as well not be there.
        for folder in [&target.join(INCOMING), target] {
            std::fs::remove_dir(folder).unwrap_or_default();
        }
        copy(source, target)
    }

    async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> IoResult<R> + Send + 'static,
    ) -> Result<R, BlobError> {
        let root = Arc::clone(&self.root);
        let done = tokio::task::spawn_blocking(move || {
            work(&root).map_err(|error| unavailable(&root, &error))
        });
        done.await
            .map_err(|error| BlobError::Unavailable(error.to_string()))?
    }
}

impl Blobs for FolderBlobs {
    fn put(&self, id: DocumentId, body: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(self.run(move |root| {
            let mut file = NamedTempFile::new_in(root.join(INCOMING))?;
            file.write_all(&body)?;
            file.as_file().sync_all()?;
            place(file, root, id)
        }))
    }

    fn read(
        &self,
        id: DocumentId,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'_, Result<Option<Bytes>, BlobError>> {
        Box::pin(self.run(move |root| {
            let mut file = match File::open(root.join(location(id))) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
            let range = range.map_or(0..length, |range| within(&range, length));
            file.seek(SeekFrom::Start(range.start as u64))?;
            let mut body = vec![0; range.len()];
            file.read_exact(&mut body)?;
            Ok(Some(body.into()))
        }))
    }

    fn delete(&self, id: DocumentId) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(self.run(move |root| {
            let path = root.join(location(id));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            // Whatever a loss of power brings back is an orphan.
            for folder in path.ancestors().skip(1).take(2) {
                if std::fs::remove_dir(folder).is_err() {
                    break;
                }
            }
            Ok(())
        }))
    }

    fn list(
        &self,
        after: Option<DocumentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DocumentId>, BlobError>> {
        Box::pin(self.run(move |root| {
            let after = after.map(location);
            let mut ids = Vec::new();
            walk(root, after.as_deref(), &mut |path| {
                let name = path.file_name().and_then(|name| name.to_str());
                ids.extend(name.and_then(|name| name.parse::<DocumentId>().ok()));
                Ok(ids.len() < limit)
            })?;
            Ok(ids)
        }))
    }
}

/// Returns where a blob lies in the folder.
fn location(id: DocumentId) -> PathBuf {
    let name = id.to_string();
    let digits = &name[DocumentId::PREFIX.len()..];
    [&digits[..5], &digits[5..7], &name].iter().collect()
}

/// Moves a whole file to where it belongs, so that a crash does not lose it.
fn place(mut file: NamedTempFile, root: &Path, id: DocumentId) -> IoResult<()> {
    let path = root.join(location(id));
    let mut tries = 0;
    let folders = path.ancestors().skip(1).take(2);
    loop {
        let error = match folders.clone().next().map_or(Ok(()), make) {
            Ok(()) => match file.persist(&path) {
                Ok(_) => break,
                Err(failed) => {
                    file = failed.file;
                    failed.error
                }
            },
            Err(error) => error,
        };
        // The last blob of the folder may have been removed just now, and the folder with it.
        if error.kind() != ErrorKind::NotFound || tries == TRIES {
            return Err(error);
        }
        tries += 1;
    }
    // Also those that were there: whoever made them may not have got to it yet.
    let mut folders = folders.chain([root]);
    folders.try_for_each(|folder| sync(Some(folder)))
}

/// Calls `visit` for each file two folders deep, in order, those after `after`, until it says false.
fn walk(
    root: &Path,
    after: Option<&Path>,
    visit: &mut dyn FnMut(&Path) -> IoResult<bool>,
) -> IoResult<()> {
    let relevant = |path: &Path| {
        let relative = path.strip_prefix(root).unwrap_or(path);
        after.is_none_or(|after| relative > after || after.starts_with(relative))
    };
    for outer in entries(root)? {
        if outer.ends_with(INCOMING) || !relevant(&outer) {
            continue;
        }
        for inner in entries(&outer)?.into_iter().filter(|path| relevant(path)) {
            for path in entries(&inner)? {
                let relative = path.strip_prefix(root).unwrap_or(&path);
                if after.is_none_or(|after| relative > after) && !visit(&path)? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Returns what is in a folder, in order; nothing if the folder has just gone.
fn entries(folder: &Path) -> IoResult<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths: IoResult<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    paths.sort_unstable();
    Ok(paths)
}

fn copy(source: &Path, target: &Path) -> Result<u64, StoreError> {
    if target.exists() {
        let refusal = format!("{} exists already", target.display());
        return Err(StoreError::Refused(refusal));
    }
    // It appears whole or not at all.
    let mut partial = target.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let copy = || {
        match std::fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        make(&partial)?;
        let copied = copy_files(source, &partial)?;
        std::fs::rename(&partial, target)?;
        sync(
            target
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty()),
        )?;
        Ok(copied)
    };
    copy().map_err(|error: std::io::Error| StoreError::Unavailable(error.to_string()))
}

fn copy_files(source: &Path, target: &Path) -> IoResult<u64> {
    let mut copied = 0;
    let mut folders: Vec<PathBuf> = vec![target.to_owned()];
    walk(source, None, &mut |path| {
        let to = target.join(path.strip_prefix(source).unwrap_or(path));
        for folder in [to.ancestors().nth(2), to.parent()].into_iter().flatten() {
            if !folders.iter().rev().take(2).any(|known| known == folder) {
                make(folder)?;
                folders.push(folder.to_owned());
            }
        }
        let linked = std::fs::hard_link(path, &to);
        let done = linked.or_else(|_elsewhere| {
            std::fs::copy(path, &to)?;
            File::open(&to)?.sync_all()
        });
        match done {
            Ok(()) => copied += 1,
            // Removed since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    })?;
    folders.iter().try_for_each(|folder| sync(Some(folder)))?;
    Ok(copied)
}

fn make(folder: &Path) -> IoResult<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes durable what is in a folder; the present one where none is given.
fn sync(folder: Option<&Path>) -> IoResult<()> {
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn unavailable(root: &Path, error: &std::io::Error) -> BlobError {
    BlobError::Unavailable(format!("{}: {error}", root.display()))
}

/// Where files are written before they have their name.
const INCOMING: &str = "incoming";
const TRIES: u32 = 100;
