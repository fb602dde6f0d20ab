//! Removes what is older than its tenant wants it kept, in small bites.

use std::sync::Arc;
use std::time::Duration;

use crate::{Backend, Clock, Sweep, Tasks};

pub(crate) async fn run(store: Arc<dyn Backend>, clock: Arc<dyn Clock>, tasks: Tasks) {
    let stop = tasks.stop_token().clone();
    loop {
        let pause = match bite(store.as_ref(), clock.as_ref()).await {
            Some(false) => BETWEEN_BITES,
            Some(true) | None => BETWEEN_SWEEPS,
        };
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

const ROWS: usize = 1_000;
const BETWEEN_BITES: Duration = Duration::from_millis(50);
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);
