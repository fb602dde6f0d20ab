//! What the API asks about sources and addresses before it accepts a collection.

use futures_util::future::BoxFuture;
use wellspring_core::SourceName;

/// Judges what a collection names.
pub trait Intake: std::fmt::Debug + Send + Sync {
    /// Returns whether a source of this name is configured.
    fn knows(&self, source: &SourceName) -> bool;

    /// Returns whether a callback may be sent to `url`, and else in words why not.
    fn check_url<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), String>>;

    /// Returns the names of the configured sources, in order.
    fn source_names(&self) -> Vec<String>;
}
