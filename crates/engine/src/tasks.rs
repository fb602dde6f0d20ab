//! Named and tracked tasks, so that a shutdown can wait for them.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
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

/// Runs foreign code: a panic in it ends the future, not the process.
///
/// What the future shares with others must bear that it stops anywhere, as it must for an abort.
pub(crate) async fn contained<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let caught = CONTAINED.scope((), AssertUnwindSafe(future).catch_unwind());
    // What it panicked with may quote what it worked on.
    caught.await.map_err(|_unshown| Panicked)
}

/// Returns whether a panic at this place is caught and told as a failure.
///
/// Everywhere else it leaves a slot taken or a loop dead, and a process that begins anew is the
/// recovery: whoever runs the engine has its panic hook end the process then.
pub fn is_contained() -> bool {
    CONTAINED.try_with(|()| ()).is_ok()
}

/// A contained future has panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

tokio::task_local! {
    static CONTAINED: ();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_contained_may_panic() {
        let inside = contained(async { is_contained() }).await;

        assert!(matches!(inside, Ok(true)));
        assert!(contained(async { panic!("on purpose") }).await.is_err());
        assert!(!is_contained());
    }
}
