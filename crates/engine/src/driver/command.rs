//! What people and programs ask for.

use std::sync::Arc;

use wellspring_core::{
    AccountId, Collection, CollectionId, CollectionStep, Input, Shard, TenantId, Timestamp, source,
};

use super::{
    Action, Answer, Busy, Command, Driver, Held, LoadFor, Origin, Phase, Request, Resident, Step,
    Waiting,
};
use crate::{Aggregate, Before, CollectionWrite, KeyRow, Loaded, Write};

impl<T> Driver<T> {
    pub(super) fn command(&mut self, now: Timestamp, command: Command<T>) {
        if let Some(busy) = self.refusal(&command) {
            self.counters.refused += 1;
            self.answer(command.origin, Answer::Busy(busy));
            return;
        }
        if let Some(key) = command.key
            && self.keys.contains(&(command.request.tenant(), key.hash))
        {
            self.answer(command.origin, Answer::KeyBusy);
            return;
        }
        if matches!(command.request, Request::Subscription { .. }) {
            self.subscription_wish(now, command);
            return;
        }
        match command.request.subject() {
            None => match self.pick_shard() {
                Some(shard) => self.create(now, shard, command),
                None => self.answer(command.origin, Answer::Elsewhere),
            },
            // Its end is not durable yet, and may still come to nothing.
            Some(id) if self.erasing.contains(&id) => self.wait(id, Waiting::Command(command)),
            Some(id)
                if self
                    .leases
                    .get(&id.shard())
                    .is_none_or(|owned| owned.draining || !owned.scanned) =>
            {
                self.answer(command.origin, Answer::Elsewhere);
            }
            Some(Aggregate::Collection(id)) if command.request.is_new() => {
                self.accept(now, id, command);
            }
            Some(Aggregate::Account(id))
                if matches!(command.request, Request::CreateAccount { .. }) =>
            {
                self.create_account(now, id, command);
            }
            Some(id) => self.command_one(now, id, command),
        }
    }

    fn create(&mut self, now: Timestamp, shard: Shard, command: Command<T>) {
        if matches!(command.request, Request::CreateAccount { .. }) {
            let id = AccountId::mint_in(now, shard, &mut self.rng);
            self.create_account(now, id, command);
        } else {
            let id = CollectionId::mint_in(now, shard, &mut self.rng);
            self.accept(now, id, command);
        }
    }

    pub(super) fn answer(&mut self, origin: Origin<T>, answer: Answer) {
        match origin {
            Origin::Caller(caller) => self.actions.push(Action::Reply(caller, answer)),
            // Whoever wrote it into the inbox has gone; it stays there until it is dealt with.
            Origin::Inbox(number) => {
                if !matches!(answer, Answer::Done(_)) {
                    self.untaken.push(number);
                }
            }
            Origin::Erasure(account) => self.child_gone(account),
            // It is seen again.
            Origin::Fact => {}
        }
    }

    /// What wrote itself into the inbox was promised; callers are told to come back.
    fn refusal(&self, command: &Command<T>) -> Option<Busy> {
        match command.origin {
            Origin::Inbox(_) | Origin::Erasure(_) | Origin::Fact => return None,
            Origin::Caller(_) => {}
        }
        if !self.ready {
            Some(Busy::NotReady)
        } else if self.is_store_down() {
            Some(Busy::Database)
        } else if self.pending.len() >= self.limits.commands {
            Some(Busy::Queue)
        } else if matches!(command.request, Request::Collect { .. })
            && self.backlog() >= self.limits.backlog
        {
            Some(Busy::Backlog)
        } else {
            None
        }
    }

    fn pick_shard(&mut self) -> Option<Shard> {
        self.next_shard = self.next_shard.wrapping_add(1);
        let count = self.open_shards.len();
        (count > 0).then(|| self.open_shards[self.next_shard % count])
    }

    fn accept(&mut self, now: Timestamp, id: CollectionId, command: Command<T>) {
        let Request::Collect {
            tenant,
            source,
            callback_url,
            actor,
            ..
        } = &command.request
        else {
            return;
        };
        let tenant = *tenant;
        let step = Collection::accept(
            now,
            id,
            tenant,
            source.clone(),
            Arc::clone(callback_url),
            *actor,
        );
        if let Some(owned) = self.leases.get_mut(&id.shard()) {
            owned.live += 1;
        }
        self.push(now, tenant, (id, Before::New), step, command);
    }

    fn command_one(&mut self, now: Timestamp, id: Aggregate, command: Command<T>) {
        match self.residents.get(&id).map(|resident| resident.phase) {
            Some(Phase::Committing) => self.wait(id, Waiting::Command(command)),
            Some(phase @ (Phase::Flying | Phase::Queued)) => {
                let Some(resident) = self.residents.remove(&id) else {
                    return;
                };
                self.queued_residents -= usize::from(phase == Phase::Queued);
                let before = Before::Live(resident.held.version());
                if let Some(held) = self.apply_to(now, resident.held, before, command) {
                    // Nothing changed: a call in flight goes on, what was queued still is.
                    self.queued_residents += usize::from(phase == Phase::Queued);
                    self.residents.insert(id, Resident { held, phase });
                }
            }
            None => {
                self.wait(id, Waiting::Command(command));
                if !self.loading.contains_key(&id) {
                    self.load(id, LoadFor::Command);
                }
            }
        }
    }

    pub(super) fn wait(&mut self, id: Aggregate, what: Waiting<T>) {
        self.waiting.entry(id).or_default().push(what);
    }

    pub(super) fn commands_loaded(
        &mut self,
        now: Timestamp,
        id: Aggregate,
        row: Option<Loaded>,
        waiting: Vec<Waiting<T>>,
    ) {
        let mut row = row.map(held_of).or_else(|| fresh_source(&waiting));
        for one in waiting {
            let command = match one {
                Waiting::Command(command) => command,
                Waiting::Ran(effect, result) => {
                    self.ran(now, effect, result);
                    continue;
                }
                Waiting::Reported(effect, report, caller) => {
                    self.reported(now, effect, report, caller);
                    continue;
                }
            };
            match row.take() {
                Some((held, before)) => {
                    row = self
                        .apply_to(now, held, before, command)
                        .map(|held| (held, before));
                }
                None if self.residents.contains_key(&id) => self.command_one(now, id, command),
                None if self.erasing.contains(&id) => self.wait(id, Waiting::Command(command)),
                None => self.settle(now, command, Answer::NotFound),
            }
        }
    }

    /// Steps what is in memory by the command; gives it back where nothing changed.
    fn apply_to(
        &mut self,
        now: Timestamp,
        held: Held,
        before: Before,
        command: Command<T>,
    ) -> Option<Held> {
        match held {
            Held::Collection {
                collection,
                payload,
            } => self
                .apply(now, collection, before, command)
                .map(|collection| Held::Collection {
                    collection,
                    payload,
                }),
            Held::Account(account) => self
                .apply_to_account(now, account, command)
                .map(Held::Account),
            Held::Connection {
                connection,
                flight,
                slot,
            } => self
                .apply_to_connection(now, connection, flight, command)
                .map(|connection| Held::Connection {
                    connection,
                    flight,
                    slot,
                }),
            Held::Source(source) => self
                .apply_to_source(now, source, before, command)
                .map(Held::Source),
        }
    }

    /// Steps a collection by the command; gives it back where nothing changed.
    fn apply(
        &mut self,
        now: Timestamp,
        collection: Collection,
        before: Before,
        command: Command<T>,
    ) -> Option<Collection> {
        let id = collection.id;
        let tenant = collection.tenant;
        let input = match &command.request {
            Request::Resume { actor, .. } => Input::ResumeRequested(*actor),
            Request::Erase { actor, .. } => Input::EraseRequested(*actor),
            Request::Collect { .. }
            | Request::CreateAccount { .. }
            | Request::PatchAccount { .. }
            | Request::EraseAccount { .. }
            | Request::Connect { .. }
            | Request::Connection { .. }
            | Request::Source { .. }
            | Request::Subscription { .. } => return Some(collection),
        };
        if tenant != command.request.tenant() {
            self.settle(now, command, Answer::NotFound);
            return Some(collection);
        }
        let policy = self.sources.policy(&collection.source);
        match collection
            .clone()
            .handle(now, input, &policy, &mut self.rng)
        {
            Ok(step) => {
                if let (Before::Finished(_), Some(_), Some(owned)) =
                    (before, &step.next, self.leases.get_mut(&id.shard()))
                {
                    owned.live += 1;
                }
                self.push(now, tenant, (id, before), step, command);
                None
            }
            Err(rejected) => {
                self.settle(now, command, Answer::Rejected(rejected));
                Some(collection)
            }
        }
    }

    /// Answers a command that changes nothing; one from the inbox still has to leave it durably.
    pub(super) fn settle(&mut self, now: Timestamp, command: Command<T>, answer: Answer) {
        match command.origin {
            Origin::Caller(_) | Origin::Erasure(_) | Origin::Fact => {
                self.answer(command.origin, answer);
            }
            Origin::Inbox(_) => self.pending.push_back(Step {
                write: None,
                tenant: command.request.tenant(),
                at: now,
                changes: Vec::new(),
                told: Vec::new(),
                unclassified: None,
                key: None,
                origin: Some(command.origin),
                wanted: None,
            }),
        }
    }

    fn push(
        &mut self,
        now: Timestamp,
        tenant: TenantId,
        (id, before): (CollectionId, Before),
        step: CollectionStep,
        command: Command<T>,
    ) {
        let aggregate = Aggregate::Collection(id);
        match &step.next {
            Some(next) => {
                let resident = Resident {
                    held: Held::Collection {
                        collection: next.clone(),
                        payload: None,
                    },
                    phase: Phase::Committing,
                };
                self.residents.insert(aggregate, resident);
            }
            None => {
                self.erasing.insert(aggregate);
            }
        }
        let next = step.next.as_ref();
        let wanted = next.and_then(|next| self.wanted_at_once(now, next));
        let (key, origin) = self.key_and_origin(now, tenant, aggregate, Some(command));
        let write = CollectionWrite {
            id,
            before,
            next: step.next,
            attempt: step.attempt,
            payload: None,
        };
        self.pending.push_back(Step {
            write: Some(Write::Collection(Box::new(write))),
            tenant,
            at: now,
            changes: step.change.into_iter().collect(),
            told: Vec::new(),
            unclassified: None,
            key,
            origin,
            wanted,
        });
    }

    /// Takes a command apart, remembering the idempotency key that it came with.
    pub(super) fn key_and_origin(
        &mut self,
        now: Timestamp,
        tenant: TenantId,
        id: Aggregate,
        command: Option<Command<T>>,
    ) -> (Option<KeyRow>, Option<Origin<T>>) {
        let Some(command) = command else {
            return (None, None);
        };
        let key = command.key.map(|key| key.row(tenant, id, now));
        if let Some(key) = &key {
            self.keys.insert((tenant, key.key));
        }
        (key, Some(command.origin))
    }
}

fn held_of(row: Loaded) -> (Held, Before) {
    match row {
        Loaded::Collection(row) => {
            let version = row.collection.version;
            let before = if row.live {
                Before::Live(version)
            } else {
                Before::Finished(version)
            };
            let held = Held::Collection {
                collection: row.collection,
                payload: row.payload,
            };
            (held, before)
        }
        Loaded::Account(account) => {
            let before = Before::Live(account.version);
            (Held::Account(account), before)
        }
        Loaded::Connection(connection) => {
            let before = Before::Live(connection.version);
            let held = Held::Connection {
                connection,
                flight: None,
                slot: None,
            };
            (held, before)
        }
        Loaded::Source(source) => {
            let before = Before::Live(source.version);
            (Held::Source(source), before)
        }
    }
}

/// Returns the source that commands wait for, of which nothing was kept so far.
fn fresh_source<T>(waiting: &[Waiting<T>]) -> Option<(Held, Before)> {
    let name = waiting.iter().find_map(|one| match one {
        Waiting::Command(command) => match &command.request {
            Request::Source { name, .. } => Some(name.clone()),
            Request::Collect { .. }
            | Request::Resume { .. }
            | Request::Erase { .. }
            | Request::CreateAccount { .. }
            | Request::PatchAccount { .. }
            | Request::EraseAccount { .. }
            | Request::Connect { .. }
            | Request::Connection { .. }
            | Request::Subscription { .. } => None,
        },
        Waiting::Ran(..) | Waiting::Reported(..) => None,
    })?;
    let source = source::Source::fresh(name);
    Some((Held::Source(Box::new(source)), Before::New))
}
