//! Sending: who may, and what follows from what comes of it.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use wellspring_core::{Shard, SubscriptionId, Timestamp};

use super::outlet::{State, gap_after};
use super::read::Want;
use super::track::{Item, Phase, Place, Row, Work};
use super::{Alarm, Dispatcher};
use crate::dispatch::{DeliveryStatus, Message, SendFailure, SendId, SendOrder, SendResult};
use crate::{Action, DisabledReason};

/// A message in flight.
#[derive(Debug)]
pub(super) enum Flight<T> {
    /// A delivery.
    Delivery {
        /// Which.
        place: Place,
        /// When it was sent.
        at: Timestamp,
        /// Whether it shows how an endpoint fares that fails.
        is_probe: bool,
    },
    /// A test, for somebody who waits to hear what comes of it.
    Test(SubscriptionId, T),
}

impl<T> Flight<T> {
    pub(super) const fn shard(&self) -> Option<Shard> {
        match self {
            Self::Delivery { place, .. } => Some(place.shard),
            Self::Test(..) => None,
        }
    }
}

impl<T> Dispatcher<T> {
    /// Puts a message into its line.
    pub(super) fn take_in(&mut self, now: Timestamp, id: SubscriptionId, message: &Arc<Message>) {
        let (shard, seq) = (message.shard, message.seq);
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let Some(track) = outlet.tracks.get_mut(&shard) else {
            return;
        };
        // What is a row already is delivered as one.
        if track.items.contains_key(&seq) {
            return;
        }
        let mut item = Item::fresh(Arc::clone(message));
        if track.is_held_up(&message.line) {
            item.message = None;
            item.row = Some(Row::of(message));
            let is_first = track.add(seq, item);
            outlet.rows += 1;
            self.keep_row(now, id, shard, seq, DeliveryStatus::Waiting);
            if is_first {
                self.activate(now, id, shard, seq);
            }
            return;
        }
        let is_first = track.add(seq, item);
        if !track.own
            && let Some(part) = self.parts.get_mut(&shard)
        {
            part.undone.entry(seq).or_default().push(id);
        }
        if is_first {
            self.activate(now, id, shard, seq);
        }
    }

    /// Begins with a message that is the first of its line, or notes when that is due.
    pub(super) fn activate(&mut self, now: Timestamp, id: SubscriptionId, shard: Shard, seq: u64) {
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let Some(track) = outlet.tracks.get_mut(&shard) else {
            return;
        };
        let Some(item) = track.items.get_mut(&seq) else {
            return;
        };
        if item.work != Work::Idle {
            return;
        }
        let due = item.row.as_ref().and_then(|row| row.due);
        if let Some(due) = due.filter(|due| *due > now) {
            self.timers.insert((due, Alarm::Row(id, shard, seq)));
        } else if item.message.is_some() {
            item.work = Work::Ready;
            outlet.ready.push_back((shard, seq));
        } else {
            item.work = Work::Reading;
            self.want(Want::Row(id, shard, seq));
        }
    }

    /// The wait of an open delivery is over, unless it has become another meanwhile.
    pub(super) fn row_due(&mut self, now: Timestamp, id: SubscriptionId, shard: Shard, seq: u64) {
        let outlet = self.outlets.get(&id);
        let track = outlet.and_then(|outlet| outlet.tracks.get(&shard));
        if track.is_some_and(|track| track.is_first(seq)) {
            self.activate(now, id, shard, seq);
            self.pump(now, id);
        }
    }

    /// Sends what a subscription has slots for.
    pub(super) fn pump(&mut self, now: Timestamp, id: SubscriptionId) {
        loop {
            let is_full = self.is_full();
            let full_slots = self.slots();
            let Some(outlet) = self.outlets.get_mut(&id) else {
                return;
            };
            let slots = outlet.slots(full_slots);
            if !outlet.is_running() || outlet.in_flight >= slots || outlet.ready.is_empty() {
                return;
            }
            if is_full {
                self.starved.insert(id);
                return;
            }
            let Some((shard, seq)) = outlet.ready.pop_front() else {
                return;
            };
            let draining = self.parts.get(&shard).is_none_or(|part| part.draining);
            let track = outlet.tracks.get_mut(&shard);
            let Some(item) = track.and_then(|track| track.items.get_mut(&seq)) else {
                continue;
            };
            if item.work != Work::Ready || draining {
                continue;
            }
            let Some(message) = item.message.clone() else {
                continue;
            };
            self.numbers += 1;
            item.work = Work::Flying(self.numbers);
            outlet.in_flight += 1;
            let place = Place {
                subscription: id,
                shard,
                seq,
            };
            let subscription = Arc::clone(&outlet.subscription);
            self.send(
                self.numbers,
                subscription,
                message,
                Flight::Delivery {
                    place,
                    at: now,
                    is_probe: false,
                },
            );
        }
    }

    pub(super) fn send(
        &mut self,
        number: u64,
        subscription: Arc<crate::Subscription>,
        message: Arc<Message>,
        flight: Flight<T>,
    ) {
        self.counted.sent += 1;
        self.flights.insert(number, flight);
        let id = SendId {
            incarnation: self.incarnation,
            number,
        };
        let order = SendOrder {
            subscription,
            message,
        };
        self.actions.push(Action::Send(id, order));
    }

    /// Returns how many sendings one endpoint may have in flight: few where many wait for slow ones,
    /// so that these do not keep all slots of the node for themselves.
    fn slots(&self) -> usize {
        let full = self.limits.subscription_concurrency;
        if self.flights.len() > self.limits.sends / 2 {
            full.div_ceil(8)
        } else {
            full
        }
    }

    /// Returns whether nothing more may be sent: all slots are taken, or what came of earlier
    /// sendings waits in memory for the database.
    pub(super) fn is_full(&self) -> bool {
        self.stalled
            || self.flights.len() >= self.limits.sends
            || self.writes.rows() >= self.limits.batch_steps.saturating_mul(4)
    }

    /// Lets those on that had something to send when nothing more could be, in turn.
    pub(super) fn pump_starved(&mut self, now: Timestamp) {
        let mut left = self.starved.len();
        while left > 0 && !self.is_full() {
            left -= 1;
            let after = self.last_starved.map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.starved.range((after, Bound::Unbounded)).next();
            let Some(id) = next.or_else(|| self.starved.first()).copied() else {
                return;
            };
            self.starved.remove(&id);
            self.last_starved = Some(id);
            self.pump(now, id);
        }
    }

    /// A sending ended.
    pub(in crate::driver) fn sent(&mut self, now: Timestamp, id: SendId, result: SendResult) {
        if id.incarnation != self.incarnation {
            return;
        }
        let (place, at) = match self.flights.remove(&id.number) {
            None => return,
            Some(Flight::Test(subscription, caller)) => {
                self.tested(now, subscription, caller, result);
                self.pump_starved(now);
                return;
            }
            Some(Flight::Delivery {
                place,
                at,
                is_probe,
            }) => {
                self.probing -= usize::from(is_probe);
                (place, at)
            }
        };
        self.counted.failed += u64::from(result.failure.is_some());
        let subscription = place.subscription;
        if let Some(outlet) = self.outlets.get_mut(&subscription) {
            outlet.in_flight = outlet.in_flight.saturating_sub(1);
            match &outlet.state {
                // It is sent again from where the subscription stands.
                State::Off => {}
                State::Stopped(stopped) if stopped.flight == Some(id.number) => {
                    self.probed(now, place, at, result);
                }
                State::Stopped(_) if result.failure.is_none() => {
                    self.probe_soon(now, subscription);
                }
                State::Stopped(_) => {}
                State::Running => self.tried(now, (place, id.number), at, result),
            }
        }
        self.pump(now, subscription);
        self.pump_starved(now);
    }

    fn tried(
        &mut self,
        now: Timestamp,
        (place, number): (Place, u64),
        at: Timestamp,
        result: SendResult,
    ) {
        let (id, shard, seq) = (place.subscription, place.shard, place.seq);
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        outlet.health.note(&result);
        let is_down = outlet.health.is_down() || outlet.suspect.is_some();
        let Some(item) = outlet
            .tracks
            .get_mut(&shard)
            .and_then(|track| track.items.get_mut(&seq))
            .filter(|item| item.work == Work::Flying(number))
        else {
            return;
        };
        item.work = Work::Idle;
        let Some(message) = item.message.clone() else {
            return;
        };
        let mut row = item.row.clone().unwrap_or_else(|| Row::of(&message));
        row.attempts = row.attempts.saturating_add(1);
        let failure = result.failure.clone();
        self.keep_attempt(place, row.attempts, at, result);
        let Some(failure) = failure else {
            if let Some(outlet) = self.outlets.get_mut(&id)
                && outlet.suspect.take().is_some()
            {
                let shards = outlet.tracks.keys().map(|shard| (id, *shard));
                self.writes.moved.extend(shards);
            }
            self.end_row(now, place, message.line, &row, DeliveryStatus::Delivered);
            self.ended(now, id, shard, seq);
            return;
        };
        if failure.gone || is_down {
            // It is the endpoint's failure, which is charged to no message.
            self.hold(now, place, row);
            if failure.gone {
                self.disable(now, id, DisabledReason::Gone);
            } else {
                self.stop(now, id);
            }
            return;
        }
        self.charge(now, place, row, &failure);
    }

    /// Counts a failure of a message, and gives it up when its plan is spent.
    fn charge(&mut self, now: Timestamp, place: Place, mut row: Row, failure: &SendFailure) {
        let (id, shard, seq) = (place.subscription, place.shard, place.seq);
        row.failures = row.failures.saturating_add(1);
        let Some(gap) = gap_after(row.failures, &mut self.rng) else {
            let line = self.line_of(place);
            self.counted.exhausted += 1;
            tracing::info!(
                subscription.id = %id,
                message.id = row.message_id,
                attempts = row.attempts,
                "Delivery given up"
            );
            self.end_row(now, place, line, &row, DeliveryStatus::Exhausted);
            self.give_up(place);
            return;
        };
        let asked = failure.retry_at.map(|at| at.min(now.after(LONGEST_WAIT)));
        let due = now.after(gap);
        row.due = Some(asked.map_or(due, |at| at.max(due)));
        self.hold(now, place, row);
        self.activate(now, id, shard, seq);
    }

    /// Has the line of a message go on once it is durable that it is given up: after a crash it
    /// would be sent once more, behind those that follow it.
    fn give_up(&mut self, place: Place) {
        let outlet = self.outlets.get_mut(&place.subscription);
        let track = outlet.and_then(|outlet| outlet.tracks.get_mut(&place.shard));
        if let Some(item) = track.and_then(|track| track.items.get_mut(&place.seq)) {
            item.work = Work::GivenUp;
            let durable = self.writes.generation + 1;
            self.given_up.entry(durable).or_default().push(place);
        }
    }

    /// What was given up up to this generation of writes is durable.
    pub(super) fn go_on(&mut self, now: Timestamp, generation: u64) {
        let left = self.given_up.split_off(&(generation + 1));
        let durable = std::mem::replace(&mut self.given_up, left);
        for place in durable.into_values().flatten() {
            let (id, shard, seq) = (place.subscription, place.shard, place.seq);
            let outlet = self.outlets.get(&id);
            let track = outlet.and_then(|outlet| outlet.tracks.get(&shard));
            let item = track.and_then(|track| track.items.get(&seq));
            if item.is_some_and(|item| item.work == Work::GivenUp) {
                self.ended(now, id, shard, seq);
                self.pump(now, id);
            }
        }
    }

    /// A message is dealt with: its line goes on.
    pub(super) fn ended(&mut self, now: Timestamp, id: SubscriptionId, shard: Shard, seq: u64) {
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let Some(track) = outlet.tracks.get_mut(&shard) else {
            return;
        };
        let had_row = track.items.get(&seq).is_some_and(|item| item.row.is_some());
        outlet.rows -= usize::from(had_row && outlet.rows > 0);
        let next = track.remove(seq);
        if track.own {
            self.writes.moved.insert((id, shard));
        } else if track.items.is_empty() && matches!(track.phase, Phase::Live { .. }) {
            outlet.tracks.remove(&shard);
        }
        if let Some(part) = self.parts.get_mut(&shard) {
            part.done(seq, id);
        }
        self.writes.parts.insert(shard);
        self.writes.mark(now);
        if let Some(next) = next {
            self.activate(now, id, shard, next);
        }
        self.read_on(id, shard);
        if had_row {
            self.read_on_elsewhere(id, shard);
        }
    }

    /// Open deliveries are counted over all shards: one less may let another shard go on.
    fn read_on_elsewhere(&mut self, id: SubscriptionId, shard: Shard) {
        let Some(outlet) = self.outlets.get(&id) else {
            return;
        };
        let behind = outlet
            .tracks
            .iter()
            .filter(|(other, track)| **other != shard && matches!(track.phase, Phase::Behind(_)));
        let shards: BTreeSet<Shard> = behind.map(|(other, _)| *other).collect();
        for shard in shards {
            self.read_on(id, shard);
        }
    }
}

/// How long an endpoint's own word can put a message off.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);
