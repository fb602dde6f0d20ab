//! What the engine needs of the world.

pub(crate) mod blobs;
pub(crate) mod channel;
pub(crate) mod connector;
pub(crate) mod directory;
pub(crate) mod listener;
pub(crate) mod notices;
pub(crate) mod queries;
pub(crate) mod spans;
pub(crate) mod store;
pub(crate) mod transport;
