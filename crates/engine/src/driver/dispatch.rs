//! The dispatcher: brings the changes of the log to subscriptions.
//!
//! A change that has become durable is matched once, in memory, and sent to whoever wants it.
//! Whoever is caught up with a shard costs nothing there; what was not taken at the first try is
//! a row; whoever falls behind has a position of its own and reads the log from there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wellspring_core::{
    DocumentId, IncarnationId, PatternIndex, Shard, SubscriptionId, TenantId, Timestamp, Verb,
};

use super::{Action, Limits};
use crate::dispatch::{LogEntry, Message, document_of};
use crate::{Entry, Lease, SubscriptionKind};

mod catchup;
mod endpoint;
mod gap;
mod keep;
mod outlet;
mod read;
mod reread;
mod save;
mod send;
mod table;
mod track;
mod wish;

use outlet::{Outlet, State};
use read::Want;
use save::Writes;
use send::Flight;
use track::{Phase, Reader, Track};

/// What an operator sees of the dispatcher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DispatchView {
    /// Subscriptions to which something is sent.
    pub live: usize,
    /// Subscriptions whose endpoint fails.
    pub failing: usize,
    /// Subscriptions that read the log to catch up.
    pub catching_up: usize,
    /// Deliveries in memory that were not taken at the first try and are still open.
    pub open_rows: usize,
    /// Messages in flight.
    pub in_flight: usize,
}

/// Brings the changes of the log to subscriptions; see the module.
#[derive(Debug)]
pub(super) struct Dispatcher<T> {
    incarnation: IncarnationId,
    limits: Limits,
    rng: ChaCha8Rng,
    /// Whose changes are wanted by whom.
    interests: BTreeMap<TenantId, PatternIndex<SubscriptionId>>,
    outlets: BTreeMap<SubscriptionId, Outlet>,
    parts: BTreeMap<Shard, Part>,
    flights: BTreeMap<u64, Flight<T>>,
    /// Probes in flight.
    probing: usize,
    /// The number of the last call or read.
    numbers: u64,
    reads: BTreeMap<u64, Want<T>>,
    wants: std::collections::VecDeque<Want<T>>,
    failed_reads: BTreeMap<u64, Want<T>>,
    /// Reads that wait until what they would miss is durable.
    barred: BTreeMap<u64, Vec<Want<T>>>,
    /// Messages that are given up, by the generation of writes that says so.
    given_up: BTreeMap<u64, Vec<track::Place>>,
    timers: BTreeSet<(Timestamp, Alarm)>,
    /// Subscriptions that had something to send when nothing more could be.
    starved: BTreeSet<SubscriptionId>,
    last_starved: Option<SubscriptionId>,
    /// Whether the database takes nothing.
    stalled: bool,
    writes: Writes,
    found: Vec<SubscriptionId>,
    actions: Vec<Action<T>>,
    answered: Vec<wish::Settled<T>>,
    pub(super) counted: Counted,
}

/// What happened since the dispatcher began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) lookups: u64,
    pub(super) log_reads: u64,
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) exhausted: u64,
}

/// A shard of this node.
#[derive(Debug)]
pub(super) struct Part {
    phase: PartPhase,
    /// The last place that is known to be durable.
    end: u64,
    /// The last place that was matched, once it is open.
    seen: u64,
    /// Its cursor as the store has it.
    saved: u64,
    /// Places that somebody without a position of its own has not taken yet.
    undone: BTreeMap<u64, Vec<SubscriptionId>>,
    draining: bool,
}

#[derive(Debug)]
enum PartPhase {
    /// How far it is dispatched is being read.
    Opening,
    /// What the last owner had not got done is read from the log.
    Replaying(Reader<LogEntry>),
    /// What becomes durable is matched as it comes.
    Open,
}

/// What is due at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// An open delivery is tried again.
    Row(SubscriptionId, Shard, u64),
    /// An endpoint is probed.
    Probe(SubscriptionId),
    /// A read that failed is tried again.
    Read(u64),
}

impl<T> Dispatcher<T> {
    pub(super) fn new(incarnation: IncarnationId, limits: Limits, seed: u64) -> Self {
        Self {
            incarnation,
            limits,
            rng: ChaCha8Rng::seed_from_u64(seed),
            interests: BTreeMap::new(),
            outlets: BTreeMap::new(),
            parts: BTreeMap::new(),
            flights: BTreeMap::new(),
            probing: 0,
            numbers: 0,
            reads: BTreeMap::new(),
            wants: std::collections::VecDeque::new(),
            failed_reads: BTreeMap::new(),
            barred: BTreeMap::new(),
            given_up: BTreeMap::new(),
            timers: BTreeSet::new(),
            starved: BTreeSet::new(),
            last_starved: None,
            stalled: false,
            writes: Writes::default(),
            found: Vec::new(),
            actions: Vec::new(),
            answered: Vec::new(),
            counted: Counted::default(),
        }
    }

    /// Takes shards on; each is read before anything of it is sent.
    pub(super) fn leased(&mut self, leases: &[Lease]) {
        for lease in leases {
            let part = Part {
                phase: PartPhase::Opening,
                end: lease.next_seq.saturating_sub(1),
                seen: 0,
                saved: 0,
                undone: BTreeMap::new(),
                draining: false,
            };
            self.parts.insert(lease.shard, part);
            self.want(Want::Part(lease.shard));
        }
    }

    /// Begins nothing more in a shard, and has what is known of it kept.
    pub(super) fn drain(&mut self, now: Timestamp, shards: &[Shard]) {
        for shard in shards {
            if let Some(part) = self.parts.get_mut(shard) {
                part.draining = true;
                self.writes.parts.insert(*shard);
                self.writes.due = Some(now);
            }
        }
    }

    /// Forgets a shard.
    pub(super) fn release(&mut self, shard: Shard) {
        self.parts.remove(&shard);
        self.writes.parts.remove(&shard);
        self.writes.joining.retain(|(_, of)| *of != shard);
        for outlet in self.outlets.values_mut() {
            if let Some(track) = outlet.tracks.remove(&shard) {
                let rows = track.items.values().filter(|item| item.row.is_some());
                outlet.rows = outlet.rows.saturating_sub(rows.count());
            }
            if let State::Stopped(stopped) = &mut outlet.state
                && stopped
                    .probe
                    .as_ref()
                    .is_some_and(|probe| probe.shard == shard)
            {
                stopped.probe = None;
                stopped.reading = false;
                let alarm = Alarm::Probe(outlet.subscription.id);
                self.timers.insert((Timestamp::MIN, alarm));
            }
        }
        self.forget_reads(|want| want.shard() == Some(shard));
    }

    /// Takes in entries that have just become durable, in order per shard.
    pub(super) fn entries(&mut self, now: Timestamp, entries: &[Entry]) {
        let mut touched = BTreeSet::new();
        for entry in entries {
            let Some(part) = self.parts.get_mut(&entry.shard) else {
                continue;
            };
            part.end = part.end.max(entry.seq);
            match &mut part.phase {
                PartPhase::Opening => {}
                PartPhase::Replaying(reader) => reader.note(LogEntry::of(entry)),
                PartPhase::Open => self.entry(now, entry, &mut touched),
            }
        }
        for id in touched {
            self.pump(now, id);
        }
    }

    fn entry(&mut self, now: Timestamp, entry: &Entry, touched: &mut BTreeSet<SubscriptionId>) {
        let Some(part) = self.parts.get_mut(&entry.shard) else {
            return;
        };
        if entry.seq <= part.seen {
            return;
        }
        part.seen = entry.seq;
        if part.seen - part.saved > CURSOR_LAG {
            self.writes.parts.insert(entry.shard);
        }
        self.counted.lookups += 1;
        let Some(index) = self.interests.get(&entry.tenant) else {
            return;
        };
        let mut found = std::mem::take(&mut self.found);
        let path = entry.change.subject.to_string();
        index.matching(entry.change.verb, &path, &mut found);
        let mut message = None;
        for id in &found {
            if !self.is_wanted(*id, entry.change.verb, document_of(entry)) {
                continue;
            }
            let message = message.get_or_insert_with(|| {
                let entry = LogEntry::of(entry);
                Arc::new(Message::of(&entry))
            });
            self.offer(now, *id, message);
            touched.insert(*id);
        }
        self.found = found;
    }

    /// Matches an entry that was read from the log when the shard was taken.
    fn replayed(&mut self, now: Timestamp, entry: &LogEntry) {
        let Some(index) = self.interests.get(&entry.tenant) else {
            return;
        };
        let mut found = std::mem::take(&mut self.found);
        index.matching(entry.view.verb, &entry.view.path, &mut found);
        let mut message = None;
        for id in &found {
            if self.is_wanted(*id, entry.view.verb, entry.document) {
                let message = message.get_or_insert_with(|| Arc::new(Message::of(entry)));
                self.offer(now, *id, message);
                self.starved.insert(*id);
            }
        }
        self.found = found;
    }

    fn is_wanted(&self, id: SubscriptionId, verb: Verb, document: Option<DocumentId>) -> bool {
        self.outlets.get(&id).is_some_and(|outlet| {
            outlet.is_running() && suits(outlet.subscription.kind, verb, document)
        })
    }

    /// Gives a message to a subscription, or leaves it to the log.
    fn offer(&mut self, now: Timestamp, id: SubscriptionId, message: &Arc<Message>) {
        let (shard, seq) = (message.shard, message.seq);
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let track = outlet
            .tracks
            .entry(shard)
            .or_insert_with(|| Track::new(Phase::Live { after: 0 }));
        match &mut track.phase {
            Phase::Opening => {}
            Phase::Behind(reader) => reader.note(Arc::clone(message)),
            Phase::Live { after } if seq <= *after => {}
            Phase::Live { .. } => {
                let full = track.fresh.len() >= PAGE
                    || (outlet.rows >= ROWS && track.is_held_up(&message.line));
                if full {
                    self.fall_behind(now, id, shard, seq.saturating_sub(1));
                } else {
                    self.take_in(now, id, message);
                }
            }
        }
    }

    /// Has a subscription read the log from here on: it takes messages too slowly to be given them.
    fn fall_behind(&mut self, now: Timestamp, id: SubscriptionId, shard: Shard, seen: u64) {
        self.separate(id, shard);
        let outlet = self.outlets.get_mut(&id);
        if let Some(track) = outlet.and_then(|outlet| outlet.tracks.get_mut(&shard)) {
            track.phase = Phase::Behind(Reader::new(seen));
        }
        self.writes.moved.insert((id, shard));
        self.writes.mark(now);
        self.read_on(id, shard);
    }

    /// Does what is due; changes what [`Self::next_wakeup`] says.
    pub(super) fn tick(&mut self, now: Timestamp) {
        while let Some((at, alarm)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match alarm {
                Alarm::Row(id, shard, seq) => self.row_due(now, id, shard, seq),
                Alarm::Probe(id) => self.probe_due(now, id),
                Alarm::Read(number) => {
                    if let Some(want) = self.failed_reads.remove(&number) {
                        self.want(want);
                    }
                }
            }
        }
        self.read_next();
    }

    /// Returns when [`Self::tick`] is needed next.
    pub(super) fn next_wakeup(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Keeps everything still while the database takes nothing.
    pub(super) const fn stall(&mut self) {
        self.stalled = true;
    }

    /// Hands over all that is to be done.
    pub(super) fn actions(&mut self, actions: &mut Vec<Action<T>>) {
        self.read_next();
        actions.append(&mut self.actions);
    }

    /// Returns whether nothing is in flight, being read or to be written.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty()
            && self.reads.is_empty()
            && self.wants.is_empty()
            && self.barred.is_empty()
            && self.writes.is_empty()
    }

    /// Returns what an operator sees.
    pub(super) fn view(&self) -> DispatchView {
        let mut view = DispatchView {
            in_flight: self.flights.len(),
            ..DispatchView::default()
        };
        for outlet in self.outlets.values() {
            view.open_rows += outlet.rows;
            match &outlet.state {
                State::Off => continue,
                State::Stopped(_) => view.failing += 1,
                State::Running => {
                    let behind = |track: &Track| !matches!(track.phase, Phase::Live { .. });
                    view.catching_up += usize::from(outlet.tracks.values().any(behind));
                }
            }
            view.live += 1;
        }
        view
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl Part {
    const fn is_open(&self) -> bool {
        matches!(self.phase, PartPhase::Open)
    }

    /// Somebody has taken a message, or has a position of its own.
    fn done(&mut self, seq: u64, id: SubscriptionId) {
        if let Some(holders) = self.undone.get_mut(&seq) {
            holders.retain(|holder| *holder != id);
            if holders.is_empty() {
                self.undone.remove(&seq);
            }
        }
    }
}

/// Returns whether a subscription of this kind can be sent the change.
fn suits(kind: SubscriptionKind, verb: Verb, document: Option<DocumentId>) -> bool {
    match kind {
        SubscriptionKind::Webhook => true,
        SubscriptionKind::Documents => document.is_some() && verb == Verb::Created,
    }
}

/// Messages of one shard that one subscription has in memory, and entries that it reads at once.
const PAGE: usize = 200;
/// Open deliveries of one subscription, beyond which it takes no further message of a line that
/// is held up.
const ROWS: usize = 1_000;
/// Reads under way at once.
const READS: usize = 32;
/// How many entries that nobody wanted a shard's cursor may lag behind by.
const CURSOR_LAG: u64 = 1_000;
