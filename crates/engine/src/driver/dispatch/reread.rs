//! Beginning from rows: a shard that was taken, or a subscription that goes on.

use std::collections::{BTreeMap, BTreeSet};

use wellspring_core::{Shard, SubscriptionId, Timestamp};

use super::outlet::{Probe, State};
use super::read::Want;
use super::track::{Item, Phase, Reader, Row, Track, Work};
use super::{Dispatcher, PartPhase};
use crate::dispatch::{DeliveryRow, DispatchState, LogSlice, Position, SubscriptionState};

impl<T> Dispatcher<T> {
    /// How far a shard is dispatched is known.
    pub(super) fn part_read(&mut self, now: Timestamp, shard: Shard, state: &DispatchState) {
        let Some(part) = self.parts.get_mut(&shard) else {
            return;
        };
        let PartPhase::Opening = part.phase else {
            return;
        };
        // Where there is nobody, nobody misses anything.
        let cursor = if self.outlets.is_empty() {
            part.end.max(state.cursor)
        } else {
            state.cursor
        };
        part.saved = state.cursor;
        part.phase = PartPhase::Replaying(Reader::new(cursor));
        self.take_up(now, shard, state);
        let open = self
            .parts
            .get(&shard)
            .is_some_and(|part| part.end <= cursor);
        if open {
            self.open(now, shard, cursor);
        } else {
            self.want(Want::Replay(shard));
        }
    }

    /// Takes up what the store knows of subscriptions in a shard.
    fn take_up(&mut self, now: Timestamp, shard: Shard, state: &DispatchState) {
        // Those that are read by themselves are left alone.
        let known = |outlet: &super::Outlet| outlet.tracks.contains_key(&shard);
        let alone: BTreeSet<SubscriptionId> = self
            .outlets
            .iter()
            .filter(|(_, outlet)| known(outlet))
            .map(|(id, _)| *id)
            .collect();
        let mut placed = BTreeSet::new();
        let mut failing = BTreeMap::new();
        for position in &state.positions {
            let id = position.subscription;
            placed.insert(id);
            let Some(outlet) = self.outlets.get_mut(&id) else {
                continue;
            };
            if !outlet.is_running() || alone.contains(&id) {
                continue;
            }
            if let Some(since) = position.failing_since
                && !outlet.is_well()
            {
                failing.insert(id, since);
            }
            let mut track = Track::new(Phase::Behind(Reader::new(position.seen)));
            track.own = true;
            track.stored = Some(*position);
            outlet.tracks.insert(shard, track);
        }
        let mut touched = placed.clone();
        for (row, leads) in in_lines(&state.open) {
            if !alone.contains(&row.subscription) {
                self.take_up_row(row, leads);
                touched.insert(row.subscription);
            }
        }
        for (id, since) in failing {
            if let Some(outlet) = self.outlets.get_mut(&id) {
                outlet.suspect = Some(outlet.suspect.map_or(since, |known| known.min(since)));
            }
            self.stop(now, id);
        }
        self.place_the_rest(now, shard, state.cursor, &placed);
        for id in touched {
            self.begin(now, id, shard);
        }
    }

    /// Whoever is sent nothing stays where it stands while the shard's cursor moves on.
    fn place_the_rest(
        &mut self,
        now: Timestamp,
        shard: Shard,
        cursor: u64,
        placed: &BTreeSet<SubscriptionId>,
    ) {
        for (id, outlet) in &self.outlets {
            let failing_since = match &outlet.state {
                State::Running => continue,
                State::Stopped(stopped) => Some(stopped.since),
                State::Off => None,
            };
            let key = (*id, shard);
            if placed.contains(id) || self.writes.positions.contains_key(&key) {
                continue;
            }
            let position = Position {
                subscription: *id,
                shard,
                seen: cursor,
                failing_since,
            };
            self.writes.positions.insert(key, Some(position));
            self.writes.mark(now);
        }
    }

    /// Takes up a delivery, which leads its line or waits for another of it.
    fn take_up_row(&mut self, row: &DeliveryRow, leads: bool) {
        let Some(outlet) = self.outlets.get_mut(&row.subscription) else {
            return;
        };
        match &mut outlet.state {
            State::Off => {}
            State::Stopped(stopped) => {
                let oldest = stopped.probe.as_ref();
                if leads
                    && oldest.is_none_or(|oldest| row.created_at < oldest.row.created_at)
                    && stopped.flight.is_none()
                    && !stopped.reading
                {
                    stopped.probe = Some(Probe {
                        shard: row.shard,
                        seq: row.seq,
                        line: row.line,
                        row: Row::read(row),
                        message: None,
                    });
                }
            }
            State::Running => {
                let track = outlet
                    .tracks
                    .entry(row.shard)
                    .or_insert_with(|| Track::new(Phase::Live { after: 0 }));
                let item = Item {
                    line: row.line,
                    message: None,
                    row: Some(Row::read(row)),
                    work: Work::Idle,
                };
                track.add(row.seq, item);
                outlet.rows += 1;
            }
        }
    }

    /// Begins with what a subscription has in a shard.
    fn begin(&mut self, now: Timestamp, id: SubscriptionId, shard: Shard) {
        let outlet = self.outlets.get(&id);
        let Some(track) = outlet.and_then(|outlet| outlet.tracks.get(&shard)) else {
            return;
        };
        let first: Vec<u64> = track
            .items
            .keys()
            .copied()
            .filter(|seq| track.is_first(*seq))
            .collect();
        for seq in first {
            self.activate(now, id, shard, seq);
        }
        self.read_on(id, shard);
        self.pump(now, id);
    }

    /// A stretch of what the last owner had not got done was read.
    pub(super) fn replay_read(&mut self, now: Timestamp, shard: Shard, slice: LogSlice) {
        let Some(reader) = self.replaying(shard) else {
            return;
        };
        reader.reading = false;
        let tail = std::mem::take(&mut reader.tail);
        let is_whole = !slice.has_more && !reader.hole;
        let mut seen = reader.seen;
        let rest = tail.into_iter().filter(|_| is_whole);
        for entry in slice.entries.into_iter().chain(rest) {
            if entry.view.seq > seen {
                seen = entry.view.seq;
                self.replayed(now, &entry);
            }
        }
        let seen = seen.max(slice.seen);
        if let Some(reader) = self.replaying(shard) {
            reader.seen = seen;
        }
        if is_whole {
            self.open(now, shard, seen);
        } else {
            self.want(Want::Replay(shard));
        }
    }

    fn replaying(&mut self, shard: Shard) -> Option<&mut Reader<crate::LogEntry>> {
        match &mut self.parts.get_mut(&shard)?.phase {
            PartPhase::Replaying(reader) => Some(reader),
            PartPhase::Opening | PartPhase::Open => None,
        }
    }

    /// From here on a shard is dispatched as its changes become durable.
    fn open(&mut self, now: Timestamp, shard: Shard, seen: u64) {
        if let Some(part) = self.parts.get_mut(&shard) {
            part.phase = PartPhase::Open;
            part.seen = seen;
        }
        self.writes.parts.insert(shard);
        self.writes.mark(now);
        let behind = self.outlets.iter().filter(|(_, outlet)| {
            let track = outlet.tracks.get(&shard);
            track.is_some_and(|track| matches!(track.phase, Phase::Behind(_)))
        });
        let behind: Vec<SubscriptionId> = behind.map(|(id, _)| *id).collect();
        for id in behind {
            self.read_on(id, shard);
        }
        self.pump_starved(now);
    }

    /// Where a subscription stands in a shard is known: it goes on from there.
    pub(super) fn state_read(
        &mut self,
        now: Timestamp,
        id: SubscriptionId,
        shard: Shard,
        state: &SubscriptionState,
    ) {
        let (Some(outlet), Some(part)) = (self.outlets.get_mut(&id), self.parts.get(&shard)) else {
            return;
        };
        let Some(track) = outlet.tracks.get_mut(&shard) else {
            return;
        };
        let Phase::Opening = track.phase else {
            return;
        };
        let is_opening = matches!(part.phase, PartPhase::Opening);
        if state.position.is_none() && is_opening {
            // It is found together with its shard.
            outlet.tracks.remove(&shard);
            return;
        }
        let seen = state.position.map_or(part.saved, |position| position.seen);
        track.own = true;
        track.stored = state.position;
        track.phase = if part.is_open() && seen >= part.seen {
            Phase::Live { after: seen }
        } else {
            Phase::Behind(Reader::new(seen))
        };
        for (row, leads) in in_lines(&state.open) {
            self.take_up_row(row, leads);
        }
        self.writes.moved.insert((id, shard));
        self.writes.mark(now);
        self.begin(now, id, shard);
    }
}

/// Goes through deliveries in order, and says which of them lead their lines: by the clock a later
/// one may look older, where the clock went back.
fn in_lines(rows: &[DeliveryRow]) -> impl Iterator<Item = (&DeliveryRow, bool)> {
    let mut ordered: Vec<&DeliveryRow> = rows.iter().collect();
    ordered.sort_by_key(|row| (row.subscription, row.shard, row.seq));
    let mut lines = BTreeSet::new();
    ordered
        .into_iter()
        .map(move |row| (row, lines.insert((row.subscription, row.shard, row.line))))
}
