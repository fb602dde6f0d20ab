//! Catching up: a subscription reads the log page by page, from where it stands to the live end.

use std::sync::Arc;

use wellspring_core::{Shard, SubscriptionId, Timestamp};

use super::read::Want;
use super::track::{Item, Phase};
use super::{Dispatcher, PAGE, Part, ROWS, gap, suits};
use crate::Subscription;
use crate::dispatch::{LogEntry, LogSlice, Message};

impl<T> Dispatcher<T> {
    /// Reads on for a subscription that catches up, once most of what it has is sent.
    pub(super) fn read_on(&mut self, id: SubscriptionId, shard: Shard) {
        let draining = self.parts.get(&shard).is_none_or(|part| part.draining);
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        if draining || !outlet.is_running() || outlet.rows >= ROWS / 10 * 9 {
            return;
        }
        let Some(track) = outlet.tracks.get_mut(&shard) else {
            return;
        };
        let announced = track.fresh.first().and_then(|seq| track.items.get(seq));
        let is_gap = announced.is_some_and(|item| item.line == *id.as_bytes());
        let Phase::Behind(reader) = &mut track.phase else {
            return;
        };
        // What was missed is told before anything that came after it.
        if reader.wanted || reader.reading || is_gap || track.fresh.len() > PAGE / 4 {
            return;
        }
        reader.wanted = true;
        self.want(Want::Page(id, shard));
    }

    pub(super) fn page_read(
        &mut self,
        now: Timestamp,
        id: SubscriptionId,
        shard: Shard,
        slice: &LogSlice,
    ) {
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let subscription = Arc::clone(&outlet.subscription);
        let Some(track) = outlet.tracks.get_mut(&shard) else {
            return;
        };
        let Phase::Behind(reader) = &mut track.phase else {
            return;
        };
        reader.reading = false;
        self.writes.moved.insert((id, shard));
        self.writes.mark(now);
        if slice.gap {
            let seq = reader.seen + 1;
            let first = slice.entries.first();
            let last = first.map_or(slice.seen, |entry| entry.view.seq.saturating_sub(1));
            reader.seen = last.max(seq);
            let at = first.map(|entry| entry.view.at);
            let message = gap::message(&subscription, shard, seq, at, now);
            let is_first = track.add(seq, Item::fresh(message));
            if is_first {
                self.activate(now, id, shard, seq);
            }
            self.read_on(id, shard);
            self.pump(now, id);
            return;
        }
        let tail = std::mem::take(&mut reader.tail);
        let is_whole = !slice.has_more && !reader.hole;
        for entry in &slice.entries {
            if !self.page_entry(now, id, shard, &subscription, entry) {
                self.pump(now, id);
                return;
            }
        }
        self.move_on(id, shard, slice.seen);
        let is_open = self.parts.get(&shard).is_some_and(Part::is_open);
        match (is_whole, is_open) {
            (true, true) => self.join(now, id, shard, tail),
            // It goes on when its shard is open.
            (true, false) => {}
            (false, _) => self.read_on(id, shard),
        }
        self.pump(now, id);
    }

    /// Takes in one entry; returns whether there was room for it.
    fn page_entry(
        &mut self,
        now: Timestamp,
        id: SubscriptionId,
        shard: Shard,
        subscription: &Subscription,
        entry: &LogEntry,
    ) -> bool {
        let Some(outlet) = self.outlets.get(&id) else {
            return false;
        };
        let Some(track) = outlet.tracks.get(&shard) else {
            return false;
        };
        let view = &entry.view;
        let is_wanted = suits(subscription.kind, view.verb, entry.document)
            && subscription
                .patterns
                .iter()
                .any(|pattern| pattern.matches(view.verb, &view.path));
        if is_wanted {
            if outlet.rows >= ROWS && track.is_held_up(&entry.line) {
                return false;
            }
            self.take_in(now, id, &Arc::new(Message::of(entry)));
        }
        self.move_on(id, shard, view.seq);
        true
    }

    fn move_on(&mut self, id: SubscriptionId, shard: Shard, seen: u64) {
        let outlet = self.outlets.get_mut(&id);
        if let Some(track) = outlet.and_then(|outlet| outlet.tracks.get_mut(&shard))
            && let Phase::Behind(reader) = &mut track.phase
        {
            reader.seen = reader.seen.max(seen);
        }
    }

    /// The end of the log is reached without a hole: the subscription is given what comes.
    fn join(&mut self, now: Timestamp, id: SubscriptionId, shard: Shard, tail: Vec<Arc<Message>>) {
        let outlet = self.outlets.get_mut(&id);
        let Some(track) = outlet.and_then(|outlet| outlet.tracks.get_mut(&shard)) else {
            return;
        };
        let Phase::Behind(reader) = &track.phase else {
            return;
        };
        let after = reader.seen;
        track.phase = Phase::Live { after };
        for message in tail {
            if message.seq > after {
                self.take_in(now, id, &message);
            }
        }
    }
}
