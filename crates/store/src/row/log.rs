//! An entry of the log.

use wellspring_core::{
    Actor, Cause, Change, DocumentId, Event, Shard, Stored, Subject, TenantId, Timestamp, Verb,
};
use wellspring_engine::{ChangeView, Entry, LogEntry, StoreError};

use super::inconsistent;

/// The columns of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogRow {
    pub(crate) shard: Shard,
    pub(crate) seq: u64,
    pub(crate) at: i64,
    pub(crate) tenant: TenantId,
    pub(crate) verb: u8,
    pub(crate) subject: Vec<u8>,
    pub(crate) property: u8,
    pub(crate) event: u8,
    pub(crate) actor: Vec<u8>,
    pub(crate) cause: u8,
    pub(crate) body: String,
}

impl LogRow {
    pub(crate) fn of(entry: &Entry) -> Result<Self, serde_json::Error> {
        let Change {
            verb,
            subject,
            event,
            actor,
            cause,
            body,
        } = &entry.change;
        let (subject, property) = subject.to_parts();
        Ok(Self {
            shard: entry.shard,
            seq: entry.seq,
            at: entry.at.as_millis(),
            tenant: entry.tenant,
            verb: verb.code(),
            subject,
            property,
            event: event.map_or(0, Stored::code),
            actor: actor.to_bytes(),
            cause: cause.code(),
            body: crate::facts::stored(body)?,
        })
    }

    /// Returns the entry as its readers see it.
    pub(crate) fn view(&self) -> Result<ChangeView, StoreError> {
        let (_, verb) = self.subject()?;
        self.view_of(verb)
    }

    /// Returns the entry as the dispatcher reads it.
    pub(crate) fn entry(&self) -> Result<LogEntry, StoreError> {
        let (subject, verb) = self.subject()?;
        Ok(LogEntry {
            tenant: self.tenant,
            line: subject.line(),
            document: document_of(&subject),
            message_type: subject.message_type(verb),
            view: self.view_of(verb)?,
        })
    }

    fn subject(&self) -> Result<(Subject, Verb), StoreError> {
        let subject = Subject::from_parts(&self.subject, self.property)
            .ok_or_else(|| self.broken("subject"))?;
        let verb = Verb::from_code(self.verb).ok_or_else(|| self.broken("verb"))?;
        Ok((subject, verb))
    }

    fn view_of(&self, verb: Verb) -> Result<ChangeView, StoreError> {
        let path = Subject::path_of(&self.subject, self.property);
        let actor = Actor::from_bytes(&self.actor).ok_or_else(|| self.broken("actor"))?;
        let cause = Cause::from_code(self.cause).ok_or_else(|| self.broken("cause"))?;
        Ok(ChangeView {
            shard: self.shard,
            seq: self.seq,
            at: Timestamp::from_millis(self.at),
            verb,
            path: path.ok_or_else(|| self.broken("subject"))?,
            event: Event::from_code(self.event).map(|event| event.as_str().to_owned()),
            actor: actor.to_string(),
            cause: cause.as_str().to_owned(),
            body: crate::facts::shown(&self.body).ok_or_else(|| self.broken("body"))?,
        })
    }

    fn broken(&self, column: &'static str) -> StoreError {
        inconsistent("log", column, &format!("{}:{}", self.shard.0, self.seq))
    }
}

/// Returns the document that a change is about.
pub(crate) const fn document_of(subject: &Subject) -> Option<DocumentId> {
    match subject {
        Subject::Document(_, _, id) => Some(*id),
        Subject::Collection(_)
        | Subject::CollectionStatus(..)
        | Subject::Account(_)
        | Subject::Connection(..)
        | Subject::ConnectionState(..)
        | Subject::ConnectionAccess(..)
        | Subject::Interaction(..)
        | Subject::Alert(_)
        | Subject::AlertState(..)
        | Subject::Source(_)
        | Subject::SourceState(..)
        | Subject::Incident(..)
        | Subject::IncidentState(..) => None,
    }
}
