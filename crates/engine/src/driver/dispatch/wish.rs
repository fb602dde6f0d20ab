//! What tenants ask of their subscriptions: replays and tests.

use std::sync::Arc;

use serde::Serialize;
use wellspring_core::{Shard, SubscriptionId, Timestamp};

use super::Dispatcher;
use super::outlet::State;
use super::read::Want;
use super::send::Flight;
use super::track::{Item, Phase, Place, Reader, Row, Track, Work};
use crate::dispatch::{
    DeliveryStatus, Envelope, Message, Position, Redelivery, SendResult, SubscriptionState,
    SubscriptionWish,
};
use crate::{Action, Answer, Busy, Command, Origin, Request};

/// A command that is done with.
#[derive(Debug)]
pub(in crate::driver) struct Settled<T> {
    pub(in crate::driver) command: Command<T>,
    pub(in crate::driver) answer: Answer,
}

/// Somebody wants everything from a moment on again.
#[derive(Debug)]
pub(super) struct Rewind<T> {
    pub(super) subscription: SubscriptionId,
    pub(super) shard: Shard,
    pub(super) command: Command<T>,
}

/// What a test says.
#[derive(Debug, Serialize)]
struct Test {
    subscription: SubscriptionId,
}

impl<T> Dispatcher<T> {
    /// Returns the commands that are done with.
    pub(in crate::driver) fn settled(&mut self) -> Vec<Settled<T>> {
        std::mem::take(&mut self.answered)
    }

    pub(super) fn settle(&mut self, command: Command<T>, answer: Answer) {
        self.answered.push(Settled { command, answer });
    }

    /// Does what somebody wants of a subscription.
    pub(in crate::driver) fn wish(&mut self, now: Timestamp, command: Command<T>) {
        let Request::Subscription {
            shard,
            tenant,
            subscription: id,
            wish,
        } = command.request.clone()
        else {
            return;
        };
        let outlet = self.outlets.get(&id);
        if outlet.is_none_or(|outlet| outlet.subscription.tenant != tenant) {
            self.settle(command, Answer::NotFound);
            return;
        }
        match wish {
            SubscriptionWish::Test => self.test(now, id, command),
            SubscriptionWish::Replay(_) | SubscriptionWish::ReplaySince(_)
                if self.parts.get(&shard).is_none_or(|part| part.draining) =>
            {
                self.settle(command, Answer::Elsewhere);
            }
            SubscriptionWish::Replay(_) | SubscriptionWish::ReplaySince(_)
                if !self.is_known(id, shard) =>
            {
                self.settle(command, Answer::Busy(Busy::NotReady));
            }
            SubscriptionWish::Replay(again) => {
                for one in again {
                    self.replay(now, id, shard, one);
                }
                self.pump(now, id);
                self.settle(command, Answer::Dispatched);
            }
            SubscriptionWish::ReplaySince(at) => {
                let rewind = Rewind {
                    subscription: id,
                    shard,
                    command,
                };
                self.want(Want::Seek(rewind, at));
            }
        }
    }

    /// Gives up on whoever waits, since this driver's life is over.
    pub(in crate::driver) fn end(&mut self) {
        self.actions.clear();
        self.forget_reads(Want::has_caller);
        for (_, flight) in std::mem::take(&mut self.flights) {
            match flight {
                Flight::Test(_, caller) => {
                    let answer = Answer::Busy(Busy::NotReady);
                    self.actions.push(Action::Reply(caller, answer));
                }
                Flight::Delivery { .. } => {}
            }
        }
    }

    /// Returns whether all that is open of a subscription in a shard is known here, or none needs to be.
    fn is_known(&self, id: SubscriptionId, shard: Shard) -> bool {
        let track = self
            .outlets
            .get(&id)
            .map(|outlet| outlet.tracks.get(&shard));
        let is_opening = track
            .flatten()
            .is_some_and(|track| matches!(track.phase, Phase::Opening));
        self.parts.get(&shard).is_some_and(super::Part::is_open) && !is_opening
    }

    fn replay(&mut self, now: Timestamp, id: SubscriptionId, shard: Shard, again: Redelivery) {
        let place = Place {
            subscription: id,
            shard,
            seq: again.seq,
        };
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let row = Row {
            message_id: again.message_id,
            created_at: again.created_at,
            attempts: again.attempts,
            failures: 0,
            due: None,
            replayed: Some(now),
        };
        if !outlet.is_running() {
            // It is found with the other open deliveries when the subscription goes on.
            let tenant = outlet.subscription.tenant;
            let open = row.open(place, tenant, again.line, DeliveryStatus::Retrying);
            self.writes.deliveries.entry(place).or_insert(open);
            self.writes.mark(now);
            return;
        }
        let track = outlet
            .tracks
            .entry(shard)
            .or_insert_with(|| Track::new(Phase::Live { after: 0 }));
        if let Some(item) = track.items.get_mut(&again.seq) {
            // It is on its way already: what waits for its time need not.
            if let Some(row) = &mut item.row {
                row.due = None;
            }
            if track.is_first(again.seq) {
                self.activate(now, id, shard, again.seq);
            }
            return;
        }
        let item = Item {
            line: again.line,
            message: None,
            row: Some(row),
            work: Work::Idle,
        };
        track.add(again.seq, item);
        outlet.rows += 1;
        self.keep_row(now, id, shard, again.seq, DeliveryStatus::Retrying);
        self.activate(now, id, shard, again.seq);
    }

    /// The place from which on everything is wanted again is known.
    pub(super) fn sought(&mut self, now: Timestamp, rewind: Rewind<T>, place: u64) {
        let (id, shard) = (rewind.subscription, rewind.shard);
        let Some(outlet) = self.outlets.get_mut(&id) else {
            self.settle(rewind.command, Answer::NotFound);
            return;
        };
        if !outlet.is_running() {
            self.want_durable(Want::Rewind(rewind, place));
            return;
        }
        let Some(part) = self.parts.get_mut(&shard) else {
            self.settle(rewind.command, Answer::Elsewhere);
            return;
        };
        let track = outlet
            .tracks
            .entry(shard)
            .or_insert_with(|| Track::new(Phase::Live { after: 0 }));
        if matches!(track.phase, Phase::Opening) {
            self.settle(rewind.command, Answer::Busy(Busy::NotReady));
            return;
        }
        if place < track.standing(part.seen) {
            // What is in memory only comes again from the log.
            for seq in std::mem::take(&mut track.fresh) {
                track.remove(seq);
                part.done(seq, id);
            }
            outlet
                .ready
                .retain(|(of, seq)| *of != shard || track.items.contains_key(seq));
            track.own = true;
            track.phase = Phase::Behind(Reader::new(place));
            self.writes.parts.insert(shard);
            self.writes.moved.insert((id, shard));
            self.writes.mark(now);
            self.read_on(id, shard);
        }
        self.settle(rewind.command, Answer::Dispatched);
        self.pump(now, id);
    }

    /// Where a subscription stands to which nothing is sent now is known.
    pub(super) fn rewound(
        &mut self,
        now: Timestamp,
        rewind: Rewind<T>,
        place: u64,
        state: &SubscriptionState,
    ) {
        let (id, shard) = (rewind.subscription, rewind.shard);
        let Some(outlet) = self.outlets.get(&id) else {
            self.settle(rewind.command, Answer::NotFound);
            return;
        };
        let failing_since = match &outlet.state {
            // It goes on already.
            State::Running => {
                self.sought(now, rewind, place);
                return;
            }
            State::Stopped(stopped) => Some(stopped.since),
            State::Off => None,
        };
        let Some(part) = self.parts.get(&shard) else {
            self.settle(rewind.command, Answer::Elsewhere);
            return;
        };
        let stands = state.position.map_or(part.saved, |position| position.seen);
        let position = Position {
            subscription: id,
            shard,
            seen: place.min(stands),
            failing_since,
        };
        self.writes.positions.insert((id, shard), Some(position));
        self.writes.mark(now);
        self.settle(rewind.command, Answer::Dispatched);
    }

    /// Sends a test at once, whatever else is on its way.
    fn test(&mut self, now: Timestamp, id: SubscriptionId, command: Command<T>) {
        let Some(outlet) = self.outlets.get(&id) else {
            self.settle(command, Answer::NotFound);
            return;
        };
        let Origin::Caller(caller) = command.origin else {
            // Nobody waits for it.
            self.settle(command, Answer::Dispatched);
            return;
        };
        let subscription = Arc::clone(&outlet.subscription);
        let number = self.number();
        let envelope = Envelope {
            kind: "wellspring.test",
            timestamp: now,
            data: Test { subscription: id },
        };
        let message = Message {
            id: format!("test_{}{number:016x}", self.incarnation.uuid().simple()),
            at: now,
            tenant: subscription.tenant,
            shard: Shard(0),
            seq: 0,
            line: *id.as_bytes(),
            document: None,
            body: envelope.to_bytes(),
        };
        self.send(
            number,
            subscription,
            Arc::new(message),
            Flight::Test(id, caller),
        );
    }

    /// A test ended.
    pub(super) fn tested(
        &mut self,
        now: Timestamp,
        id: SubscriptionId,
        caller: T,
        result: SendResult,
    ) {
        if result.failure.is_none() {
            self.probe_soon(now, id);
        }
        let answer = Answer::Tried(Box::new(result));
        self.actions.push(Action::Reply(caller, answer));
    }
}
