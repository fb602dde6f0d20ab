//! What is to be kept: gathered here, and written with the driver's next commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wellspring_core::{Shard, SubscriptionId, Timestamp};

use super::track::{Phase, Place};
use super::{Dispatcher, PartPhase};
use crate::DisabledReason;
use crate::dispatch::{DeliveryAttempt, DeliveryRow, DispatchWrites, Position};

/// What is not durable yet.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) deliveries: BTreeMap<Place, DeliveryRow>,
    pub(super) attempts: Vec<DeliveryAttempt>,
    /// Positions; none where there is to be none.
    pub(super) positions: BTreeMap<(SubscriptionId, Shard), Option<Position>>,
    pub(super) disabled: Vec<(SubscriptionId, DisabledReason, Timestamp)>,
    /// Tracks with positions that have moved.
    pub(super) moved: BTreeSet<(SubscriptionId, Shard)>,
    /// Tracks that stand where their shard soon will, and then need no position.
    pub(super) joining: BTreeSet<(SubscriptionId, Shard)>,
    /// Shards whose cursors have moved.
    pub(super) parts: BTreeSet<Shard>,
    /// When it is to be written even if nothing else is.
    pub(super) due: Option<Timestamp>,
    /// Counts what was handed over to be written.
    pub(super) generation: u64,
    /// What is being written.
    pub(super) committing: bool,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.rows() == 0 && self.moved.is_empty()
    }

    /// Returns how many rows it has so far.
    pub(super) fn rows(&self) -> usize {
        self.deliveries.len() + self.attempts.len() + self.positions.len() + self.disabled.len()
    }

    /// Sees to it that it is written soon.
    pub(super) fn mark(&mut self, now: Timestamp) {
        let due = now.after(SAVED_WITHIN);
        self.due = Some(self.due.map_or(due, |at| at.min(due)));
    }

    /// Returns the generation that has to be durable before what it says can be read back.
    pub(super) fn barrier(&self) -> Option<u64> {
        if !self.is_empty() {
            Some(self.generation + 1)
        } else {
            self.committing.then_some(self.generation)
        }
    }

    pub(super) fn forget(&mut self, id: SubscriptionId) {
        self.deliveries.retain(|place, _| place.subscription != id);
        self.attempts.retain(|attempt| attempt.subscription != id);
        self.positions.retain(|(of, _), _| *of != id);
        self.moved.retain(|(of, _)| *of != id);
        self.joining.retain(|(of, _)| *of != id);
    }

    fn touches(&self, shard: Shard) -> bool {
        self.deliveries.keys().any(|place| place.shard == shard)
            || self.attempts.iter().any(|attempt| attempt.shard == shard)
            || self.positions.keys().any(|(_, of)| *of == shard)
            || self.moved.iter().any(|(_, of)| *of == shard)
    }
}

impl<T> Dispatcher<T> {
    /// Returns whether what is to be kept has waited long enough.
    pub(in crate::driver) fn is_save_due(&self, now: Timestamp) -> bool {
        self.writes.due.is_some_and(|due| due <= now)
    }

    /// Returns when what is to be kept has waited long enough.
    pub(in crate::driver) const fn save_due(&self) -> Option<Timestamp> {
        self.writes.due
    }

    /// Returns whether anything of the shard is in flight or not durable.
    pub(in crate::driver) fn is_busy(&self, shard: Shard) -> bool {
        let flying = |flight: &super::send::Flight<T>| flight.shard() == Some(shard);
        self.writes.touches(shard) || self.flights.values().any(flying)
    }

    /// Hands over what is to be written now.
    pub(in crate::driver) fn take_writes(&mut self, now: Timestamp) -> DispatchWrites {
        let writes = &mut self.writes;
        writes.due = None;
        let moved = std::mem::take(&mut writes.moved);
        let joining = std::mem::take(&mut writes.joining);
        let mut parts = std::mem::take(&mut writes.parts);
        parts.extend(moved.iter().chain(&joining).map(|(_, shard)| *shard));
        let mut late = moved;
        for shard in &parts {
            self.outrun(now, *shard, &mut late);
        }
        for (id, shard) in late.into_iter().chain(joining) {
            self.note_position(id, shard);
        }
        let mut cursors = Vec::new();
        for shard in parts {
            let Some(cursor) = self.cursor(shard) else {
                continue;
            };
            let Some(part) = self.parts.get(&shard) else {
                continue;
            };
            if !part.undone.is_empty() {
                let look = now.after(SLOW);
                self.writes.due = Some(self.writes.due.map_or(look, |due| due.min(look)));
                self.writes.parts.insert(shard);
            }
            if cursor > part.saved && !self.outlets.is_empty() {
                cursors.push((shard, cursor));
            }
        }
        self.hand_over(cursors)
    }

    fn hand_over(&mut self, cursors: Vec<(Shard, u64)>) -> DispatchWrites {
        let parts = &self.parts;
        let owned = |shard: &Shard| parts.contains_key(shard);
        let writes = &mut self.writes;
        let mut all = DispatchWrites {
            cursors,
            attempts: std::mem::take(&mut writes.attempts),
            disabled: std::mem::take(&mut writes.disabled),
            ..DispatchWrites::default()
        };
        all.attempts.retain(|attempt| owned(&attempt.shard));
        for (place, row) in std::mem::take(&mut writes.deliveries) {
            if owned(&place.shard) {
                all.deliveries.push(row);
            }
        }
        for ((id, shard), position) in std::mem::take(&mut writes.positions) {
            match position {
                _ if !owned(&shard) => {}
                Some(position) => all.positions.push(position),
                None => all.caught_up.push((id, shard)),
            }
        }
        if !all.is_empty() {
            writes.generation += 1;
            writes.committing = true;
        }
        all
    }

    /// What was handed over is durable.
    pub(in crate::driver) fn saved(&mut self, now: Timestamp, written: &DispatchWrites) {
        for (shard, cursor) in &written.cursors {
            if let Some(part) = self.parts.get_mut(shard) {
                part.saved = *cursor;
            }
        }
        self.writes.committing = false;
        self.stalled = false;
        let left = self.barred.split_off(&(self.writes.generation + 1));
        for want in std::mem::replace(&mut self.barred, left).into_values() {
            self.wants.extend(want);
        }
        self.read_next();
        self.go_on(now, self.writes.generation);
        self.pump_starved(now);
    }

    /// What was handed over is not durable, and has to be written again.
    pub(in crate::driver) fn not_saved(&mut self, now: Timestamp, written: &DispatchWrites) {
        let writes = &mut self.writes;
        writes.committing = false;
        if written.is_empty() {
            return;
        }
        for row in &written.deliveries {
            let place = Place {
                subscription: row.subscription,
                shard: row.shard,
                seq: row.seq,
            };
            let known = self.outlets.contains_key(&row.subscription);
            if known {
                writes
                    .deliveries
                    .entry(place)
                    .or_insert_with(|| row.clone());
            }
        }
        let newer = std::mem::replace(&mut writes.attempts, written.attempts.clone());
        writes.attempts.extend(newer);
        writes.disabled.extend(written.disabled.iter().copied());
        for position in &written.positions {
            if self.outlets.contains_key(&position.subscription) {
                let key = (position.subscription, position.shard);
                writes.positions.entry(key).or_insert(Some(*position));
            }
        }
        for key in &written.caught_up {
            if self.outlets.contains_key(&key.0) {
                writes.positions.entry(*key).or_insert(None);
            }
        }
        let shards = written.cursors.iter().map(|(shard, _)| *shard);
        writes.parts.extend(shards);
        writes.mark(now);
    }

    /// Returns up to where a shard is dispatched to all that have no position of their own.
    pub(super) fn cursor(&self, shard: Shard) -> Option<u64> {
        let part = self.parts.get(&shard)?;
        let seen = match &part.phase {
            PartPhase::Opening => return None,
            PartPhase::Replaying(reader) => reader.seen,
            PartPhase::Open => part.seen,
        };
        let first = part.undone.first_key_value();
        let cursor = first.map_or(seen, |(first, _)| first.saturating_sub(1));
        Some(cursor.max(part.saved))
    }

    /// Gives slow endpoints positions of their own, so that after a crash the others are not
    /// sent again what they have.
    fn outrun(
        &mut self,
        now: Timestamp,
        shard: Shard,
        moved: &mut BTreeSet<(SubscriptionId, Shard)>,
    ) {
        loop {
            let Some(part) = self.parts.get(&shard) else {
                return;
            };
            let Some((seq, holders)) = part.undone.first_key_value() else {
                return;
            };
            let (seq, holders) = (*seq, holders.clone());
            let at = holders.iter().find_map(|id| {
                let track = self.outlets.get(id)?.tracks.get(&shard)?;
                track
                    .items
                    .get(&seq)?
                    .message
                    .as_ref()
                    .map(|message| message.at)
            });
            if at.is_some_and(|at| at.after(SLOW) > now) {
                return;
            }
            for id in holders {
                self.separate(id, shard);
                moved.insert((id, shard));
            }
            // Nobody holds it any more, or there is a mistake that must not become a loop.
            if let Some(part) = self.parts.get_mut(&shard) {
                part.undone.remove(&seq);
            }
        }
    }

    /// Gives a track a position of its own.
    pub(super) fn separate(&mut self, id: SubscriptionId, shard: Shard) {
        let Some(track) = self
            .outlets
            .get_mut(&id)
            .and_then(|outlet| outlet.tracks.get_mut(&shard))
        else {
            return;
        };
        if track.own {
            return;
        }
        track.own = true;
        if let Some(part) = self.parts.get_mut(&shard) {
            for seq in &track.fresh {
                part.done(*seq, id);
            }
        }
    }

    /// Notes where a track with a position of its own stands, or that it needs none any more.
    fn note_position(&mut self, id: SubscriptionId, shard: Shard) {
        let Some(cursor) = self.cursor(shard) else {
            return;
        };
        let (Some(part), Some(outlet)) = (self.parts.get_mut(&shard), self.outlets.get_mut(&id))
        else {
            return;
        };
        let Some(track) = outlet.tracks.get_mut(&shard).filter(|track| track.own) else {
            return;
        };
        let standing = track.standing(part.seen);
        let is_level = match &track.phase {
            Phase::Opening => return,
            Phase::Behind(_) => false,
            Phase::Live { after } if *after > part.seen => {
                self.writes.joining.insert((id, shard));
                false
            }
            Phase::Live { .. } => part.is_open() && standing >= cursor,
        };
        if is_level {
            track.own = false;
            track.stored = None;
            for seq in &track.fresh {
                part.undone.entry(*seq).or_default().push(id);
            }
            if track.items.is_empty() {
                outlet.tracks.remove(&shard);
            }
            // Whoever owes an endpoint nothing has nothing against it: others may have served it.
            if outlet.rows == 0 && outlet.tracks.values().all(|track| !track.own) {
                outlet.suspect = None;
            }
            self.writes.positions.insert((id, shard), None);
            return;
        }
        let position = Position {
            subscription: id,
            shard,
            seen: standing,
            failing_since: outlet.suspect,
        };
        if track.stored != Some(position) {
            track.stored = Some(position);
            self.writes.positions.insert((id, shard), Some(position));
        }
    }
}

/// How long what is to be kept waits for a commit to join.
const SAVED_WITHIN: Duration = Duration::from_millis(100);
/// How long an endpoint may take before it has a position of its own.
const SLOW: Duration = Duration::from_secs(2);
