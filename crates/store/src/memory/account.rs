//! Steps of accounts and connections.

use wellspring_core::connection::{InteractionWrite, SecretWrite};
use wellspring_core::reliability::FetchTally;
use wellspring_core::{AccountId, Connection, ConnectionId, DocumentId};
use wellspring_engine::{AccountWrite, ConnectionWrite, InteractionView};

use super::Image;
use crate::row::tally_columns;

impl Image {
    pub(super) fn apply_account(&mut self, write: &AccountWrite) {
        match &write.next {
            Some(next) => drop(self.accounts.insert(write.id, next.clone())),
            None => self.erase_account(write.id),
        }
    }

    fn erase_account(&mut self, id: AccountId) {
        self.accounts.remove(&id);
        for connection in self.children(id, usize::MAX) {
            self.delete_connection(connection);
        }
        let documents: Vec<DocumentId> = self
            .documents
            .values()
            .filter(|document| document.account == id)
            .map(|document| document.id)
            .collect();
        for document in documents {
            self.documents.remove(&document);
            self.garbage.insert(document);
        }
        self.tokens.retain(|_, token| token.account != id);
        self.told.erase(id);
        self.alerts
            .retain(|_, alert| alert.connection.is_none_or(|(of, _)| of != id));
    }

    pub(super) fn apply_connection(&mut self, write: &ConnectionWrite) {
        let id = write.id;
        for document in &write.documents {
            self.documents.insert(document.id, document.clone());
        }
        self.apply_alerts(&write.alerts);
        let Some(next) = &write.next else {
            self.delete_connection(id);
            return;
        };
        self.connections.insert(id, next.clone());
        if let Some(fetch) = &write.fetch {
            self.fetches.insert((id, fetch.id), fetch.clone());
            if let Some(tally) = FetchTally::of(fetch) {
                self.count(next, &tally);
            }
        }
        if let Some(attempt) = &write.attempt {
            let key = (id, attempt.fetch, attempt.number);
            self.fetch_attempts.insert(key, attempt.clone());
        }
        for interaction in &write.interactions {
            self.apply_interaction(id, interaction);
        }
        for secret in &write.secrets {
            self.apply_secret(id, secret);
        }
        for (stream, record) in &write.records {
            let key = (id, stream.clone(), record.key.clone());
            let kept = self.records.get(&key);
            if kept.is_none_or(|kept| kept.hash != record.hash) {
                self.records.insert(key, record.clone());
            }
        }
        for (stream, cursor) in &write.cursors {
            self.cursors.insert((id, stream.clone()), cursor.clone());
        }
    }

    fn count(&mut self, connection: &Connection, tally: &FetchTally) {
        let (place, sums) = tally_columns(tally);
        let row = self.tallies.entry((connection.id, place));
        let new = || (connection.tenant, connection.source.clone(), [0; 5]);
        let (_, _, have) = row.or_insert_with(new);
        for (have, more) in have.iter_mut().zip(sums) {
            *have = have.saturating_add(more);
        }
    }

    fn apply_interaction(&mut self, connection: ConnectionId, write: &InteractionWrite) {
        match write {
            InteractionWrite::Open {
                id,
                question,
                at,
                expires_at,
            } => {
                let view = InteractionView {
                    id: *id,
                    connection,
                    question: question.clone(),
                    created_at: *at,
                    expires_at: *expires_at,
                    closed: None,
                    hash: None,
                };
                self.interactions.insert((connection, *id), view);
            }
            InteractionWrite::Close {
                id,
                reason,
                at,
                hash,
            } => {
                if let Some(view) = self.interactions.get_mut(&(connection, *id)) {
                    view.closed = Some((*reason, *at));
                    view.hash = *hash;
                }
            }
        }
    }

    fn apply_secret(&mut self, id: ConnectionId, write: &SecretWrite) {
        match write {
            SecretWrite::Put(slot, sealed) => {
                self.secrets.insert((id, *slot), sealed.clone());
            }
            SecretWrite::Move(from, to) => match self.secrets.remove(&(id, *from)) {
                Some(sealed) => drop(self.secrets.insert((id, *to), sealed)),
                None => drop(self.secrets.remove(&(id, *to))),
            },
            SecretWrite::Delete(slot) => drop(self.secrets.remove(&(id, *slot))),
        }
    }

    /// Takes all of a connection but its documents, which are the account's.
    fn delete_connection(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
        self.secrets.retain(|(of, _), _| *of != id);
        self.interactions.retain(|(of, _), _| *of != id);
        self.fetches.retain(|(of, _), _| *of != id);
        self.fetch_attempts.retain(|(of, _, _), _| *of != id);
        self.records.retain(|(of, _, _), _| *of != id);
        self.cursors.retain(|(of, _), _| *of != id);
    }
}
