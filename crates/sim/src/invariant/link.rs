//! What has to hold of accounts and connections, looked at now and then.

use std::collections::{BTreeMap, BTreeSet};

use wellspring_core::connection::Wakeup;
use wellspring_core::{ConnectionId, IncarnationId, Lane, Phase, Timestamp};
use wellspring_engine::{Aggregate, Loaded, Queries, Store};

use crate::clock::SECOND;
use crate::disk::now;
use crate::world::World;

impl World {
    /// Looks for connections that are late although nothing keeps their node from its work.
    pub(super) fn check_overslept(
        &mut self,
        healthy: &BTreeMap<IncarnationId, Timestamp>,
        calm: i64,
    ) {
        let overslept = self.model.links.by_id.values().find_map(|link| {
            let connection = &link.connection;
            let shard = connection.id.shard();
            let (owner, _) = self.model.owners.get(&shard)?;
            let clock = healthy.get(owner)?;
            let granted = self.model.granted_at.get(&shard)?;
            let node = self.nodes.iter().find(|node| node.incarnation == *owner)?;
            let handing_over = node.driver.shards().count() != node.driver.kept_shards();
            if *granted > calm || handing_over || node.driver.is_saturated() {
                return None;
            }
            // What ended its attempt may not be durable yet.
            let ended = self
                .ended_at
                .get(&connection.id)
                .is_some_and(|at| *at > calm);
            let late = |due: Timestamp| !ended && due.after(super::SLACK) < *clock;
            let lane = match connection.next_wakeup()? {
                Wakeup::Alarm(due) => return late(due).then(|| format!("{connection:?}")),
                Wakeup::Call(due, lane) if late(due) => lane,
                Wakeup::Call(..) => return None,
            };
            let effect = Aggregate::Connection(connection.id);
            let flies = self
                .flying
                .iter()
                .any(|call| call.effect.id == effect && call.effect.incarnation == *owner);
            let tells = self.attempts.values().any(|one| {
                one.effect.id == effect && one.effect.incarnation == *owner && !one.aborted
            });
            let lanes = node.driver.lanes().into_iter();
            let view = lanes
                .into_iter()
                .find(|view| Lane::source(&view.source) == lane)?;
            // Who waited for the slot of another may be about to begin.
            let freed_at = self.freed_at.get(&lane);
            let follows = freed_at.is_some_and(|at| *at > self.now - 10 * SECOND);
            let shut = view.queued > 0 || view.breaker != Phase::Closed || follows;
            (!flies && !tells && !shut).then(|| format!("{connection:?}, {view:?}"))
        });
        if let Some(seen) = overslept {
            self.broken("no due fetch is overslept", seen);
        }
    }

    /// Compares what the image has of accounts and connections with the model.
    pub(crate) fn audit_links(&mut self) {
        if let Some(seen) = self.wrong_link() {
            return self.broken("what is durable is kept", seen);
        }
        if let Some(seen) = self.left_behind() {
            self.broken("what is erased leaves nothing", seen);
        }
    }

    fn wrong_link(&self) -> Option<String> {
        let links = &self.model.links;
        let ids = links.by_id.keys().copied().map(Aggregate::Connection);
        let accounts = links.accounts.keys().copied().map(Aggregate::Account);
        let rows = now(self.store.load(ids.chain(accounts).collect())).ok()?;
        let found: BTreeMap<Aggregate, Loaded> =
            rows.into_iter().map(|row| (row.id(), row)).collect();
        for (id, link) in &links.by_id {
            match found.get(&Aggregate::Connection(*id)) {
                Some(Loaded::Connection(row)) if **row == link.connection => {}
                other => return Some(format!("{other:?} should be {:?}", link.connection)),
            }
            let inputs = now(self.store.run_inputs(*id)).ok();
            if inputs != links.inputs(*id) {
                return Some(format!("{id}: {inputs:?}, not {:?}", links.inputs(*id)));
            }
            if let Some(seen) = self.wrong_documents(*id) {
                return Some(seen);
            }
        }
        for (id, account) in &links.accounts {
            match found.get(&Aggregate::Account(*id)) {
                Some(Loaded::Account(row)) if row == account => {}
                other => return Some(format!("{other:?} should be {account:?}")),
            }
        }
        for (interaction, connection) in &links.open {
            let view = now(self.store.interaction(*connection, *interaction)).ok()?;
            if view.is_none_or(|view| view.closed.is_some()) {
                return Some(format!("the open question {interaction} is not there"));
            }
        }
        None
    }

    fn wrong_documents(&self, id: ConnectionId) -> Option<String> {
        let link = self.model.links.by_id.get(&id)?;
        let tenant = link.connection.tenant;
        let rows = self
            .store
            .documents(tenant, (None, Some(id)), None, usize::MAX);
        let rows = now(rows).ok()?;
        let found: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
        let expected: BTreeSet<_> = link.documents.iter().copied().collect();
        (found != expected || rows.len() != expected.len())
            .then(|| format!("{id} has the documents {found:?}, not {expected:?}"))
    }

    fn left_behind(&self) -> Option<String> {
        let links = &self.model.links;
        for (account, tenant) in &links.erased {
            let row = now(self.store.account(*tenant, *account)).ok()?;
            let children = now(self.store.children(*account, 1)).ok()?;
            let of = (Some(*account), None);
            let documents = now(self.store.documents(*tenant, of, None, 1)).ok()?;
            if row.is_some() || !children.is_empty() || !documents.is_empty() {
                return Some(format!("{account}: {row:?} {children:?} {documents:?}"));
            }
        }
        let gone = links.gone.iter().copied().map(Aggregate::Connection);
        let rows = now(self.store.load(gone.collect())).ok()?;
        if let Some(row) = rows.first() {
            return Some(format!("{}", row.id()));
        }
        for id in &links.gone {
            let inputs = now(self.store.run_inputs(*id)).ok()?;
            let questions = now(self.store.interactions(*id, 1)).ok()?;
            if inputs != wellspring_engine::RunInputs::default() || !questions.is_empty() {
                return Some(format!("{id}: {inputs:?} {questions:?}"));
            }
        }
        None
    }
}
