//! The subcommands, one file each.

pub(crate) mod connector;
pub(crate) mod data;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod key;
pub(crate) mod sandbox;
pub(crate) mod serve;
