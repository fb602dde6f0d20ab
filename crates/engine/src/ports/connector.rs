//! How a source is asked.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use wellspring_core::{Error, Timestamp, Unclassified};

use crate::session::{RunInputs, RunOrder, RunResult};
use crate::{FetchOrder, Listener, Session};

/// What came of asking a source.
#[derive(Debug, Clone, PartialEq)]
pub enum FetchResult {
    /// The source's data, byte for byte; valid JSON.
    Fetched(Bytes),
    /// None, and why.
    Failed {
        /// The class, code and message.
        error: Error,
        /// The source's own word for when to come back.
        retry_at: Option<Timestamp>,
        /// What is kept of it where no rule matched.
        unclassified: Option<Box<Unclassified>>,
    },
}

/// Asks sources; reports facts and decides nothing about retries.
pub trait Connector: std::fmt::Debug + Send + Sync {
    /// Asks the order's source, within its deadline, and has heard what it says of its own count.
    fn fetch(&self, order: FetchOrder, listener: Arc<dyn Listener>) -> BoxFuture<'_, FetchResult>;

    /// Makes one attempt on a connection, telling the session what it finds.
    ///
    /// The future may be dropped at any await: somebody has ended the fetch.
    fn run(&self, order: RunOrder, inputs: RunInputs, session: Session)
    -> BoxFuture<'_, RunResult>;
}
