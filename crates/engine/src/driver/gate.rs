//! Gates: how many calls of one lane are in flight, and what waits for a slot.

use wellspring_core::budget::{Ledger, Standing};
use wellspring_core::source::Hold;
use wellspring_core::{
    Breaker, CallResult, Incident, Lane, Phase as BreakerPhase, SourceName, Timestamp,
};

use super::limit::LimitView;
use super::queue::Queue;
use super::{Driver, Entry, LoadFor, Phase, Place};
use crate::Aggregate;

/// The slots, queue and breaker of one lane.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) in_flight: u32,
    pub(super) queue: Queue,
    pub(super) breaker: Breaker,
    /// Set by the far side's own word, or after a failed read.
    pub(super) paused_until: Option<Timestamp>,
    pub(super) wake: Option<Timestamp>,
    /// What was spent of the source's budget, as the last commit told.
    pub(super) ledger: Ledger,
    /// Slots that are taken for calls which have not begun.
    pub(super) reserved: u32,
}

/// What an operator sees of one source's lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneView {
    /// The source.
    pub source: SourceName,
    /// Calls in flight.
    pub in_flight: u32,
    /// Collections and connections that wait for a slot.
    pub queued: usize,
    /// Since when the oldest of them waits: for a collection since its stage began, for a
    /// connection since it was due.
    pub oldest: Option<Timestamp>,
    /// Whether calls go out.
    pub breaker: BreakerPhase,
    /// Until when the source wants no calls.
    pub paused_until: Option<Timestamp>,
    /// When the next call may begin, where it may not now: the source's word or a spent budget.
    pub next_allowed_at: Option<Timestamp>,
    /// How the windows of its budget stand.
    pub budget: Vec<Standing>,
    /// How the limits for parts of its calls stand.
    pub limits: Vec<LimitView>,
    /// What keeps scheduled calls back.
    pub hold: Option<Hold>,
    /// The incident that goes on.
    pub incident: Option<Incident>,
}

impl<T> Driver<T> {
    /// Returns the lanes of the configured sources.
    pub fn lanes(&self) -> Vec<LaneView> {
        let view = |source: &crate::Source| {
            let gate = self.gates.get(&Lane::source(&source.name));
            let budget = gate.map_or_else(
                || Ledger::new(&source.budget).standings(self.now),
                |gate| gate.standings(self.now, &source.budget),
            );
            let paused_until = gate
                .and_then(|gate| gate.paused_until)
                .filter(|until| *until > self.now);
            let spent = budget.iter().filter(|window| window.left == 0);
            let released = spent.filter_map(|window| window.next_release).max();
            LaneView {
                source: source.name.clone(),
                in_flight: gate.map_or(0, |gate| gate.in_flight),
                queued: gate.map_or(0, |gate| gate.queue.len()),
                oldest: gate
                    .and_then(|gate| gate.queue.oldest())
                    .map(|entry| entry.since),
                breaker: gate.map_or(BreakerPhase::Closed, |gate| gate.breaker.phase()),
                paused_until,
                next_allowed_at: paused_until
                    .max(released)
                    .max(self.shut_by_limit(self.now, Lane::source(&source.name))),
                budget,
                limits: self.limit_views(source),
                hold: self.hold_of(Lane::source(&source.name)),
                incident: self.incident_of(Lane::source(&source.name)),
            }
        };
        self.sources.iter().map(view).collect()
    }

    pub(super) fn gate(&mut self, lane: Lane) -> &mut Gate {
        self.gates.entry(lane).or_default()
    }

    /// Returns how many calls the lane allows when all is well.
    pub(super) fn concurrency(&self, lane: Lane) -> u32 {
        if lane.is_receiver() {
            return self.limits.receiver_concurrency;
        }
        self.sources
            .by_lane(lane)
            .map_or(0, |source| source.concurrency)
    }

    /// Returns whether a call of the lane may begin now.
    pub(super) fn has_slot(&mut self, now: Timestamp, lane: Lane) -> bool {
        let full = self.concurrency(lane);
        if self.is_saturated() {
            self.starved.insert(lane);
            return false;
        }
        if self.is_shut(lane) || self.shut_by_limit(now, lane).is_some() {
            return false;
        }
        let budget = self.budget(lane);
        let gate = self.gate(lane);
        let is_paused = gate.paused_until.is_some_and(|until| until > now);
        if is_paused || gate.not_before(now, budget.as_deref()).is_some() {
            return false;
        }
        gate.paused_until = None;
        gate.in_flight < gate.breaker.limit(now, full)
    }

    /// Returns whether no call of any lane may begin: all slots of the node are taken, or what
    /// came of earlier calls waits in memory for the database.
    pub fn is_saturated(&self) -> bool {
        let committing = self
            .committing
            .as_ref()
            .map_or(0, |batch| batch.steps.len());
        let waiting = self.pending.len() + committing;
        self.in_flight >= self.limits.in_flight
            || self.retry.is_some()
            || waiting >= self.limits.commands.max(self.limits.batch_steps)
    }

    /// Takes a slot; returns whether the call is a probe.
    pub(super) fn take_slot(&mut self, lane: Lane) -> bool {
        self.in_flight += 1;
        let limited = self.budget(lane).is_some();
        let gate = self.gate(lane);
        gate.in_flight += 1;
        gate.reserved += u32::from(limited);
        let probe = gate.breaker.started();
        self.counters.probes += u64::from(probe);
        probe
    }

    /// Gives a slot back without having called anybody.
    pub(super) fn return_slot(&mut self, lane: Lane, probe: bool) {
        let gate = self.gate(lane);
        gate.reserved = gate.reserved.saturating_sub(1);
        self.free_slot(lane, probe);
    }

    /// Notes that the call of a slot does not have to be spent after all.
    pub(super) fn unreserve(&mut self, lane: Lane) {
        let gate = self.gate(lane);
        gate.reserved = gate.reserved.saturating_sub(1);
    }

    /// Gives a slot back whose call tells nothing any more; others may have waited for it.
    pub(super) fn free_slot(&mut self, lane: Lane, probe: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let gate = self.gate(lane);
        gate.in_flight = gate.in_flight.saturating_sub(1);
        if probe {
            gate.breaker.probe_lost();
        }
        self.freed.insert(lane);
    }

    /// Lets those on who wait for slots that were given back without a result.
    pub(super) fn pump_freed(&mut self, now: Timestamp) {
        if self.freed.is_empty() {
            return;
        }
        while let Some(lane) = self.freed.pop_first() {
            self.pump(now, lane);
        }
        self.pump_starved(now);
    }

    /// Gives a slot back after a call, of which nothing may be known but that it is over.
    pub(super) fn end_call(
        &mut self,
        now: Timestamp,
        lane: Lane,
        probe: bool,
        result: Option<CallResult>,
    ) {
        let Some(result) = result else {
            self.free_slot(lane, probe);
            return;
        };
        let full = self.concurrency(lane);
        self.in_flight = self.in_flight.saturating_sub(1);
        let gate = self.gates.entry(lane).or_default();
        gate.in_flight = gate.in_flight.saturating_sub(1);
        gate.breaker.ended(now, result, probe, full, &mut self.rng);
        self.watch_call(now, lane, probe, result);
    }

    /// Keeps the lane still until `until`.
    pub(super) fn pause(&mut self, now: Timestamp, lane: Lane, until: Timestamp) {
        // Whatever a source says, it is asked again some day.
        let until = until.min(now.after(LONGEST_PAUSE));
        let gate = self.gate(lane);
        gate.paused_until = gate.paused_until.max(Some(until));
    }

    /// Starts what the lane has slots for, and notes when to look again.
    pub(super) fn pump(&mut self, now: Timestamp, lane: Lane) {
        self.give_up_expired(now, lane);
        while !self.gate(lane).queue.is_empty() && self.has_slot(now, lane) {
            let Some(entry) = self.gate(lane).take_next() else {
                break;
            };
            self.start_queued(now, lane, entry);
        }
        self.note_wake(now, lane);
    }

    pub(super) fn pump_all(&mut self, now: Timestamp) {
        let lanes: Vec<Lane> = self.gates.keys().copied().collect();
        for lane in lanes {
            self.pump(now, lane);
        }
    }

    /// Lets lanes on that had work when the node could take none: one call each, in turn, so
    /// that a lane that ends calls does not keep their slots for itself.
    pub(super) fn pump_starved(&mut self, now: Timestamp) {
        while !self.is_saturated() {
            let after = (
                std::ops::Bound::Excluded(self.last_starved),
                std::ops::Bound::Unbounded,
            );
            let next = self
                .starved
                .range(after)
                .next()
                .or_else(|| self.starved.first());
            let Some(lane) = next.copied() else { break };
            self.starved.remove(&lane);
            self.last_starved = lane;
            self.give_up_expired(now, lane);
            if self.has_slot(now, lane)
                && let Some(entry) = self.gate(lane).take_next()
            {
                self.start_queued(now, lane, entry);
            }
            if !self.gate(lane).queue.is_empty() && self.has_slot(now, lane) {
                self.starved.insert(lane);
            }
            self.note_wake(now, lane);
        }
    }

    /// Returns whether the aggregate in memory waits for this lane in this stage; a queue may
    /// still have an entry of an earlier one.
    fn is_queued_for(&self, id: Aggregate, lane: Lane, since: Timestamp) -> bool {
        let collection = self
            .residents
            .get(&id)
            .and_then(|one| one.held.collection());
        collection.is_some_and(|collection| {
            let wanted = collection.next_wakeup().map(|(_, lane)| lane);
            wanted == Some(lane) && collection.stage_began() == Some(since)
        })
    }

    fn start_queued(&mut self, now: Timestamp, lane: Lane, entry: Entry) {
        let Entry { line, since, id } = entry;
        let place = Place { lane, line, since };
        let Some(owned) = self.leases.get(&id.shard()) else {
            return;
        };
        if owned.draining || self.erasing.contains(&id) {
            return;
        }
        if self.loading.contains_key(&id) {
            // What it is read for may leave it as it is.
            self.look_again(now, id, place);
            return;
        }
        match self.residents.get(&id).map(|resident| resident.phase) {
            Some(Phase::Queued) if !self.is_queued_for(id, lane, since) => {}
            Some(Phase::Queued) => {
                self.queued_residents = self.queued_residents.saturating_sub(1);
                if self.is_spent(now, id) {
                    self.give_up(now, id);
                    return;
                }
                let probe = self.take_slot(lane);
                self.start(now, lane, id, probe);
            }
            // It is being stepped; what comes of that queues it again.
            Some(Phase::Committing | Phase::Flying) => {}
            None => {
                let probe = self.take_slot(lane);
                self.load(id, LoadFor::Start { place, probe });
            }
        }
    }

    /// Returns whether an aggregate in memory is past the give-up time of its own source.
    pub(super) fn is_spent(&self, now: Timestamp, id: Aggregate) -> bool {
        let collection = self
            .residents
            .get(&id)
            .and_then(|one| one.held.collection());
        collection.is_some_and(|collection| {
            let policy = self.sources.policy(&collection.source);
            collection.gives_up_at(&policy).is_some_and(|at| at <= now)
        })
    }

    /// Work that waited past its give-up time ends without a call, however long the lane stays shut.
    fn give_up_expired(&mut self, now: Timestamp, lane: Lane) {
        let longest = self.give_up_after(lane);
        while let Some(Entry { line, since, id }) = self.gate(lane).queue.oldest() {
            // A connection that is late is fetched however late it is.
            if since.after(longest) > now || !matches!(id, Aggregate::Collection(_)) {
                break;
            }
            self.gate(lane).queue.take_oldest();
            let place = Place { lane, line, since };
            let known = self.erasing.contains(&id) || !self.leases.contains_key(&id.shard());
            match self.residents.get(&id).map(|resident| resident.phase) {
                Some(Phase::Queued) if !self.is_queued_for(id, lane, since) => {}
                Some(Phase::Queued) => {
                    self.queued_residents = self.queued_residents.saturating_sub(1);
                    self.give_up(now, id);
                }
                Some(Phase::Committing | Phase::Flying) => {}
                None if known => {}
                None if self.loading.contains_key(&id) => self.look_again(now, id, place),
                None => self.load(id, LoadFor::GiveUp(place)),
            }
        }
    }

    fn give_up_after(&self, lane: Lane) -> std::time::Duration {
        let source = self.sources.by_lane(lane).filter(|_| !lane.is_receiver());
        source.map_or_else(
            || self.sources.longest_give_up(),
            |source| source.policy.give_up_after,
        )
    }

    fn note_wake(&mut self, now: Timestamp, lane: Lane) {
        let longest = self.give_up_after(lane);
        let concurrency = self.concurrency(lane);
        let budget = self.budget(lane);
        let limited = self.shut_by_limit(now, lane);
        let gate = self.gates.entry(lane).or_default();
        // What is reserved and has not begun pumps the lane when it does.
        let refilled = gate
            .not_before(now, budget.as_deref())
            .filter(|at| *at < Timestamp::MAX);
        let wake = gate.queue.oldest().and_then(|Entry { since, id, .. }| {
            let give_up = matches!(id, Aggregate::Collection(_)).then(|| since.after(longest));
            // What has passed already waits for a slot, whose end pumps the lane.
            let open = gate
                .paused_until
                .max(refilled)
                .max(limited)
                .or_else(|| gate.breaker.next_probe().filter(|_| concurrency > 0))
                .filter(|at| *at > now);
            [open, give_up].into_iter().flatten().min()
        });
        if gate.wake != wake {
            if let Some(old) = gate.wake {
                self.gate_wakes.remove(&(old, lane));
            }
            if let Some(new) = wake {
                self.gate_wakes.insert((new, lane));
            }
            gate.wake = wake;
        }
        // A receiver that nobody waits for costs no memory.
        if gate.in_flight == 0
            && gate.queue.is_empty()
            && gate.paused_until.is_none()
            && gate.ledger.is_quiet(now)
            && gate.reserved == 0
            && gate.breaker.is_quiet()
        {
            self.gates.remove(&lane);
        }
    }
}

impl Gate {
    /// Takes out whose turn it is; while calls are probes, who has waited longest.
    fn take_next(&mut self) -> Option<Entry> {
        match self.breaker.phase() {
            BreakerPhase::Open { .. } => self.queue.take_oldest(),
            BreakerPhase::Closed | BreakerPhase::Ramping { .. } => self.queue.take_next(),
        }
    }
}

/// How long one answer can keep a lane still.
const LONGEST_PAUSE: std::time::Duration = std::time::Duration::from_secs(31 * 86_400);
