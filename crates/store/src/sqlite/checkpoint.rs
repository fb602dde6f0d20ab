//! Checkpoints of the write-ahead log, from a connection of their own.
//!
//! A checkpoint on the writer's connection stalls commits for 50 to 200 ms; a passive one
//! from another connection does not. Under steady load the passive one never catches up
//! whole, so that above a limit the writer itself finishes what little is left; the log
//! then begins again at its start.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use rusqlite::Connection;
use wellspring_engine::StoreError;

use super::schema::{SqliteOptions, connect};
use super::unavailable;

#[derive(Debug)]
pub(super) struct Checkpointer {
    /// Pages in the log as of the last commit.
    pages: Arc<AtomicU64>,
    page_size: u64,
    wake: SyncSender<()>,
    want_at: u64,
    force_at: u64,
}

/// Starts the thread, which ends when the returned handle does.
pub(super) fn start(
    path: &Path,
    options: &SqliteOptions,
    writer: &mut Connection,
) -> Result<Arc<Checkpointer>, StoreError> {
    let connection = connect(path, options)?;
    let page_size: i64 = connection
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .map_err(|error| unavailable(&error))?;
    let pages = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&pages);
    let hook = move |_: &mut rusqlite::hooks::Wal, in_log: std::os::raw::c_int| {
        counter.store(u64::try_from(in_log).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    };
    writer
        .wal_hook(Some(hook))
        .map_err(|error| unavailable(&error))?;
    let (wake, woken) = sync_channel(1);
    let body = move || {
        while woken.recv() == Ok(()) {
            passive(&connection);
        }
        // The last handle is gone: leave a small log behind.
        passive(&connection);
    };
    let spawned = std::thread::Builder::new()
        .name("sqlite-checkpoint".to_owned())
        .spawn(body);
    spawned.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let page_size = u64::try_from(page_size).unwrap_or(4_096);
    Ok(Arc::new(Checkpointer {
        pages,
        page_size,
        wake,
        want_at: options.checkpoint_at,
        force_at: options.checkpoint_by,
    }))
}

impl Checkpointer {
    pub(super) fn log_bytes(&self) -> u64 {
        self.pages.load(Ordering::Relaxed) * self.page_size
    }

    /// Called by the writer between commits.
    pub(super) fn after_commit(&self, writer: &Connection) {
        let bytes = self.log_bytes();
        if bytes >= self.force_at {
            passive(writer);
        } else if bytes >= self.want_at {
            // A wake-up that is already pending is enough.
            self.wake.try_send(()).unwrap_or_default();
        }
    }
}

fn passive(connection: &Connection) {
    let outcome = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = outcome {
        tracing::warn!(%error, "Checkpoint failed, trying again later");
    }
}
