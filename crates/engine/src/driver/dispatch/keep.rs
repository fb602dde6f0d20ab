//! Deliveries as they are kept.

use wellspring_core::{AnyId, Shard, SubscriptionId, Timestamp};

use super::Dispatcher;
use super::track::{Place, Row, Work};
use crate::dispatch::{DeliveryAttempt, DeliveryStatus, SendResult};

impl<T> Dispatcher<T> {
    /// Makes a message that was not taken a row, and what is behind it in its line too.
    pub(super) fn hold(&mut self, now: Timestamp, place: Place, row: Row) {
        let (id, shard, seq) = (place.subscription, place.shard, place.seq);
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let Some(track) = outlet.tracks.get_mut(&shard) else {
            return;
        };
        let Some(item) = track.items.get_mut(&seq) else {
            return;
        };
        let line = item.line;
        outlet.rows += usize::from(item.row.is_none());
        item.row = Some(row);
        item.message = None;
        let is_free = item.is_free();
        track.fresh.remove(&seq);
        let behind = if is_free {
            Vec::new()
        } else {
            track.fresh_of(&line)
        };
        for seq in &behind {
            if let Some(item) = track.items.get_mut(seq)
                && let Some(message) = item.message.take()
            {
                item.row = Some(Row::of(&message));
                item.work = Work::Idle;
                track.fresh.remove(seq);
                outlet.rows += 1;
            }
        }
        let is_own = track.own;
        self.keep_row(now, id, shard, seq, DeliveryStatus::Retrying);
        for seq in &behind {
            self.keep_row(now, id, shard, *seq, DeliveryStatus::Waiting);
        }
        if let Some(part) = self.parts.get_mut(&shard) {
            for seq in behind.iter().chain([&seq]) {
                part.done(*seq, id);
            }
        }
        self.writes.parts.insert(shard);
        if is_own {
            self.writes.moved.insert((id, shard));
        }
        self.read_on(id, shard);
    }

    pub(super) fn line_of(&self, place: Place) -> AnyId {
        let outlet = self.outlets.get(&place.subscription);
        let track = outlet.and_then(|outlet| outlet.tracks.get(&place.shard));
        track
            .and_then(|track| track.items.get(&place.seq))
            .map_or([0; 16], |item| item.line)
    }

    pub(super) fn keep_attempt(
        &mut self,
        place: Place,
        number: u16,
        at: Timestamp,
        result: SendResult,
    ) {
        self.writes.attempts.push(DeliveryAttempt {
            subscription: place.subscription,
            shard: place.shard,
            seq: place.seq,
            number,
            at,
            duration: result.duration,
            status: result.status,
            snippet: result.snippet,
            error: result.failure.map(|failure| failure.error),
        });
    }

    /// Keeps an open delivery.
    pub(super) fn keep_row(
        &mut self,
        now: Timestamp,
        id: SubscriptionId,
        shard: Shard,
        seq: u64,
        status: DeliveryStatus,
    ) {
        let Some(outlet) = self.outlets.get(&id) else {
            return;
        };
        let track = outlet.tracks.get(&shard);
        let Some(item) = track.and_then(|track| track.items.get(&seq)) else {
            return;
        };
        let Some(row) = &item.row else { return };
        let place = Place {
            subscription: id,
            shard,
            seq,
        };
        let row = row.open(place, outlet.subscription.tenant, item.line, status);
        self.writes.deliveries.insert(place, row);
        self.writes.mark(now);
    }

    /// Keeps a delivery that has ended.
    pub(super) fn end_row(
        &mut self,
        now: Timestamp,
        place: Place,
        line: AnyId,
        row: &Row,
        status: DeliveryStatus,
    ) {
        let Some(outlet) = self.outlets.get(&place.subscription) else {
            return;
        };
        let mut row = row.open(place, outlet.subscription.tenant, line, status);
        row.next_attempt_at = None;
        row.ended_at = Some(now);
        self.writes.deliveries.insert(place, row);
        self.writes.mark(now);
    }
}
