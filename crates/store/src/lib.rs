#![doc = include_str!("../README.md")]

mod blobs;
pub mod conformance;
mod facts;
mod memory;
mod postgres;
mod row;
mod sqlite;

pub use blobs::{FolderBlobs, MemoryBlobs, SealedBlobs};
pub use memory::{Image, MemoryStore};
pub use postgres::{PostgresBlobs, PostgresOptions, PostgresStore};
pub use sqlite::{SqliteOptions, SqliteStore};
