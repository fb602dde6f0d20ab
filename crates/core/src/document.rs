//! Documents: files that came from a source or from a person.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, ConnectionId, DocumentFacts, DocumentId, FetchId, Stored, TenantId, Timestamp,
};

/// What is known of one document besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Whose tenant it belongs to.
    pub tenant: TenantId,
    /// Whose it is.
    pub account: AccountId,
    /// On which connection it came.
    pub connection: ConnectionId,
    /// The fetch that brought it; none for an upload.
    pub fetch: Option<FetchId>,
    /// How it came.
    pub origin: Origin,
    /// When it came.
    pub created_at: Timestamp,
    /// The source's own id for it.
    pub source_id: Option<String>,
    /// SHA-256 of its bytes.
    pub hash: [u8; 32],
    /// How many bytes it has.
    pub size: u64,
    /// What kind of document it is, in one word such as `statement`.
    pub kind: String,
    /// The name of the file.
    pub name: String,
    /// Such as `application/pdf`.
    pub media_type: String,
    /// The day it is about, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// What else the source says of it.
    pub metadata: BTreeMap<String, String>,
}

/// How a document came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// From the source.
    Fetched,
    /// From the person, by hand.
    Manual,
}

impl Origin {
    /// Returns the name used in API, tables and log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Manual => "manual",
        }
    }
}

impl Stored for Origin {
    const MEMBERS: &'static [Self] = &[Self::Fetched, Self::Manual];
}

impl Document {
    /// Returns what the log says of it.
    pub fn facts(&self) -> DocumentFacts {
        DocumentFacts {
            kind: self.kind.clone(),
            origin: self.origin.as_str(),
            size: self.size,
            fetch_id: self.fetch,
        }
    }
}
