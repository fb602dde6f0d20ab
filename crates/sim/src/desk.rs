//! Between callers and drivers: what the server does with a request and its answer.

use wellspring_core::{CollectionId, IncarnationId, Shard};
use wellspring_engine::{
    Answer, Batch, Before, Command, CommitError, Event, Origin, Queries, Request, Store,
};

use crate::agenda::{News, Occurrence};
use crate::caller::{Ask, intent_of};
use crate::clock::{HOUR, SECOND};
use crate::disk::now;
use crate::world::World;

impl World {
    /// Sends a request to some node.
    pub(crate) fn send(&mut self, mut ask: Ask) {
        let ready: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].up && !self.nodes[*node].stopping)
            .collect();
        let Some(node) = self.dice.pick(&ready) else {
            return self.send_again(ask);
        };
        let tenant = ask.request.tenant();
        if let Some(key) = ask.key
            && self.dice.permille(700)
            && let Ok(Some(row)) = now(self.store.key(tenant, key.hash))
        {
            return self.done(&ask, row.id);
        }
        ask.node = node;
        ask.boot = self.nodes[node].boot;
        self.note(|| format!("caller to node {node}: {:?}", ask.request));
        let command = Command {
            request: ask.request.clone(),
            key: ask.key,
            origin: Origin::Caller(0),
        };
        let (boot, caller) = (ask.boot, self.callers.sent(ask));
        let command = Command {
            origin: Origin::Caller(caller),
            ..command
        };
        let news = News::Driver(None, Event::Command(command));
        let at = self.now + self.dice.between(1, 5);
        self.agenda.push(at, Occurrence::Tell { node, boot, news });
    }

    /// The driver answers.
    pub(crate) fn reply(&mut self, node: usize, caller: u64, answer: &Answer) {
        let Some(ask) = self.callers.waiting.remove(&caller) else {
            let seen = format!("caller {caller} hears {answer:?}");
            // The planted bug has answered already.
            if self.plant.is_none() {
                self.broken("a request is answered once", seen);
            }
            return;
        };
        self.note(|| format!("node {node} answers caller {caller}: {answer:?}"));
        match answer {
            Answer::Done(id) => self.done(&ask, *id),
            Answer::NotFound => self.not_found(&ask),
            Answer::Rejected(_) => {}
            Answer::KeyTaken => self.key_taken(&ask),
            Answer::KeyBusy | Answer::Busy(_) | Answer::Unknown => self.send_again(ask),
            Answer::Elsewhere => self.post(ask),
        }
    }

    /// A node's process ended: its callers hear nothing.
    pub(crate) fn lost_callers(&mut self, node: usize, boot: u64) {
        let waiting = std::mem::take(&mut self.callers.waiting);
        for (caller, ask) in waiting {
            if (ask.node, ask.boot) == (node, boot) {
                self.send_again(ask);
            } else {
                self.callers.waiting.insert(caller, ask);
            }
        }
    }

    /// A driver was thrown away with all that it held.
    pub(crate) fn dropped_callers(&mut self, incarnation: IncarnationId) {
        let waiting = std::mem::take(&mut self.callers.waiting);
        for (caller, ask) in waiting {
            if ask.held_by == Some(incarnation) {
                self.send_again(ask);
            } else {
                self.callers.waiting.insert(caller, ask);
            }
        }
    }

    fn send_again(&mut self, mut ask: Ask) {
        ask.tries += 1;
        let intent = self.callers.intents.get(&ask.intent);
        let old = intent.is_some_and(|intent| intent.first_at < self.now - 12 * HOUR);
        if ask.key.is_none() || ask.tries > 6 || old {
            return;
        }
        ask.held_by = None;
        let at = self.now + self.dice.between(SECOND / 10, 60 * SECOND);
        self.agenda.push(at, Occurrence::Send(Box::new(ask)));
    }

    fn done(&mut self, ask: &Ask, id: CollectionId) {
        let durable = self.model.rows.contains_key(&id)
            || self.model.erased.contains(&id)
            || self.model.swept.contains(&id)
            || self.model.posted.contains_key(&id);
        if !durable {
            return self.broken("what was answered is durable", format!("{id} is not there"));
        }
        match &ask.request {
            Request::Collect { tenant, .. } => {
                let tenant = *tenant;
                if let Some(intent) = self.callers.intents.get_mut(&ask.intent) {
                    let known = *intent.id.get_or_insert(id);
                    if known != id {
                        let seen = format!("{known}, then {id}");
                        return self.broken("one idempotency key means one collection", seen);
                    }
                }
                self.callers.learned(tenant, id);
            }
            Request::Erase { id, .. } => {
                if self.model.rows.contains_key(id) && !self.model.to_erase.contains(id) {
                    self.broken(
                        "what was answered is durable",
                        format!("{id} is still there"),
                    );
                }
            }
            Request::Resume { .. } => {}
        }
    }

    fn not_found(&mut self, ask: &Ask) {
        let Some(id) = ask.request.id() else { return };
        let tenant = ask.request.tenant();
        let there = self
            .model
            .rows
            .get(&id)
            .is_some_and(|row| row.collection.tenant == tenant && row.collection.version > 1);
        let erasing = self.model.to_erase.contains(&id)
            || self.callers.waiting.values().any(
                |other| matches!(other.request, Request::Erase { id: other, .. } if other == id),
            );
        if there && !erasing {
            self.broken("what is there is found", format!("{id}"));
        }
    }

    fn key_taken(&mut self, ask: &Ask) {
        let Some(key) = ask.key else { return };
        match now(self.store.key(ask.request.tenant(), key.hash)) {
            Ok(Some(row)) => self.done(ask, row.id),
            // Retention has forgotten it meanwhile.
            Ok(None) => {}
            Err(error) => self.broken("the store answers", error.to_string()),
        }
    }

    /// Leaves the request in the inbox of the shard's owner.
    fn post(&mut self, ask: Ask) {
        if self.now < self.refused_until {
            return self.send_again(ask);
        }
        let mut request = ask.request.clone();
        if let Request::Collect { id, .. } = &mut request {
            let shards = self.store.shards();
            let shard = self.dice.pick(&shards).unwrap_or(Shard(0));
            let minted_at = self.node_now(ask.node);
            *id = Some(CollectionId::mint_in(minted_at, shard, self.dice.rng()));
        }
        let Some(id) = request.id() else { return };
        let at = self.node_now(ask.node);
        let row = ask.key.map(|key| key.row(request.tenant(), id, at));
        self.note(|| format!("left in the inbox of {:?}: {request:?}", id.shard()));
        match now(self.store.post(id.shard(), request.clone(), row)) {
            Ok(()) => {
                match request {
                    Request::Collect { .. } => {
                        self.model.posted.insert(id, self.now);
                    }
                    Request::Erase { tenant, .. } => {
                        let owner = |of: &crate::model::Row| of.collection.tenant == tenant;
                        let foreign = self.model.rows.get(&id).is_some_and(|row| !owner(row));
                        if !foreign {
                            self.model.to_erase.insert(id);
                        }
                        return;
                    }
                    Request::Resume { .. } => return,
                }
                self.done(&ask, id);
            }
            Err(CommitError::KeysTaken(_)) => self.key_taken(&ask),
            Err(error) => self.broken("the store answers", error.to_string()),
        }
    }

    /// The planted bug: callers hear of a batch that is not written yet.
    pub(crate) fn answer_early(&mut self, batch: &Batch) {
        for write in batch
            .writes
            .iter()
            .filter(|write| write.before == Before::New)
        {
            let intent = write
                .next
                .as_ref()
                .and_then(|next| intent_of(&next.callback_url));
            let early = self.callers.waiting.iter().find_map(|(caller, ask)| {
                (Some(ask.intent) == intent && matches!(ask.request, Request::Collect { .. }))
                    .then_some(*caller)
            });
            if let Some(caller) = early
                && let Some(ask) = self.callers.waiting.remove(&caller)
            {
                self.done(&ask, write.id);
            }
        }
    }
}
