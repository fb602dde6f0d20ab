//! Collections: how their calls begin, and what the results become.

use std::sync::Arc;

use bytes::Bytes;
use wellspring_core::{
    CallResult, Collection, Error, ErrorClass, Input, Kind, Lane, PayloadChange, State, Timestamp,
    Unclassified,
};

use super::{
    Action, DeliverOrder, Driver, EffectId, Entry, FetchOrder, Held, Phase, Place, Resident, Step,
    Timer,
};
use crate::session::{BUDGET_SPENT, PANICKED};
use crate::{
    Aggregate, Before, CollectionWrite, DeliverResult, FetchResult, LoadedCollection, Write,
};

impl<T> Driver<T> {
    /// Puts a durable collection where its next wake-up belongs.
    pub(super) fn schedule(
        &mut self,
        now: Timestamp,
        collection: Collection,
        payload: Option<Bytes>,
    ) {
        let id = Aggregate::Collection(collection.id);
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
        let line = self.line(collection.tenant, false);
        if due > now || absent {
            let place = Place { lane, line, since };
            self.wheel.push(Timer::new(due, id, place));
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
                held: Held::Collection {
                    collection,
                    payload,
                },
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
                    held: Held::Collection {
                        collection,
                        payload,
                    },
                    phase: Phase::Flying,
                },
            );
            let probe = self.take_slot(lane);
            self.start(now, lane, id, probe);
            return;
        }
        self.gate(lane).queue.insert(Entry { line, since, id });
        if self.queued_residents < self.limits.residents {
            self.queued_residents += 1;
            self.residents.insert(
                id,
                Resident {
                    held: Held::Collection {
                        collection,
                        payload,
                    },
                    phase: Phase::Queued,
                },
            );
        }
        self.pump(now, lane);
    }

    /// Begins the call of a collection in memory, a slot being taken.
    pub(super) fn start(&mut self, now: Timestamp, lane: Lane, id: Aggregate, probe: bool) {
        let Some(resident) = self.residents.get_mut(&id) else {
            self.return_slot(lane, probe);
            return;
        };
        resident.phase = Phase::Flying;
        let collection = resident.held.collection();
        let fetches = collection
            .filter(|collection| matches!(collection.state, State::Collecting { .. }))
            .map(|collection| collection.tenant);
        if let Some(tenant) = fetches
            && let Some(wanted) = self.wanted_by_collection(lane, id, probe, tenant)
        {
            if let Some(until) = self.spent_until(now, &wanted) {
                self.put_off(now, &wanted, until);
                return;
            }
            if let Some(resident) = self.residents.get_mut(&id) {
                resident.phase = Phase::Committing;
            }
            self.want(now, tenant, wanted);
        } else {
            self.unreserve(lane);
            self.call(now, lane, id, probe);
        }
    }

    /// Makes the call of a collection in memory.
    pub(super) fn call(&mut self, now: Timestamp, lane: Lane, id: Aggregate, probe: bool) {
        let Some(Held::Collection {
            collection,
            payload,
        }) = self.residents.get(&id).map(|resident| &resident.held)
        else {
            self.return_slot(lane, probe);
            return;
        };
        self.calls += 1;
        let effect = EffectId {
            incarnation: self.incarnation,
            number: self.calls,
            id,
            version: collection.version,
            lane,
            probe,
            started: now,
            due: collection.next_wakeup().map_or(now, |(due, _)| due),
        };
        match &collection.state {
            State::Collecting { .. } => {
                self.counters.fetches += 1;
                self.flights.insert(effect.number);
                let order = FetchOrder {
                    source: collection.source.clone(),
                    id: collection.id,
                    tenant: collection.tenant,
                };
                let tenant = collection.tenant;
                self.used(now, lane, tenant);
                self.actions.push(Action::Fetch(effect, order));
            }
            State::Delivering { kind, since, .. } => {
                self.counters.deliveries += 1;
                self.flights.insert(effect.number);
                let order = DeliverOrder {
                    id: collection.id,
                    tenant: collection.tenant,
                    kind: kind.clone(),
                    message: collection.message,
                    at: *since,
                    source: collection.source.clone(),
                    callback_url: Arc::clone(&collection.callback_url),
                    created_at: collection.created_at,
                    payload: payload.clone().unwrap_or_default(),
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
        let (input, brought, call) = match result {
            FetchResult::Fetched(payload) => {
                self.collected(now, effect, None);
                let brought = Brought {
                    payload: Some(payload),
                    unclassified: None,
                };
                (Input::Fetched { started }, brought, Some(CallResult::Up))
            }
            FetchResult::Failed {
                error,
                retry_at,
                unclassified,
            } => {
                self.counters.fetches_failed += 1;
                if error.class == ErrorClass::RateLimitExceeded
                    && let Some(until) = retry_at
                {
                    self.block(now, effect.lane, until);
                }
                self.met(now, effect.lane, &error, retry_at);
                self.collected(now, effect, Some(&error));
                let call = verdict(&error);
                (
                    Input::FetchFailed {
                        started,
                        error,
                        retry_at,
                        probe: effect.probe,
                    },
                    Brought {
                        payload: None,
                        unclassified,
                    },
                    call,
                )
            }
        };
        self.ended(now, effect, input, brought, call);
    }

    /// Says of a source how a collection's call to it ended.
    fn collected(&mut self, now: Timestamp, effect: EffectId, failed: Option<&Error>) {
        let resident = self.residents.get(&effect.id);
        let collection = resident.and_then(|resident| resident.held.collection());
        if let Some(tenant) = collection.map(|collection| collection.tenant) {
            self.watch_collection(now, effect.lane, tenant, failed);
        }
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
        self.ended(now, effect, input, Brought::default(), Some(call));
    }

    /// Notes that a call is over; returns whether this is its first result.
    pub(super) fn landed(&mut self, effect: EffectId) -> bool {
        effect.incarnation == self.incarnation && self.flights.remove(&effect.number)
    }

    fn ended(
        &mut self,
        now: Timestamp,
        effect: EffectId,
        input: Input,
        brought: Brought,
        call: Option<CallResult>,
    ) {
        self.end_call(now, effect.lane, effect.probe, call);
        let current = self.residents.get(&effect.id).is_some_and(|resident| {
            resident.phase == Phase::Flying && resident.held.version() == effect.version
        });
        if current {
            self.step(now, effect.id, input, brought);
        } else {
            self.counters.stale_results += 1;
        }
        self.pump_starved(now);
        self.pump(now, effect.lane);
    }

    /// Steps a collection in memory by the result of its call, or by time.
    pub(super) fn step(&mut self, now: Timestamp, id: Aggregate, input: Input, brought: Brought) {
        let Brought {
            payload,
            unclassified,
        } = brought;
        let Some(Resident {
            held:
                Held::Collection {
                    collection,
                    payload: had,
                },
            ..
        }) = self.residents.remove(&id)
        else {
            return;
        };
        let policy = self.sources.policy(&collection.source);
        let before = Before::Live(collection.version);
        let (tenant, collection_id) = (collection.tenant, collection.id);
        // Kept for the delivery, so that the happy path never reads it back.
        let kept = payload.clone().or(had);
        match collection.handle(now, input, &policy, &mut self.rng) {
            Ok(step) => {
                let payload = match step.payload {
                    PayloadChange::Put => payload,
                    PayloadChange::Keep => None,
                };
                if let Some(next) = &step.next {
                    let resident = Resident {
                        held: Held::Collection {
                            collection: next.clone(),
                            payload: kept,
                        },
                        phase: Phase::Committing,
                    };
                    self.residents.insert(id, resident);
                }
                let write = CollectionWrite {
                    id: collection_id,
                    before,
                    next: step.next,
                    attempt: step.attempt,
                    payload,
                };
                self.pending.push_back(Step {
                    write: Some(Write::Collection(Box::new(write))),
                    tenant,
                    at: now,
                    changes: step.change.into_iter().collect(),
                    told: Vec::new(),
                    unclassified,
                    key: None,
                    origin: None,
                    wanted: None,
                });
            }
            Err(rejected) => tracing::error!(%rejected, "Result of a call fits no state"),
        }
    }

    pub(super) fn give_up(&mut self, now: Timestamp, id: Aggregate) {
        self.step(now, id, Input::GaveUp, Brought::default());
    }
}

/// What comes with the result of a call.
#[derive(Debug, Default)]
pub(super) struct Brought {
    payload: Option<Bytes>,
    unclassified: Option<Box<Unclassified>>,
}

/// Returns whether the lane's call is what the collection needs now.
pub(super) fn is_due(row: &LoadedCollection, now: Timestamp, lane: Lane) -> bool {
    row.collection
        .next_wakeup()
        .is_some_and(|(due, wanted)| due <= now && wanted == lane)
}

/// Returns what a failure says of the source as such.
pub(super) fn verdict(error: &Error) -> Option<CallResult> {
    if error.code == PANICKED || error.code == BUDGET_SPENT {
        return None;
    }
    Some(match error.class {
        ErrorClass::ConnectionFailure | ErrorClass::BankMaintenance => CallResult::Down,
        ErrorClass::RateLimitExceeded
        | ErrorClass::InstitutionError
        | ErrorClass::ItemError
        | ErrorClass::AuthenticationError
        | ErrorClass::ProductNotAvailable
        | ErrorClass::InvalidRequest
        | ErrorClass::InternalError
        | ErrorClass::UnknownError => CallResult::Up,
    })
}
