//! One entry of the ordered log: a verb, a resource path, and facts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ApiKeyId, CollectionId, CollectionStatus, ErrorClass, SourceName, Stage, Timestamp};

/// What happened to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// It came to be.
    Created,
    /// A property of it changed.
    Updated,
    /// It is gone.
    Deleted,
}

impl Verb {
    /// Returns the name used in patterns and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Updated => "UPDATED",
            Self::Deleted => "DELETED",
        }
    }
}

impl FromStr for Verb {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "CREATED" | "CREATE" => Ok(Self::Created),
            "UPDATED" | "UPDATE" => Ok(Self::Updated),
            "DELETED" | "DELETE" => Ok(Self::Deleted),
            _ => Err(format!("`{text}` is not CREATED, UPDATED, DELETED or *")),
        }
    }
}

/// The domain's names for what happened, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Event {
    /// A collection was accepted.
    CollectionRequested,
    /// Its data is here.
    CollectionSuccessful,
    /// Its source failed and is tried again.
    CollectionRetryRequested,
    /// It was parked; a person may resume it.
    CollectionCriticallyFailed,
}

impl Event {
    /// Returns the name used in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CollectionRequested => "CollectionRequested",
            Self::CollectionSuccessful => "CollectionSuccessful",
            Self::CollectionRetryRequested => "CollectionRetryRequested",
            Self::CollectionCriticallyFailed => "CollectionCriticallyFailed",
        }
    }
}

/// Who caused a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// A tenant, by one of its API keys.
    Key(ApiKeyId),
    /// Somebody at the command line of the machine.
    Operator,
    /// The engine itself.
    Engine,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::Operator => f.write_str("operator"),
            Self::Engine => f.write_str("engine"),
        }
    }
}

/// What a change is about; its path is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A collection.
    Collection(CollectionId),
    /// A collection's property `status`.
    CollectionStatus(CollectionId, CollectionStatus),
}

impl Subject {
    /// Returns the aggregate's kind and id as stored, and the rest of the path.
    pub fn to_parts(self) -> ([u8; 17], &'static str) {
        let (id, tail) = match self {
            Self::Collection(id) => (id, ""),
            Self::CollectionStatus(id, status) => (id, status.tail()),
        };
        let mut key = [0; 17];
        if let Some((kind, rest)) = key.split_first_mut() {
            *kind = KIND_COLLECTION;
            rest.copy_from_slice(id.as_bytes());
        }
        (key, tail)
    }

    /// Returns the path that [`Self::to_parts`] stands for; `None` if it is none of ours.
    pub fn path_of(key: &[u8], tail: &str) -> Option<String> {
        let (kind, id) = key.split_first()?;
        let id: [u8; 16] = id.try_into().ok()?;
        let root = match *kind {
            KIND_COLLECTION => format!("/collections/{}", CollectionId::from_bytes(id)),
            _ => return None,
        };
        Some(if tail.is_empty() {
            root
        } else {
            format!("{root}/{tail}")
        })
    }
}

/// A change as the core makes it, before it has a place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened.
    pub verb: Verb,
    /// To what.
    pub subject: Subject,
    /// Its name in the domain.
    pub event: Option<Event>,
    /// Who caused it.
    pub actor: Actor,
    /// Which input caused it.
    pub cause: &'static str,
    /// The facts.
    pub body: Body,
}

/// The facts of a change: ids, states, counts and reasons, never fetched data.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Body {
    /// The source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<SourceName>,
    /// Failures so far that count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u16>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// The stage that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// The class of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<ErrorClass>,
    /// The code of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How long the call took.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    pub duration_ms: Option<Duration>,
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn millis<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let millis = duration.map_or(0, |duration| {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    });
    serializer.serialize_u64(millis)
}

const KIND_COLLECTION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_parts_give_back_the_path() {
        let id = CollectionId::from_bytes([7; 16]);
        for subject in [
            Subject::Collection(id),
            Subject::CollectionStatus(id, CollectionStatus::Delivered),
        ] {
            let (key, tail) = subject.to_parts();
            let path = Subject::path_of(&key, tail).unwrap();
            assert!(path.starts_with(&format!("/collections/{id}")), "{path}");
        }
        assert_eq!(Subject::path_of(&[9; 17], ""), None);
        assert_eq!(Subject::path_of(&[1; 3], ""), None);
    }
}
