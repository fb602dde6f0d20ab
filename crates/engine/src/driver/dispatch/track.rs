//! Where one subscription stands in one shard, and what is on its way to it from there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wellspring_core::{AnyId, Shard, SubscriptionId, TenantId, Timestamp};

use crate::dispatch::{DeliveryRow, DeliveryStatus, Message, Position};

/// One subscription in one shard. Where it is caught up and nothing is on its way there is none.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) phase: Phase,
    /// Whether the store has a position of its own for it; without one it stands where its shard does.
    pub(super) own: bool,
    /// The position as it was written last.
    pub(super) stored: Option<Position>,
    pub(super) items: BTreeMap<u64, Item>,
    /// What of `items` is kept in order, by line.
    pub(super) lines: BTreeMap<AnyId, BTreeSet<u64>>,
    /// What of `items` is in memory only: nothing after it may count as dealt with.
    pub(super) fresh: BTreeSet<u64>,
}

/// How a subscription comes by the changes of a shard.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its position is being read.
    Opening,
    /// It reads the log.
    Behind(Reader<Arc<Message>>),
    /// It is given what becomes durable after this place.
    Live { after: u64 },
}

/// Reads the log page by page until it meets what becomes durable meanwhile.
#[derive(Debug)]
pub(super) struct Reader<E> {
    /// The last place that was taken in.
    pub(super) seen: u64,
    /// Whether a read is wanted.
    pub(super) wanted: bool,
    /// Whether a read is under way.
    pub(super) reading: bool,
    /// What became durable since the read began.
    pub(super) tail: Vec<E>,
    /// Whether that was too much to keep.
    pub(super) hole: bool,
}

/// A message on its way to one subscription.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) line: AnyId,
    /// What is sent; a row that waits for its time has none.
    pub(super) message: Option<Arc<Message>>,
    /// How it is kept, once it was not taken at the first try.
    pub(super) row: Option<Row>,
    pub(super) work: Work,
}

/// What is being done about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing: it waits for its time or its line.
    Idle,
    /// It waits for a slot.
    Ready,
    /// It is being read.
    Reading,
    /// It is in flight, under this number.
    Flying(u64),
    /// It is given up, which is not durable yet.
    GivenUp,
}

/// An open delivery as it is kept.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) message_id: String,
    pub(super) created_at: Timestamp,
    pub(super) attempts: u16,
    pub(super) failures: u16,
    pub(super) due: Option<Timestamp>,
    /// Set where it is sent again although it had ended: nothing waits behind it.
    pub(super) replayed: Option<Timestamp>,
}

/// Where a delivery is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) subscription: SubscriptionId,
    pub(super) shard: Shard,
    pub(super) seq: u64,
}

impl Track {
    pub(super) const fn new(phase: Phase) -> Self {
        Self {
            phase,
            own: false,
            stored: None,
            items: BTreeMap::new(),
            lines: BTreeMap::new(),
            fresh: BTreeSet::new(),
        }
    }

    /// Returns the last place that needs no memory, in a shard that is dispatched up to `seen`.
    pub(super) fn standing(&self, seen: u64) -> u64 {
        match (self.fresh.first(), &self.phase) {
            (Some(first), _) => first.saturating_sub(1),
            (None, Phase::Opening) => 0,
            (None, Phase::Behind(reader)) => reader.seen,
            (None, Phase::Live { after }) => seen.max(*after),
        }
    }

    /// Returns whether messages of the line are rows: an earlier one was not taken.
    pub(super) fn is_held_up(&self, line: &AnyId) -> bool {
        let head = self.lines.get(line).and_then(BTreeSet::first);
        head.and_then(|seq| self.items.get(seq))
            .is_some_and(|item| item.row.is_some())
    }

    /// Adds a message to its line; returns whether it is the first of it.
    pub(super) fn add(&mut self, seq: u64, item: Item) -> bool {
        let is_free = item.is_free();
        let line = item.line;
        if item.row.is_none() {
            self.fresh.insert(seq);
        }
        self.items.insert(seq, item);
        if is_free {
            return true;
        }
        let line = self.lines.entry(line).or_default();
        line.insert(seq);
        line.first() == Some(&seq)
    }

    /// Takes a message away, and returns the next of its line.
    pub(super) fn remove(&mut self, seq: u64) -> Option<u64> {
        let item = self.items.remove(&seq)?;
        self.fresh.remove(&seq);
        if item.is_free() {
            return None;
        }
        let line = self.lines.get_mut(&item.line)?;
        let was_first = line.first() == Some(&seq);
        line.remove(&seq);
        let next = line.first().copied();
        if next.is_none() {
            self.lines.remove(&item.line);
        }
        next.filter(|_| was_first)
    }

    /// Returns whether it may begin: it is the first of its line, or in none.
    pub(super) fn is_first(&self, seq: u64) -> bool {
        self.items.get(&seq).is_some_and(|item| {
            item.is_free() || self.lines.get(&item.line).and_then(BTreeSet::first) == Some(&seq)
        })
    }

    /// Returns what of a line is in memory only.
    pub(super) fn fresh_of(&self, line: &AnyId) -> Vec<u64> {
        let line = self.lines.get(line).into_iter().flatten();
        line.copied()
            .filter(|seq| self.fresh.contains(seq))
            .collect()
    }
}

impl<E> Reader<E> {
    pub(super) const fn new(seen: u64) -> Self {
        Self {
            seen,
            wanted: false,
            reading: false,
            tail: Vec::new(),
            hole: false,
        }
    }

    pub(super) fn begin(&mut self) {
        self.wanted = false;
        self.reading = true;
        self.tail.clear();
        self.hole = false;
    }

    /// Keeps what became durable while a read is under way.
    pub(super) fn note(&mut self, entry: E) {
        if !self.reading || self.hole {
            return;
        }
        if self.tail.len() < super::PAGE {
            self.tail.push(entry);
        } else {
            self.tail.clear();
            self.hole = true;
        }
    }
}

impl Item {
    pub(super) fn fresh(message: Arc<Message>) -> Self {
        Self {
            line: message.line,
            message: Some(message),
            row: None,
            work: Work::Idle,
        }
    }

    /// Returns whether it is in no line.
    pub(super) fn is_free(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.replayed.is_some())
    }
}

impl Row {
    pub(super) fn of(message: &Message) -> Self {
        Self {
            message_id: message.id.clone(),
            created_at: message.at,
            attempts: 0,
            failures: 0,
            due: None,
            replayed: None,
        }
    }

    pub(super) fn read(row: &DeliveryRow) -> Self {
        Self {
            message_id: row.message_id.clone(),
            created_at: row.created_at,
            attempts: row.attempts,
            failures: row.failures,
            due: row.next_attempt_at,
            replayed: row.ended_at,
        }
    }

    /// Returns the row as it is kept while the delivery is open.
    pub(super) fn open(
        &self,
        place: Place,
        tenant: TenantId,
        line: AnyId,
        status: DeliveryStatus,
    ) -> DeliveryRow {
        DeliveryRow {
            subscription: place.subscription,
            tenant,
            shard: place.shard,
            seq: place.seq,
            line,
            message_id: self.message_id.clone(),
            status,
            attempts: self.attempts,
            failures: self.failures,
            created_at: self.created_at,
            next_attempt_at: self.due,
            ended_at: self.replayed,
        }
    }
}
