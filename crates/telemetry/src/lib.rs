#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod encode;
mod exporter;

pub use exporter::{ExportError, Exporter, OtlpOptions};
