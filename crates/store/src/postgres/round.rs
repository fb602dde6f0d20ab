//! The steps of a batch as columns, one statement for each kind of change.

use std::collections::BTreeSet;

use wellspring_engine::{Aggregate, CommitError, Write};

use super::session::Param;

mod account;
mod alert;
mod collection;
mod connection;
mod fetch;
mod item;
mod secret;
mod source;
mod unclassified;

pub(super) use unclassified::Unclassified;

/// One statement, and how many rows it must change.
pub(super) struct Call<'a> {
    pub(super) sql: &'static str,
    pub(super) params: Vec<Param<'a>>,
    pub(super) expected: Option<usize>,
}

impl<'a> Call<'a> {
    /// Returns a call that changes as many rows as it finds.
    pub(super) const fn any(sql: &'static str, params: Vec<Param<'a>>) -> Self {
        Self {
            sql,
            params,
            expected: None,
        }
    }

    /// Returns the call unless there is nothing to change.
    pub(super) fn unless_empty(self) -> Option<Self> {
        (self.expected != Some(0)).then_some(self)
    }
}

/// Steps of different aggregates, as columns.
#[derive(Default)]
pub(super) struct Round<'a> {
    collections: collection::Collections<'a>,
    connections: connection::Connections<'a>,
    accounts: account::Accounts<'a>,
    sources: source::Sources<'a>,
}

/// Sorts steps into rounds: a later step of the same aggregate belongs to a later round, and an
/// account goes no earlier than what was written before.
pub(super) fn rounds(writes: &[Write]) -> Result<Vec<Round<'_>>, CommitError> {
    let mut rounds: Vec<(BTreeSet<Aggregate>, Round<'_>)> = Vec::new();
    for write in writes {
        let id = write.id();
        let place = rounds.iter().rposition(|(ids, _)| ids.contains(&id));
        let mut place = place.map_or(0, |last| last + 1);
        if matches!(write, Write::Account(write) if write.next.is_none()) {
            place = place.max(rounds.len().saturating_sub(1));
        }
        if place == rounds.len() {
            rounds.push(Default::default());
        }
        if let Some((ids, round)) = rounds.get_mut(place) {
            ids.insert(id);
            round.push(write)?;
        }
    }
    Ok(rounds.into_iter().map(|(_, round)| round).collect())
}

impl<'a> Round<'a> {
    fn push(&mut self, write: &'a Write) -> Result<(), CommitError> {
        match write {
            Write::Collection(write) => self.collections.push(write),
            Write::Account(write) => self.accounts.push(write),
            Write::Connection(write) => self.connections.push(write),
            Write::Source(write) => self.sources.push(write),
        }
    }

    /// Adds the statements of the round; those without rows are left out.
    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        self.collections.calls(calls);
        self.connections.calls(calls);
        self.accounts.calls(calls);
        self.sources.calls(calls);
    }
}

/// Says that a value has no text form; nothing was written.
fn unwritable(error: &serde_json::Error) -> CommitError {
    CommitError::NotCommitted(error.to_string())
}
