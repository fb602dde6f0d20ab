//! What the driver steps: a few kinds of things, each with an id that names its shard.

use std::fmt;

use serde::{Deserialize, Serialize};
use wellspring_core::{AccountId, AnyId, CollectionId, ConnectionId, Shard, SourceId};

/// Names one thing that the driver steps; the kinds sort in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Aggregate {
    /// A one-shot fetch with a callback.
    Collection(CollectionId),
    /// An end user.
    Account(AccountId),
    /// A link of an account to a source.
    Connection(ConnectionId),
    /// A source.
    Source(SourceId),
}

impl Aggregate {
    /// Returns the shard that it lives in.
    pub fn shard(&self) -> Shard {
        Shard::of(self.as_bytes())
    }

    /// Returns the sixteen bytes that are stored.
    pub const fn as_bytes(&self) -> &AnyId {
        match self {
            Self::Collection(id) => id.as_bytes(),
            Self::Account(id) => id.as_bytes(),
            Self::Connection(id) => id.as_bytes(),
            Self::Source(id) => id.as_bytes(),
        }
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collection(id) => id.fmt(f),
            Self::Account(id) => id.fmt(f),
            Self::Connection(id) => id.fmt(f),
            Self::Source(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<CollectionId> for Aggregate {
    fn from(id: CollectionId) -> Self {
        Self::Collection(id)
    }
}

impl From<AccountId> for Aggregate {
    fn from(id: AccountId) -> Self {
        Self::Account(id)
    }
}

impl From<SourceId> for Aggregate {
    fn from(id: SourceId) -> Self {
        Self::Source(id)
    }
}

impl From<ConnectionId> for Aggregate {
    fn from(id: ConnectionId) -> Self {
        Self::Connection(id)
    }
}
