#![doc = include_str!("../README.md")]

pub mod conformance;
mod memory;
mod sqlite;
mod row;

pub use memory::{Image, MemoryStore};
pub use sqlite::{SqliteOptions, SqliteStore};
