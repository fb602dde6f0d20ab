//! Reads for the driver.

use std::ops::Bound;

use wellspring_core::connection::{Slot, Wakeup};
use wellspring_core::{AccountId, CollectionId, ConnectionId, Lane, Shard, TenantId, Timestamp};
use wellspring_engine::{Aggregate, Live, Loaded, LoadedCollection, RunInputs, StoreError};

use super::Image;
use crate::row::NOTIFYING;

impl Image {
    pub(super) fn scan(
        &self,
        shards: &[Shard],
        after: Option<Aggregate>,
        limit: usize,
    ) -> Vec<Live> {
        let collections = self.hot.iter().filter_map(|(id, hot)| {
            let cold = self.cold.get(id)?;
            Some(hot.live(*id, cold.tenant))
        });
        let accounts = self.accounts.values().filter_map(|account| {
            let (at, _) = account.erasing?;
            let id = Aggregate::Account(account.id);
            Some(live(id, at, Lane::ALARM, (account.tenant, false)))
        });
        let connections = self.connections.values().filter_map(|connection| {
            let id = Aggregate::Connection(connection.id);
            let whose = (connection.tenant, connection.is_awaited());
            Some(match connection.next_wakeup()? {
                Wakeup::Call(due, lane) => live(id, due, lane, whose),
                Wakeup::Alarm(due) => live(id, due, Lane::ALARM, whose),
            })
        });
        collections
            .chain(accounts)
            .chain(connections)
            .filter(|row| shards.contains(&row.id.shard()))
            .filter(|row| after.is_none_or(|after| row.id > after))
            .take(limit)
            .collect()
    }

    pub(super) fn loaded(&self, id: Aggregate) -> Result<Option<Loaded>, StoreError> {
        Ok(match id {
            Aggregate::Collection(id) => self
                .loaded_collection(id)?
                .map(|loaded| Loaded::Collection(Box::new(loaded))),
            Aggregate::Account(id) => self.accounts.get(&id).cloned().map(Loaded::Account),
            Aggregate::Connection(id) => {
                let connection = self.connections.get(&id).cloned();
                connection.map(|connection| Loaded::Connection(Box::new(connection)))
            }
            Aggregate::Source(id) => {
                let source = self.sources.get(&id).cloned();
                source.map(|source| Loaded::Source(Box::new(source)))
            }
        })
    }

    fn loaded_collection(&self, id: CollectionId) -> Result<Option<LoadedCollection>, StoreError> {
        let Some(cold) = self.cold.get(&id) else {
            return Ok(None);
        };
        let hot = self.hot.get(&id);
        let collection = cold.collection(hot)?;
        let payload = hot
            .filter(|hot| hot.state != NOTIFYING)
            .and_then(|_| self.payloads.get(&id).cloned());
        Ok(Some(LoadedCollection {
            collection,
            payload,
            live: hot.is_some(),
        }))
    }

    pub(super) fn run_inputs(&self, id: ConnectionId) -> RunInputs {
        let secret = |slot| self.secrets.get(&(id, slot)).cloned();
        let from = (Bound::Included((id, String::new())), Bound::Unbounded);
        let cursors = self.cursors.range(from);
        RunInputs {
            credentials: secret(Slot::Credentials),
            resume: secret(Slot::Resume),
            answer: secret(Slot::Answer),
            cursors: cursors
                .take_while(|((of, _), _)| *of == id)
                .map(|((_, stream), cursor)| (stream.clone(), cursor.clone()))
                .collect(),
        }
    }

    pub(super) fn children(&self, account: AccountId, limit: usize) -> Vec<ConnectionId> {
        let connections = self.connections.values();
        connections
            .filter(|connection| connection.account == account)
            .map(|connection| connection.id)
            .take(limit)
            .collect()
    }
}

const fn live(
    id: Aggregate,
    due: Timestamp,
    lane: Lane,
    (tenant, awaited): (TenantId, bool),
) -> Live {
    Live {
        id,
        due,
        since: due,
        lane,
        tenant,
        awaited,
    }
}
