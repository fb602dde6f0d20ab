//! What people and programs ask for.

use std::sync::Arc;

use wellspring_core::{
    Collection, CollectionId, CollectionStep, Input, Shard, TenantId, Timestamp,
};

use super::{
    Action, Answer, Busy, Command, Driver, LoadFor, Origin, Phase, Request, Resident, Step,
};
use crate::{Before, Loaded, Write};

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
        match command.request.id() {
            None => match self.pick_shard() {
                Some(shard) => {
                    let id = CollectionId::mint_in(now, shard, &mut self.rng);
                    self.accept(now, id, command);
                }
                None => self.answer(command.origin, Answer::Elsewhere),
            },
            Some(id) if self.erasing.contains(&id) => self.settle(now, command, Answer::NotFound),
            Some(id)
                if self
                    .leases
                    .get(&id.shard())
                    .is_none_or(|owned| owned.draining || !owned.scanned) =>
            {
                self.answer(command.origin, Answer::Elsewhere);
            }
            Some(id) if matches!(command.request, Request::Collect { .. }) => {
                self.accept(now, id, command)
            }
            Some(id) => self.command_one(now, id, command),
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
        }
    }

    /// What wrote itself into the inbox was promised; callers are told to come back.
    fn refusal(&self, command: &Command<T>) -> Option<Busy> {
        if matches!(command.origin, Origin::Inbox(_)) {
            return None;
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

    fn command_one(&mut self, now: Timestamp, id: CollectionId, command: Command<T>) {
        match self.residents.get(&id).map(|resident| resident.phase) {
            Some(Phase::Committing) => self.waiting.entry(id).or_default().push(command),
            Some(phase @ (Phase::Flying | Phase::Queued)) => {
                let Some(resident) = self.residents.remove(&id) else {
                    return;
                };
                if phase == Phase::Queued {
                    self.queued_residents = self.queued_residents.saturating_sub(1);
                }
                let before = Before::Live(resident.collection.version);
                if let Some(kept) = self.apply(now, resident.collection.clone(), before, command) {
                    // Nothing changed: a call in flight goes on, what was queued still is.
                    self.queued_residents += usize::from(phase == Phase::Queued);
                    self.residents.insert(
                        id,
                        Resident {
                            collection: kept,
                            ..resident
                        },
                    );
                }
            }
            None => {
                self.waiting.entry(id).or_default().push(command);
                if !self.loading.contains_key(&id) {
                    self.load(id, LoadFor::Command);
                }
            }
        }
    }

    pub(super) fn commands_loaded(
        &mut self,
        now: Timestamp,
        id: CollectionId,
        row: Option<Loaded>,
        commands: Vec<Command<T>>,
    ) {
        let mut row = row;
        for command in commands {
            match row.take() {
                Some(loaded) => {
                    let version = loaded.collection.version;
                    let before = if loaded.live {
                        Before::Live(version)
                    } else {
                        Before::Finished(version)
                    };
                    let kept = self.apply(now, loaded.collection.clone(), before, command);
                    row = kept.map(|collection| Loaded {
                        collection,
                        ..loaded
                    });
                }
                None if self.residents.contains_key(&id) => self.command_one(now, id, command),
                None => self.settle(now, command, Answer::NotFound),
            }
        }
    }

    /// Steps the aggregate by the command; gives it back where nothing changed.
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
            Request::Collect { .. } => return Some(collection),
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
    fn settle(&mut self, now: Timestamp, command: Command<T>, answer: Answer) {
        match command.origin {
            Origin::Caller(_) => self.answer(command.origin, answer),
            Origin::Inbox(_) => self.pending.push_back(Step {
                write: None,
                tenant: command.request.tenant(),
                at: now,
                change: None,
                key: None,
                origin: Some(command.origin),
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
        match &step.next {
            Some(next) => {
                let resident = Resident {
                    collection: next.clone(),
                    payload: None,
                    phase: Phase::Committing,
                };
                self.residents.insert(id, resident);
            }
            None => {
                self.erasing.insert(id);
            }
        }
        let key = command.key.map(|key| key.row(tenant, id, now));
        if let Some(key) = &key {
            self.keys.insert((tenant, key.key));
        }
        let write = Write {
            id,
            before,
            next: step.next,
            attempt: step.attempt,
            payload: None,
        };
        self.pending.push_back(Step {
            write: Some(write),
            tenant,
            at: now,
            change: step.change,
            key,
            origin: Some(command.origin),
        });
    }
}
