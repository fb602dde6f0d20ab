#![doc = include_str!("../README.md")]

pub mod conformance;
mod facts;
mod memory;
mod postgres;
mod row;
mod sqlite;

pub use memory::{Image, MemoryStore};
pub use postgres::{PostgresOptions, PostgresStore};
pub use sqlite::{SqliteOptions, SqliteStore};
