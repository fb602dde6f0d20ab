//! Aggregates that are not in memory: why they are read, and what follows.

use std::collections::BTreeMap;
use std::time::Duration;

use wellspring_core::{Lane, Timestamp};

use super::collection::is_due;
use super::connection::due_since;
use super::{
    Action, Answer, Busy, Driver, Held, LoadFor, Phase, Place, Resident, Slot, Timer, Waiting,
};
use crate::{Aggregate, Loaded, LoadedCollection};

impl<T> Driver<T> {
    pub(super) fn load(&mut self, id: Aggregate, purpose: LoadFor) {
        self.counters.loads += 1;
        self.loading.insert(id, purpose);
        self.to_load.push(id);
    }

    pub(super) fn loaded(&mut self, now: Timestamp, asked: Vec<Aggregate>, rows: Vec<Loaded>) {
        let mut rows: BTreeMap<Aggregate, Loaded> =
            rows.into_iter().map(|row| (row.id(), row)).collect();
        for id in asked {
            let Some(purpose) = self.loading.remove(&id) else {
                continue;
            };
            let row = rows
                .remove(&id)
                .filter(|_| self.leases.contains_key(&id.shard()));
            match purpose {
                LoadFor::Start { place, probe } => self.start_loaded(now, place.lane, probe, row),
                LoadFor::GiveUp(place) => self.give_up_loaded(now, place.lane, id, row),
                LoadFor::Alarm => self.alarm_loaded(now, row),
                // The shard was given up meanwhile: whoever has it answers.
                LoadFor::Command if !self.leases.contains_key(&id.shard()) => {}
                LoadFor::Command => {
                    let waiting = self.waiting.remove(&id).unwrap_or_default();
                    self.commands_loaded(now, id, row, waiting);
                    continue;
                }
            }
            self.resume_waiting(now, id);
        }
    }

    fn start_loaded(&mut self, now: Timestamp, lane: Lane, probe: bool, row: Option<Loaded>) {
        match row {
            Some(Loaded::Collection(row)) if is_due(&row, now, lane) => {
                self.start_collection(now, lane, probe, *row);
                return;
            }
            Some(Loaded::Connection(connection)) => {
                if let Some(due) = due_since(&connection, now, lane) {
                    self.begin(now, connection, Slot { lane, probe, due });
                    return;
                }
                self.return_slot(lane, probe);
                self.reschedule(now, Loaded::Connection(connection));
            }
            row => {
                self.return_slot(lane, probe);
                // It has moved on, or the clock has gone back.
                if let Some(row) = row {
                    self.reschedule(now, row);
                }
            }
        }
        self.pump(now, lane);
        self.pump_starved(now);
    }

    fn start_collection(&mut self, now: Timestamp, lane: Lane, probe: bool, row: LoadedCollection) {
        let id = Aggregate::Collection(row.collection.id);
        let policy = self.sources.policy(&row.collection.source);
        let expired = row
            .collection
            .gives_up_at(&policy)
            .is_some_and(|at| at <= now);
        self.admit(row);
        if expired {
            self.return_slot(lane, probe);
            self.give_up(now, id);
            self.pump(now, lane);
            self.pump_starved(now);
        } else {
            self.start(now, lane, id, probe);
        }
    }

    fn give_up_loaded(&mut self, now: Timestamp, lane: Lane, id: Aggregate, row: Option<Loaded>) {
        match row {
            Some(Loaded::Collection(row)) if is_due(&row, now, lane) => {
                self.admit(*row);
                self.give_up(now, id);
            }
            Some(row) => self.reschedule(now, row),
            None => {}
        }
    }

    /// Puts what was read where its next wake-up belongs.
    pub(super) fn reschedule(&mut self, now: Timestamp, row: Loaded) {
        match row {
            Loaded::Collection(row) => self.schedule(now, row.collection, row.payload),
            Loaded::Account(account) => self.account_settled(&account),
            Loaded::Connection(connection) => {
                self.connection_settled(now, connection, None, None);
            }
            // Its times are known without it.
            Loaded::Source(_) => {}
        }
    }

    fn admit(&mut self, row: LoadedCollection) {
        let LoadedCollection {
            collection,
            payload,
            ..
        } = row;
        self.residents.insert(
            Aggregate::Collection(collection.id),
            Resident {
                held: Held::Collection {
                    collection,
                    payload,
                },
                phase: Phase::Queued,
            },
        );
    }

    pub(super) fn load_failed(&mut self, now: Timestamp, asked: Vec<Aggregate>) {
        for id in asked {
            match self.loading.remove(&id) {
                Some(LoadFor::Start { place, probe }) => {
                    self.return_slot(place.lane, probe);
                    self.requeue(now, id, place);
                    self.pump(now, place.lane);
                }
                Some(LoadFor::GiveUp(place)) => self.requeue(now, id, place),
                Some(LoadFor::Alarm) => self.look_again(now, id, Place::alarm(now)),
                Some(LoadFor::Command) | None => {}
            }
            for waiting in self.waiting.remove(&id).unwrap_or_default() {
                match waiting {
                    Waiting::Command(command) => {
                        self.answer(command.origin, Answer::Busy(Busy::Database));
                    }
                    Waiting::Ran(..) => {}
                    Waiting::Reported(_, _, caller) => {
                        self.actions.push(Action::Reply(caller, Answer::Ended));
                    }
                }
            }
        }
        self.pump_starved(now);
    }

    fn requeue(&mut self, now: Timestamp, id: Aggregate, place: Place) {
        self.pause(now, place.lane, now.after(LOAD_PAUSE));
        self.look_again(now, id, place);
    }

    /// Queues it once more in a while.
    pub(super) fn look_again(&mut self, now: Timestamp, id: Aggregate, place: Place) {
        self.wheel
            .push(Timer::new(now.after(LOAD_PAUSE), id, place));
    }
}

/// How long a lane waits after a read failed.
pub(super) const LOAD_PAUSE: Duration = Duration::from_millis(500);
