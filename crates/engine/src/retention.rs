//! Removes what is older than its tenant wants it kept, in small bites.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Backend, Blobs, Clock, Sweep, Tasks, sweep_orphans};

pub(crate) async fn run(
    store: Arc<dyn Backend>,
    blobs: Arc<dyn Blobs>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) {
    let stop = tasks.stop_token().clone();
    let mut orphans_at = Instant::now() + FIRST_ORPHANS;
    loop {
        let pause = match bite(store.as_ref(), clock.as_ref()).await {
            Some(false) => BETWEEN_BITES,
            Some(true) | None => BETWEEN_SWEEPS,
        };
        let more = garbage(store.as_ref(), blobs.as_ref()).await;
        let pause = if more { BETWEEN_BITES } else { pause };
        if Instant::now() >= orphans_at {
            orphans_at = Instant::now() + BETWEEN_ORPHANS;
            orphans(store.as_ref(), blobs.as_ref(), clock.as_ref()).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Returns whether everything has been looked at; `None` when the database did not answer.
async fn bite(store: &dyn Backend, clock: &dyn Clock) -> Option<bool> {
    let tenants = store.tenants().await.ok()?;
    let tenants = tenants
        .into_iter()
        .map(|tenant| (tenant.id, tenant.settings))
        .collect();
    match store
        .sweep(Sweep {
            now: clock.now(),
            tenants,
            rows: ROWS,
        })
        .await
    {
        Ok(swept) => Some(swept.done),
        Err(error) => {
            tracing::warn!(%error, "Old rows could not be removed, trying again later");
            None
        }
    }
}

/// Removes the bytes of documents whose rows are gone; returns whether there may be more.
async fn garbage(store: &dyn Backend, blobs: &dyn Blobs) -> bool {
    let Ok(ids) = store.garbage(GARBAGE).await else {
        return false;
    };
    if ids.is_empty() {
        return false;
    }
    let more = ids.len() >= GARBAGE;
    let mut gone = Vec::with_capacity(ids.len());
    for id in ids {
        match blobs.delete(id).await {
            Ok(()) => gone.push(id),
            Err(error) => tracing::warn!(%error, "Bytes of a document could not be removed"),
        }
    }
    let forgotten = store.forget_garbage(gone).await;
    more && forgotten.is_ok()
}

/// Removes bytes that a crash left between their writing and their row.
async fn orphans(store: &dyn Backend, blobs: &dyn Blobs, clock: &dyn Clock) {
    let known = async |ids| {
        let known = store.existing_documents(ids).await?;
        Ok(known.into_iter().collect())
    };
    match sweep_orphans(blobs, clock.now(), known).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "Bytes that no document names were removed"),
        Err(error) => {
            tracing::warn!(%error, "Bytes that no document names could not be looked for")
        }
    }
}

/// How soon after the start, and how often, bytes are looked for that no document names.
const FIRST_ORPHANS: Duration = Duration::from_secs(300);
const BETWEEN_ORPHANS: Duration = Duration::from_secs(24 * 3_600);
/// Documents whose bytes are removed in one go.
const GARBAGE: usize = 100;
const ROWS: usize = 1_000;
const BETWEEN_BITES: Duration = Duration::from_millis(50);
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);
