//! Named and tracked tasks, so that a shutdown can wait for them.

use std::future::Future;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Spawns tasks and waits for all of them at the end.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Spawns a task in a span of this name.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker
            .spawn(future.instrument(tracing::debug_span!("task", name)));
    }

    /// Spawns a task that can be ended at any await.
    pub fn spawn_abortable<F>(&self, name: &'static str, future: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let future = future.instrument(tracing::debug_span!("task", name));
        self.tracker.spawn(future).abort_handle()
    }

    /// Returns the signal at which tasks stop taking on work.
    pub const fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Asks every task to finish.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until every task has ended.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
