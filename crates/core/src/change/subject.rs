//! What changes are about: its path, and the form in which it is stored.

use std::fmt;

use super::{Stored, Verb};
use crate::{
    Access, AccountId, AlertId, AlertState, AnyId, CollectionId, CollectionStatus, ConnectionId,
    ConnectionState, DocumentId, IncidentId, IncidentState, InteractionId, SourceId, SourceName,
    SourceState,
};

/// What a change is about; its path is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A collection.
    Collection(CollectionId),
    /// A collection's property `status`.
    CollectionStatus(CollectionId, CollectionStatus),
    /// An account.
    Account(AccountId),
    /// A connection.
    Connection(AccountId, ConnectionId),
    /// A connection's property `state`.
    ConnectionState(AccountId, ConnectionId, ConnectionState),
    /// A connection's property `access`.
    ConnectionAccess(AccountId, ConnectionId, Access),
    /// A question of a connection.
    Interaction(AccountId, ConnectionId, InteractionId),
    /// A document of a connection.
    Document(AccountId, ConnectionId, DocumentId),
    /// An alert.
    Alert(AlertId),
    /// An alert's property `state`.
    AlertState(AlertId, AlertState),
    /// A source.
    Source(SourceName),
    /// A source's property `state`.
    SourceState(SourceName, SourceState),
    /// An incident of a source.
    Incident(SourceName, IncidentId),
    /// An incident's property `state`.
    IncidentState(SourceName, IncidentId, IncidentState),
}

impl Subject {
    /// Returns the aggregate's kind and ids as stored, and the number of the rest of the path.
    pub fn to_parts(&self) -> (Vec<u8>, u8) {
        match self {
            Self::Collection(id) => (key(KIND_COLLECTION, &[id.as_bytes()]), 0),
            Self::CollectionStatus(id, status) => {
                (key(KIND_COLLECTION, &[id.as_bytes()]), status.code())
            }
            Self::Account(account) => (key(KIND_ACCOUNT, &[account.as_bytes()]), 0),
            Self::Connection(account, id) => (
                key(KIND_CONNECTION, &[account.as_bytes(), id.as_bytes()]),
                0,
            ),
            Self::ConnectionState(account, id, state) => (
                key(KIND_CONNECTION, &[account.as_bytes(), id.as_bytes()]),
                state.code(),
            ),
            Self::ConnectionAccess(account, id, access) => (
                key(KIND_CONNECTION, &[account.as_bytes(), id.as_bytes()]),
                access.code() | ACCESS,
            ),
            Self::Interaction(account, connection, id) => (
                key(
                    KIND_INTERACTION,
                    &[account.as_bytes(), connection.as_bytes(), id.as_bytes()],
                ),
                0,
            ),
            Self::Document(account, connection, id) => (
                key(
                    KIND_DOCUMENT,
                    &[account.as_bytes(), connection.as_bytes(), id.as_bytes()],
                ),
                0,
            ),
            Self::Alert(id) => (key(KIND_ALERT, &[id.as_bytes()]), 0),
            Self::AlertState(id, state) => (key(KIND_ALERT, &[id.as_bytes()]), state.code()),
            Self::Source(name) => (named(KIND_SOURCE, None, name), 0),
            Self::SourceState(name, state) => (named(KIND_SOURCE, None, name), state.code()),
            Self::Incident(name, id) => (named(KIND_INCIDENT, Some(id), name), 0),
            Self::IncidentState(name, id, state) => {
                (named(KIND_INCIDENT, Some(id), name), state.code())
            }
        }
    }

    /// Returns what [`Self::to_parts`] stands for; `None` if it is none of ours.
    pub fn from_parts(key: &[u8], property: u8) -> Option<Self> {
        let (kind, ids) = key.split_first()?;
        if matches!(*kind, KIND_SOURCE | KIND_INCIDENT) {
            return Self::of_source(*kind, ids, property);
        }
        let (ids, rest) = ids.as_chunks::<16>();
        if !rest.is_empty() {
            return None;
        }
        match (*kind, ids, property) {
            (KIND_COLLECTION, [id], 0) => Some(Self::Collection(CollectionId::from_bytes(*id))),
            (KIND_COLLECTION, [id], _) => Some(Self::CollectionStatus(
                CollectionId::from_bytes(*id),
                CollectionStatus::from_code(property)?,
            )),
            (KIND_ACCOUNT, [id], 0) => Some(Self::Account(AccountId::from_bytes(*id))),
            (KIND_CONNECTION, [account, id], _) => {
                let (account, id) = (
                    AccountId::from_bytes(*account),
                    ConnectionId::from_bytes(*id),
                );
                Some(if property == 0 {
                    Self::Connection(account, id)
                } else if property & ACCESS != 0 {
                    Self::ConnectionAccess(account, id, Access::from_code(property & !ACCESS)?)
                } else {
                    Self::ConnectionState(account, id, ConnectionState::from_code(property)?)
                })
            }
            (KIND_INTERACTION, [account, connection, id], 0) => Some(Self::Interaction(
                AccountId::from_bytes(*account),
                ConnectionId::from_bytes(*connection),
                InteractionId::from_bytes(*id),
            )),
            (KIND_DOCUMENT, [account, connection, id], 0) => Some(Self::Document(
                AccountId::from_bytes(*account),
                ConnectionId::from_bytes(*connection),
                DocumentId::from_bytes(*id),
            )),
            (KIND_ALERT, [id], 0) => Some(Self::Alert(AlertId::from_bytes(*id))),
            (KIND_ALERT, [id], _) => Some(Self::AlertState(
                AlertId::from_bytes(*id),
                AlertState::from_code(property)?,
            )),
            _ => None,
        }
    }

    fn of_source(kind: u8, rest: &[u8], property: u8) -> Option<Self> {
        let name = |bytes| std::str::from_utf8(bytes).ok()?.parse::<SourceName>().ok();
        if kind == KIND_SOURCE {
            let name = name(rest)?;
            return Some(match property {
                0 => Self::Source(name),
                _ => Self::SourceState(name, SourceState::from_code(property)?),
            });
        }
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (id, name) = (IncidentId::from_bytes(*id), name(rest)?);
        Some(match property {
            0 => Self::Incident(name, id),
            _ => Self::IncidentState(name, id, IncidentState::from_code(property)?),
        })
    }

    /// Returns the path that [`Self::to_parts`] stands for; `None` if it is none of ours.
    pub fn path_of(key: &[u8], property: u8) -> Option<String> {
        Self::from_parts(key, property).map(|subject| subject.to_string())
    }

    /// Returns what changes are delivered in order of: the connection, collection, account, alert or source.
    pub fn line(&self) -> AnyId {
        match self {
            Self::Collection(id) | Self::CollectionStatus(id, _) => *id.as_bytes(),
            Self::Account(id) => *id.as_bytes(),
            Self::Connection(_, id)
            | Self::ConnectionState(_, id, _)
            | Self::ConnectionAccess(_, id, _)
            | Self::Interaction(_, id, _)
            | Self::Document(_, id, _) => *id.as_bytes(),
            Self::Alert(id) | Self::AlertState(id, _) => *id.as_bytes(),
            Self::Source(name)
            | Self::SourceState(name, _)
            | Self::Incident(name, _)
            | Self::IncidentState(name, ..) => *SourceId::of(name).as_bytes(),
        }
    }

    /// Returns the account that it is part of, if any.
    pub const fn account(&self) -> Option<AccountId> {
        match self {
            Self::Collection(_)
            | Self::CollectionStatus(..)
            | Self::Alert(_)
            | Self::AlertState(..)
            | Self::Source(_)
            | Self::SourceState(..)
            | Self::Incident(..)
            | Self::IncidentState(..) => None,
            Self::Account(account)
            | Self::Connection(account, _)
            | Self::ConnectionState(account, ..)
            | Self::ConnectionAccess(account, ..)
            | Self::Interaction(account, ..)
            | Self::Document(account, ..) => Some(*account),
        }
    }

    /// Returns the type of the message about a change of this, such as `connection.state.updated`.
    pub const fn message_type(&self, verb: Verb) -> &'static str {
        match (self, verb) {
            (Self::Collection(_), Verb::Created) => "collection.created",
            (Self::Collection(_), Verb::Updated) => "collection.updated",
            (Self::Collection(_), Verb::Deleted) => "collection.deleted",
            (Self::CollectionStatus(..), Verb::Created | Verb::Updated | Verb::Deleted) => {
                "collection.status.updated"
            }
            (Self::Account(_), Verb::Created) => "account.created",
            (Self::Account(_), Verb::Updated) => "account.updated",
            (Self::Account(_), Verb::Deleted) => "account.deleted",
            (Self::Connection(..), Verb::Created) => "connection.created",
            (Self::Connection(..), Verb::Updated) => "connection.updated",
            (Self::Connection(..), Verb::Deleted) => "connection.deleted",
            (Self::ConnectionState(..), Verb::Created | Verb::Updated | Verb::Deleted) => {
                "connection.state.updated"
            }
            (Self::ConnectionAccess(..), Verb::Created | Verb::Updated | Verb::Deleted) => {
                "connection.access.updated"
            }
            (Self::Interaction(..), Verb::Created) => "interaction.created",
            (Self::Interaction(..), Verb::Updated) => "interaction.updated",
            (Self::Interaction(..), Verb::Deleted) => "interaction.deleted",
            (Self::Document(..), Verb::Created) => "document.created",
            (Self::Document(..), Verb::Updated) => "document.updated",
            (Self::Document(..), Verb::Deleted) => "document.deleted",
            (Self::Alert(_), Verb::Created) => "alert.created",
            (Self::Alert(_), Verb::Updated) => "alert.updated",
            (Self::Alert(_), Verb::Deleted) => "alert.deleted",
            (Self::AlertState(..), Verb::Created | Verb::Updated | Verb::Deleted) => {
                "alert.state.updated"
            }
            (Self::Source(_), Verb::Created) => "source.created",
            (Self::Source(_), Verb::Updated) => "source.updated",
            (Self::Source(_), Verb::Deleted) => "source.deleted",
            (Self::SourceState(..), Verb::Created | Verb::Updated | Verb::Deleted) => {
                "source.state.updated"
            }
            (Self::Incident(..), Verb::Created) => "incident.created",
            (Self::Incident(..), Verb::Updated) => "incident.updated",
            (Self::Incident(..), Verb::Deleted) => "incident.deleted",
            (Self::IncidentState(..), Verb::Created | Verb::Updated | Verb::Deleted) => {
                "incident.state.updated"
            }
        }
    }
}

/// The path.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collection(id) => write!(f, "/collections/{id}"),
            Self::CollectionStatus(id, status) => write!(f, "/collections/{id}/status/{status}"),
            Self::Account(account) => write!(f, "/accounts/{account}"),
            Self::Connection(account, id) => write!(f, "/accounts/{account}/connections/{id}"),
            Self::ConnectionState(account, id, state) => {
                write!(f, "/accounts/{account}/connections/{id}/state/{state}")
            }
            Self::ConnectionAccess(account, id, access) => write!(
                f,
                "/accounts/{account}/connections/{id}/access/{}",
                access.as_str()
            ),
            Self::Interaction(account, connection, id) => write!(
                f,
                "/accounts/{account}/connections/{connection}/interactions/{id}"
            ),
            Self::Document(account, connection, id) => write!(
                f,
                "/accounts/{account}/connections/{connection}/documents/{id}"
            ),
            Self::Alert(id) => write!(f, "/alerts/{id}"),
            Self::AlertState(id, state) => write!(f, "/alerts/{id}/state/{}", state.as_str()),
            Self::Source(name) => write!(f, "/sources/{name}"),
            Self::SourceState(name, state) => {
                write!(f, "/sources/{name}/state/{}", state.as_str())
            }
            Self::Incident(name, id) => write!(f, "/sources/{name}/incidents/{id}"),
            Self::IncidentState(name, id, state) => {
                write!(f, "/sources/{name}/incidents/{id}/state/{}", state.as_str())
            }
        }
    }
}

fn key(kind: u8, ids: &[&AnyId]) -> Vec<u8> {
    let mut key = Vec::with_capacity(49);
    key.push(kind);
    for id in ids {
        key.extend_from_slice(*id);
    }
    key
}

fn named(kind: u8, id: Option<&IncidentId>, name: &SourceName) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(id.into_iter().flat_map(|id| id.as_bytes()));
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

const KIND_COLLECTION: u8 = 1;
const KIND_ACCOUNT: u8 = 2;
const KIND_CONNECTION: u8 = 3;
const KIND_INTERACTION: u8 = 4;
const KIND_DOCUMENT: u8 = 5;
const KIND_ALERT: u8 = 6;
const KIND_SOURCE: u8 = 7;
const KIND_INCIDENT: u8 = 8;
/// Tells the property `access` from the property `state`.
const ACCESS: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_parts_give_back_the_path() {
        let id = CollectionId::from_bytes([7; 16]);
        let account = AccountId::from_bytes([1; 16]);
        let connection = ConnectionId::from_bytes([2; 16]);
        let incident = IncidentId::from_bytes([6; 16]);
        for subject in [
            Subject::Collection(id),
            Subject::CollectionStatus(id, CollectionStatus::Delivered),
            Subject::Account(account),
            Subject::Connection(account, connection),
            Subject::ConnectionState(account, connection, ConnectionState::Disabled),
            Subject::ConnectionAccess(account, connection, Access::Revoked),
            Subject::Interaction(account, connection, InteractionId::from_bytes([3; 16])),
            Subject::Document(account, connection, DocumentId::from_bytes([4; 16])),
            Subject::Alert(AlertId::from_bytes([5; 16])),
            Subject::AlertState(AlertId::from_bytes([5; 16]), AlertState::Closed),
            Subject::Source("gas".parse().unwrap()),
            Subject::SourceState("gas".parse().unwrap(), SourceState::Disabled),
            Subject::Incident("gas".parse().unwrap(), incident),
            Subject::IncidentState("gas".parse().unwrap(), incident, IncidentState::Ended),
        ] {
            let (key, property) = subject.to_parts();
            assert_eq!(Subject::from_parts(&key, property).as_ref(), Some(&subject));
            let path = Subject::path_of(&key, property).unwrap();
            assert_eq!(path, subject.to_string());
        }
        assert_eq!(Subject::path_of(&[9; 17], 0), None);
        assert_eq!(Subject::path_of(&[1; 3], 0), None);
        assert_eq!(Subject::path_of(&[1; 17], 99), None);
    }
}
