//! Calls to the outside: how they begin, and what their results become.

use std::sync::Arc;

use bytes::Bytes;
use wellspring_core::{
    CallResult, Collection, CollectionId, ErrorClass, Input, Kind, Lane, PayloadChange, State,
    Timestamp,
};

use super::{
    Action, Answer, Busy, DeliverOrder, Driver, EffectId, FetchOrder, LOAD_PAUSE, LoadFor, Phase,
    Resident, Step, Timer,
};
use crate::{Before, DeliverResult, FetchResult, Loaded, Write};

impl<T> Driver<T> {
    /// Puts a durable aggregate where its next wake-up belongs.
    pub(super) fn schedule(
        &mut self,
        now: Timestamp,
        collection: Collection,
        payload: Option<Bytes>,
    ) {
        let id = collection.id;
        let Some((due, lane)) = collection.next_wakeup() else {
            return;
        };
        let (State::Collecting { since, .. } | State::Delivering { since, .. }) = &collection.state
        else {
            return;
        };
        let since = *since;
        // The data of a resumed one is still in the store.
        let absent = payload.is_none()
            && matches!(
                collection.state,
                State::Delivering {
                    kind: Kind::Success,
                    ..
                }
            );
        if due > now || absent {
            self.wheel.push(Timer {
                due,
                id,
                since,
                lane,
            });
            return;
        }
        let draining = self
            .leases
            .get(&id.shard())
            .is_none_or(|owned| owned.draining);
        if draining {
            return;
        }
        let policy = self.sources.policy(&collection.source);
        if collection.gives_up_at(&policy).is_some_and(|at| at <= now) {
            let resident = Resident {
                collection,
                payload,
                phase: Phase::Queued,
            };
            self.residents.insert(id, resident);
            self.give_up(now, id);
            return;
        }
        if self.gate(lane).queue.is_empty() && self.has_slot(now, lane) {
            self.residents.insert(
                id,
                Resident {
                    collection,
                    payload,
                    phase: Phase::Flying,
                },
            );
            let probe = self.take_slot(lane);
            self.start(now, lane, id, probe);
            return;
        }
        self.gate(lane).queue.insert((since, id));
        if self.queued_residents < self.limits.residents {
            self.queued_residents += 1;
            self.residents.insert(
                id,
                Resident {
                    collection,
                    payload,
                    phase: Phase::Queued,
                },
            );
        }
        self.pump(now, lane);
    }

    /// Begins the call of an aggregate in memory, a slot being taken.
    pub(super) fn start(&mut self, now: Timestamp, lane: Lane, id: CollectionId, probe: bool) {
        let Some(resident) = self.residents.get_mut(&id) else {
            self.return_slot(lane, probe);
            return;
        };
        resident.phase = Phase::Flying;
        let collection = &resident.collection;
        self.calls += 1;
        let effect = EffectId {
            incarnation: self.incarnation,
            number: self.calls,
            id,
            version: collection.version,
            lane,
            probe,
            started: now,
        };
        match &collection.state {
            State::Collecting { .. } => {
                self.counters.fetches += 1;
                self.flights.insert(effect.number);
                let order = FetchOrder {
                    source: collection.source.clone(),
                    id,
                    tenant: collection.tenant,
                };
                self.actions.push(Action::Fetch(effect, order));
            }
            State::Delivering { kind, since, .. } => {
                self.counters.deliveries += 1;
                self.flights.insert(effect.number);
                let order = DeliverOrder {
                    id,
                    tenant: collection.tenant,
                    kind: kind.clone(),
                    message: collection.message,
                    at: *since,
                    source: collection.source.clone(),
                    callback_url: Arc::clone(&collection.callback_url),
                    created_at: collection.created_at,
                    payload: resident.payload.clone().unwrap_or_default(),
                };
                self.actions.push(Action::Deliver(effect, order));
            }
            State::Delivered { .. } | State::Failed { .. } => {
                self.residents.remove(&id);
                self.return_slot(lane, probe);
            }
        }
    }

    pub(super) fn fetched(&mut self, now: Timestamp, effect: EffectId, result: FetchResult) {
        if !self.landed(effect) {
            self.counters.stale_results += 1;
            return;
        }
        let started = effect.started;
        let (input, payload, call) = match result {
            FetchResult::Fetched(payload) => {
                (Input::Fetched { started }, Some(payload), CallResult::Up)
            }
            FetchResult::Failed { error, retry_at } => {
                self.counters.fetches_failed += 1;
                if error.class == ErrorClass::RateLimitExceeded
                    && let Some(until) = retry_at
                {
                    self.pause(now, effect.lane, until);
                }
                let call = match error.class {
                    ErrorClass::ConnectionFailure | ErrorClass::BankMaintenance => CallResult::Down,
                    ErrorClass::RateLimitExceeded
                    | ErrorClass::InstitutionError
                    | ErrorClass::ItemError
                    | ErrorClass::AuthenticationError
                    | ErrorClass::ProductNotAvailable
                    | ErrorClass::InvalidRequest
                    | ErrorClass::InternalError
                    | ErrorClass::UnknownError => CallResult::Up,
                };
                (
                    Input::FetchFailed {
                        started,
                        error,
                        retry_at,
                        probe: effect.probe,
                    },
                    None,
                    call,
                )
            }
        };
        self.ended(now, effect, input, payload, call);
    }

    pub(super) fn delivered(&mut self, now: Timestamp, effect: EffectId, result: DeliverResult) {
        if !self.landed(effect) {
            self.counters.stale_results += 1;
            return;
        }
        let started = effect.started;
        let (input, call) = match result {
            DeliverResult::Delivered => (Input::DeliverySucceeded { started }, CallResult::Up),
            DeliverResult::Failed {
                error,
                gone,
                retry_at,
                down,
            } => {
                self.counters.deliveries_failed += 1;
                let call = if down {
                    CallResult::Down
                } else {
                    CallResult::Up
                };
                (
                    Input::DeliveryFailed {
                        started,
                        error,
                        gone,
                        retry_at,
                        probe: effect.probe,
                    },
                    call,
                )
            }
        };
        self.ended(now, effect, input, None, call);
    }

    /// Notes that a call is over; returns whether this is its first result.
    fn landed(&mut self, effect: EffectId) -> bool {
        effect.incarnation == self.incarnation && self.flights.remove(&effect.number)
    }

    fn ended(
        &mut self,
        now: Timestamp,
        effect: EffectId,
        input: Input,
        payload: Option<Bytes>,
        call: CallResult,
    ) {
        self.end_call(now, effect.lane, effect.probe, call);
        let current = self.residents.get(&effect.id).is_some_and(|resident| {
            resident.phase == Phase::Flying && resident.collection.version == effect.version
        });
        if current {
            self.step(now, effect.id, input, payload);
        } else {
            self.counters.stale_results += 1;
        }
        self.pump_starved(now);
        self.pump(now, effect.lane);
    }

    /// Steps an aggregate in memory by the result of its call, or by time.
    pub(super) fn step(
        &mut self,
        now: Timestamp,
        id: CollectionId,
        input: Input,
        payload: Option<Bytes>,
    ) {
        let Some(resident) = self.residents.remove(&id) else {
            return;
        };
        let policy = self.sources.policy(&resident.collection.source);
        let before = Before::Live(resident.collection.version);
        let tenant = resident.collection.tenant;
        // Kept for the delivery, so that the happy path never reads it back.
        let kept = payload.clone().or(resident.payload);
        match resident
            .collection
            .handle(now, input, &policy, &mut self.rng)
        {
            Ok(step) => {
                let payload = match step.payload {
                    PayloadChange::Put => payload,
                    PayloadChange::Keep => None,
                };
                if let Some(next) = &step.next {
                    let resident = Resident {
                        collection: next.clone(),
                        payload: kept,
                        phase: Phase::Committing,
                    };
                    self.residents.insert(id, resident);
                }
                let write = Write {
                    id,
                    before,
                    next: step.next,
                    attempt: step.attempt,
                    payload,
                };
                self.pending.push_back(Step {
                    write: Some(write),
                    tenant,
                    at: now,
                    change: step.change,
                    key: None,
                    origin: None,
                });
            }
            Err(rejected) => tracing::error!(%rejected, "Result of a call fits no state"),
        }
    }

    pub(super) fn give_up(&mut self, now: Timestamp, id: CollectionId) {
        self.step(now, id, Input::GaveUp, None);
    }

    pub(super) fn load(&mut self, id: CollectionId, purpose: LoadFor) {
        self.counters.loads += 1;
        self.loading.insert(id, purpose);
        self.to_load.push(id);
    }

    pub(super) fn loaded(&mut self, now: Timestamp, asked: Vec<CollectionId>, rows: Vec<Loaded>) {
        let mut rows: std::collections::BTreeMap<CollectionId, Loaded> = rows
            .into_iter()
            .map(|row| (row.collection.id, row))
            .collect();
        for id in asked {
            let Some(purpose) = self.loading.remove(&id) else {
                continue;
            };
            let row = rows
                .remove(&id)
                .filter(|_| self.leases.contains_key(&id.shard()));
            let commands = self.waiting.remove(&id).unwrap_or_default();
            match purpose {
                LoadFor::Start { lane, probe, .. } => self.start_loaded(now, lane, id, probe, row),
                LoadFor::GiveUp { lane, .. } => match row {
                    Some(row) if is_due(&row, now, lane) => {
                        self.admit(row, Phase::Queued);
                        self.give_up(now, id);
                    }
                    Some(row) => self.schedule(now, row.collection, row.payload),
                    None => {}
                },
                // The shard was given up meanwhile: whoever has it answers.
                LoadFor::Command if !self.leases.contains_key(&id.shard()) => {}
                LoadFor::Command => {
                    self.commands_loaded(now, id, row, commands);
                    continue;
                }
            }
            for command in commands {
                self.command(now, command);
            }
        }
    }

    fn start_loaded(
        &mut self,
        now: Timestamp,
        lane: Lane,
        id: CollectionId,
        probe: bool,
        row: Option<Loaded>,
    ) {
        let row = match row {
            Some(row) if is_due(&row, now, lane) => row,
            row => {
                self.return_slot(lane, probe);
                // It has moved on, or the clock has gone back.
                if let Some(row) = row {
                    self.schedule(now, row.collection, row.payload);
                }
                self.pump(now, lane);
                self.pump_starved(now);
                return;
            }
        };
        let policy = self.sources.policy(&row.collection.source);
        let expired = row
            .collection
            .gives_up_at(&policy)
            .is_some_and(|at| at <= now);
        self.admit(row, Phase::Queued);
        if expired {
            self.return_slot(lane, probe);
            self.give_up(now, id);
            self.pump(now, lane);
            self.pump_starved(now);
        } else {
            self.start(now, lane, id, probe);
        }
    }

    fn admit(&mut self, row: Loaded, phase: Phase) {
        let Loaded {
            collection,
            payload,
            ..
        } = row;
        self.residents.insert(
            collection.id,
            Resident {
                collection,
                payload,
                phase,
            },
        );
    }

    pub(super) fn load_failed(&mut self, now: Timestamp, asked: Vec<CollectionId>) {
        for id in asked {
            match self.loading.remove(&id) {
                Some(LoadFor::Start { lane, since, probe }) => {
                    self.return_slot(lane, probe);
                    self.requeue(now, lane, since, id);
                    self.pump(now, lane);
                }
                Some(LoadFor::GiveUp { lane, since }) => self.requeue(now, lane, since, id),
                Some(LoadFor::Command) | None => {}
            }
            for command in self.waiting.remove(&id).unwrap_or_default() {
                self.answer(command.origin, Answer::Busy(Busy::Database));
            }
        }
        self.pump_starved(now);
    }

    fn requeue(&mut self, now: Timestamp, lane: Lane, since: Timestamp, id: CollectionId) {
        self.pause(now, lane, now.after(LOAD_PAUSE));
        self.look_again(now, lane, since, id);
    }

    /// Queues it once more in a while.
    pub(super) fn look_again(
        &mut self,
        now: Timestamp,
        lane: Lane,
        since: Timestamp,
        id: CollectionId,
    ) {
        let timer = Timer {
            due: now.after(LOAD_PAUSE),
            id,
            since,
            lane,
        };
        self.wheel.push(timer);
    }
}

/// Returns whether the lane's call is what the aggregate needs now.
fn is_due(row: &Loaded, now: Timestamp, lane: Lane) -> bool {
    row.collection
        .next_wakeup()
        .is_some_and(|(due, wanted)| due <= now && wanted == lane)
}
