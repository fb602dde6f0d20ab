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
#[expect(
    clippy::enum_variant_names,
    reason = "the names are the domain's; other aggregates bring other prefixes"
)]
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

/// Which input caused a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A collection was asked for.
    CollectRequested,
    /// The source answered with data.
    Fetched,
    /// The source did not answer with data.
    FetchFailed,
    /// The callback took the message.
    DeliverySucceeded,
    /// The callback did not take the message.
    DeliveryFailed,
    /// A stage's give-up time passed.
    GaveUp,
    /// A person wanted it tried again.
    ResumeRequested,
    /// Everything of it was to go.
    EraseRequested,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::CollectRequested,
        Self::Fetched,
        Self::FetchFailed,
        Self::DeliverySucceeded,
        Self::DeliveryFailed,
        Self::GaveUp,
        Self::ResumeRequested,
        Self::EraseRequested,
    ];

    /// Returns the name used in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CollectRequested => "CollectRequested",
            Self::Fetched => "Fetched",
            Self::FetchFailed => "FetchFailed",
            Self::DeliverySucceeded => "DeliverySucceeded",
            Self::DeliveryFailed => "DeliveryFailed",
            Self::GaveUp => "GaveUp",
            Self::ResumeRequested => "ResumeRequested",
            Self::EraseRequested => "EraseRequested",
        }
    }
}

/// A closed set that is stored as a small number, the place of the member in its list plus one.
pub trait Stored: Sized + Copy + PartialEq + 'static {
    /// The members in the order of their numbers; members are only ever added at the end.
    const MEMBERS: &'static [Self];

    /// Returns the number that is stored.
    fn code(self) -> u8 {
        let place = Self::MEMBERS.iter().position(|member| *member == self);
        place
            .and_then(|place| u8::try_from(place.saturating_add(1)).ok())
            .unwrap_or(0)
    }

    /// Returns the member of a stored number.
    fn from_code(code: u8) -> Option<Self> {
        Self::MEMBERS
            .get(usize::from(code).checked_sub(1)?)
            .copied()
    }
}

impl Stored for Cause {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

impl Stored for Verb {
    const MEMBERS: &'static [Self] = &[Self::Created, Self::Updated, Self::Deleted];
}

impl Stored for Event {
    const MEMBERS: &'static [Self] = &[
        Self::CollectionRequested,
        Self::CollectionSuccessful,
        Self::CollectionRetryRequested,
        Self::CollectionCriticallyFailed,
    ];
}

impl Stored for CollectionStatus {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

impl Stored for ErrorClass {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

impl Stored for Stage {
    const MEMBERS: &'static [Self] = &[Self::Collect, Self::Deliver];
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

impl Actor {
    /// Returns the form that is stored.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Engine => vec![0],
            Self::Operator => vec![1],
            Self::Key(id) => tagged(2, id.as_bytes()).to_vec(),
        }
    }

    /// Returns what [`Self::to_bytes`] stands for.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0, []) => Some(Self::Engine),
            (1, []) => Some(Self::Operator),
            (2, id) => Some(Self::Key(ApiKeyId::from_bytes(id.try_into().ok()?))),
            _ => None,
        }
    }
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
    /// Returns the aggregate's kind and id as stored, and the number of the rest of the path.
    pub fn to_parts(self) -> ([u8; 17], u8) {
        let (id, property) = match self {
            Self::Collection(id) => (id, 0),
            Self::CollectionStatus(id, status) => (id, status.code()),
        };
        (tagged(KIND_COLLECTION, id.as_bytes()), property)
    }

    /// Returns the path that [`Self::to_parts`] stands for; `None` if it is none of ours.
    pub fn path_of(key: &[u8], property: u8) -> Option<String> {
        let (kind, id) = key.split_first()?;
        let id = CollectionId::from_bytes(id.try_into().ok()?);
        match (*kind, property) {
            (KIND_COLLECTION, 0) => Some(format!("/collections/{id}")),
            (KIND_COLLECTION, _) => Some(format!(
                "/collections/{id}/status/{}",
                CollectionStatus::from_code(property)?
            )),
            _ => None,
        }
    }
}

fn tagged(kind: u8, id: &[u8; 16]) -> [u8; 17] {
    let mut key = [0; 17];
    if let Some((first, rest)) = key.split_first_mut() {
        *first = kind;
        rest.copy_from_slice(id);
    }
    key
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
    pub cause: Cause,
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
            let (key, property) = subject.to_parts();
            let path = Subject::path_of(&key, property).unwrap();
            assert!(path.starts_with(&format!("/collections/{id}")), "{path}");
        }
        assert_eq!(Subject::path_of(&[9; 17], 0), None);
        assert_eq!(Subject::path_of(&[1; 3], 0), None);
        assert_eq!(Subject::path_of(&[1; 17], 99), None);
        for actor in [
            Actor::Engine,
            Actor::Operator,
            Actor::Key(ApiKeyId::from_bytes([3; 16])),
        ] {
            assert_eq!(Actor::from_bytes(&actor.to_bytes()), Some(actor));
        }
        for cause in Cause::ALL {
            assert_eq!(Cause::from_code(cause.code()), Some(cause));
        }
        assert_eq!(Cause::from_code(0), None);
    }
}
