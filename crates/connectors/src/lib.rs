#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod check;
mod config;
mod connectors;
mod failure;
mod folder;
mod http;
mod http_json;
mod native;
mod recording;
mod sandbox_bank;
mod secrets;
mod session;
mod sources;

pub use check::CheckReport;
pub use config::{ConfigError, ConnectorKind, SourceConfig};
pub use connectors::Connectors;
pub use failure::{Failed, Said, Told};
pub use folder::{Fingerprint, SourceError, SourceErrors, SourceFolder};
pub use http::{Call, Http};
pub use native::{Finished, Native, Stop, Words};
pub use recording::{Expected, Recording, RecordingError, Verdict};
pub use sandbox_bank::SandboxBank;
pub use secrets::Secrets;
pub use session::{NewRecord, Session};
pub use sources::Sources;
