//! What the API asks about sources and addresses before it accepts anything.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use wellspring_core::source::Announced;
use wellspring_core::{SourceName, Unclassified};
use wellspring_engine::ConnectionDefaults;

/// A configured source, as much of it as clients need.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInfo {
    /// Its name.
    pub name: SourceName,
    /// The kind of its connector.
    pub connector: &'static str,
    /// What its connections need; none where it only serves collections.
    pub connections: Option<ConnectionDefaults>,
    /// Times of maintenance that its file announces.
    pub maintenance: Arc<[Announced]>,
}

/// Judges what requests name.
pub trait Intake: std::fmt::Debug + Send + Sync {
    /// Returns whether a source of this name is configured.
    fn knows(&self, source: &SourceName) -> bool;

    /// Returns whether a callback may be sent to `url`, and else in words why not.
    fn check_url<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), String>>;

    /// Returns the names of the configured sources, in order.
    fn source_names(&self) -> Vec<String>;

    /// Returns the configured source of this name.
    fn source(&self, name: &SourceName) -> Option<SourceInfo>;

    /// Returns the rule of its source that matches failures of this kind by now.
    fn rule_for(&self, kept: &Unclassified) -> Option<String>;
}
