//! Between callers and drivers: what the server does with a request and its answer.

use wellspring_core::{AccountId, CollectionId, ConnectionId, IncarnationId, Shard, SourceId};
use wellspring_engine::{
    Aggregate, Answer, Batch, Before, Command, CommitError, Event, Origin, Queries, Request, Store,
    Wish, Write,
};

use crate::Fault;
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
        if let Some(task) = self.reports.remove(&caller) {
            return self.report_answered(task, answer);
        }
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
            Answer::Rejected(_) | Answer::Refused(_) => {}
            Answer::Dispatched | Answer::Tried(_) | Answer::Ended | Answer::Leave(_) => {
                self.broken("only reports are told of an end", format!("{ask:?}"))
            }
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

    fn done(&mut self, ask: &Ask, id: Aggregate) {
        let known = match id {
            Aggregate::Collection(id) => {
                self.model.rows.contains_key(&id)
                    || self.model.erased.contains(&id)
                    || self.model.swept.contains(&id)
            }
            Aggregate::Account(id) => {
                let links = &self.model.links;
                links.accounts.contains_key(&id) || links.erased.contains_key(&id)
            }
            Aggregate::Connection(id) => {
                let links = &self.model.links;
                links.by_id.contains_key(&id)
                    || links.gone.contains(&id)
                    || self.promised.contains(&id)
            }
            // What is set as it was before is not written.
            Aggregate::Source(_) => true,
        };
        if !known && !self.model.posted.contains_key(&id) {
            return self.broken("what was answered is durable", format!("{id} is not there"));
        }
        if let Some(intent) = self.callers.intents.get_mut(&ask.intent) {
            let first = *intent.id.get_or_insert(id);
            if first != id {
                let seen = format!("{first}, then {id}");
                return self.broken("one idempotency key means one collection", seen);
            }
        }
        match (&ask.request, id) {
            (Request::Collect { tenant, .. }, Aggregate::Collection(id)) => {
                self.callers.learned(*tenant, id);
            }
            (Request::Erase { .. }, Aggregate::Collection(of)) => {
                if self.model.rows.contains_key(&of) && !self.model.to_erase.contains(&id) {
                    self.broken(
                        "what was answered is durable",
                        format!("{id} is still there"),
                    );
                }
            }
            (Request::EraseAccount { .. }, Aggregate::Account(of)) => {
                let kept = self.model.links.accounts.get(&of);
                if kept.is_some_and(|kept| kept.erasing.is_none())
                    && !self.model.to_erase.contains(&id)
                {
                    self.broken(
                        "what was answered is durable",
                        format!("{id} is not being erased"),
                    );
                }
                self.model.to_erase.insert(id);
            }
            (
                Request::Connection {
                    tenant,
                    wish: Wish::Delete,
                    ..
                },
                Aggregate::Connection(of),
            ) => {
                // Under a key another tenant hears twice that it was taken in, and nothing comes of it.
                if self.model.links.by_id.contains_key(&of)
                    && self.is_theirs(id, *tenant)
                    && !self.model.to_erase.contains(&id)
                {
                    self.broken(
                        "what was answered is durable",
                        format!("{id} is still there"),
                    );
                }
            }
            (_, _) => {}
        }
    }

    fn not_found(&mut self, ask: &Ask) {
        let Some(id) = ask.request.subject() else {
            return;
        };
        let tenant = ask.request.tenant();
        let there =
            match id {
                Aggregate::Collection(id) => self.model.rows.get(&id).is_some_and(|row| {
                    row.collection.tenant == tenant && row.collection.version > 1
                }),
                Aggregate::Account(id) => {
                    let known = self.model.links.accounts.get(&id);
                    known.is_some_and(|known| known.tenant == tenant)
                }
                Aggregate::Connection(id) => {
                    let known = self.model.links.by_id.get(&id);
                    known.is_some_and(|known| known.connection.tenant == tenant)
                }
                Aggregate::Source(_) => false,
            };
        if there && !self.is_going(id) {
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
        let shards = self.store.shards();
        let shard = self.dice.pick(&shards).unwrap_or(Shard(0));
        let at = self.node_now(ask.node);
        let id = match &mut request {
            Request::Collect { id, .. } => {
                let made = CollectionId::mint_in(at, shard, self.dice.rng());
                Aggregate::Collection(*id.insert(made))
            }
            Request::CreateAccount { id, .. } => {
                let made = AccountId::mint_in(at, shard, self.dice.rng());
                Aggregate::Account(*id.insert(made))
            }
            Request::Connect { id, account, .. } => {
                let made = ConnectionId::mint_in(at, account.shard(), self.dice.rng());
                Aggregate::Connection(*id.insert(made))
            }
            Request::Resume { id, .. } | Request::Erase { id, .. } => Aggregate::Collection(*id),
            Request::PatchAccount { id, .. } | Request::EraseAccount { id, .. } => {
                Aggregate::Account(*id)
            }
            Request::Connection { id, .. } => Aggregate::Connection(*id),
            Request::Source { name, .. } => Aggregate::Source(SourceId::of(name)),
            Request::Subscription { .. } => return,
        };
        let row = ask.key.map(|key| key.row(request.tenant(), id, at));
        self.note(|| format!("left in the inbox of {:?}: {request:?}", id.shard()));
        match now(self.store.post(id.shard(), request.clone(), row)) {
            Ok(()) => self.posted(&ask, id, &request),
            Err(CommitError::KeysTaken(_)) => self.key_taken(&ask),
            Err(error) => self.broken("the store answers", error.to_string()),
        }
    }

    /// A request was promised by way of an inbox.
    fn posted(&mut self, ask: &Ask, id: Aggregate, request: &Request) {
        match request {
            Request::Collect { .. } | Request::CreateAccount { .. } => {
                self.model.posted.insert(id, self.now);
            }
            Request::Connect { .. } => {
                // Its account may be gone when it is looked at.
                if let Aggregate::Connection(id) = id {
                    self.promised.insert(id);
                }
            }
            Request::Erase { tenant, .. } | Request::EraseAccount { tenant, .. } => {
                if self.is_theirs(id, *tenant) {
                    self.model.to_erase.insert(id);
                }
                return;
            }
            Request::Connection { tenant, wish, .. } => {
                if matches!(wish, Wish::Answer { .. }) {
                    self.report.strike(Fault::AnswerPosted);
                }
                if matches!(wish, Wish::Delete) && self.is_theirs(id, *tenant) {
                    self.model.to_erase.insert(id);
                }
                return;
            }
            Request::Resume { .. }
            | Request::PatchAccount { .. }
            | Request::Source { .. }
            | Request::Subscription { .. } => return,
        }
        self.done(ask, id);
    }

    fn is_theirs(&self, id: Aggregate, tenant: wellspring_core::TenantId) -> bool {
        let links = &self.model.links;
        let owner = match id {
            Aggregate::Collection(id) => self.model.rows.get(&id).map(|row| row.collection.tenant),
            Aggregate::Account(id) => links.accounts.get(&id).map(|one| one.tenant),
            Aggregate::Connection(id) => links.by_id.get(&id).map(|one| one.connection.tenant),
            Aggregate::Source(_) => None,
        };
        owner.is_none_or(|owner| owner == tenant)
    }

    /// The planted bug: callers hear of a batch that is not written yet.
    pub(crate) fn answer_early(&mut self, batch: &Batch) {
        let collections = batch.writes.iter().filter_map(|write| match write {
            Write::Collection(write) if write.before == Before::New => Some(write),
            Write::Collection(_) | Write::Account(_) | Write::Connection(_) | Write::Source(_) => {
                None
            }
        });
        for write in collections {
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
                self.done(&ask, write.id.into());
            }
        }
    }
}
