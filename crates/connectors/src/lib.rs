#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod check;
mod config;
mod connectors;
mod folder;
mod http_json;
mod sources;

pub use check::CheckReport;
pub use config::{ConfigError, ConnectorKind, SourceConfig};
pub use connectors::Connectors;
pub use folder::{Fingerprint, SourceError, SourceErrors, SourceFolder};
pub use sources::Sources;
