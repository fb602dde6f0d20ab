//! Shards: which this node writes, and how it comes by them and lets them go.

use std::collections::BTreeSet;
use std::time::Duration;

use wellspring_core::{Shard, Timestamp};

use super::{Action, Answer, Busy, Driver, Entry, Event, Held, Phase, Place, Timer, Waiting};
use crate::{Aggregate, Lease, Live};

/// A shard that this incarnation writes.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) epoch: u64,
    pub(super) next_seq: u64,
    /// Unfinished aggregates in it.
    pub(super) live: u64,
    /// Whether its live aggregates are known.
    pub(super) scanned: bool,
    /// Whether it is being given up: nothing new begins in it.
    pub(super) draining: bool,
    /// When attempts on its connections are ended, if it is being given up: they may take for ever.
    pub(super) patience: Option<Timestamp>,
}

impl<T> Driver<T> {
    /// Returns the shards that it owns.
    pub fn shards(&self) -> impl Iterator<Item = Shard> + '_ {
        self.leases.keys().copied()
    }

    /// Returns the shards that it owns and is not giving up, with their epochs.
    pub fn held(&self) -> impl Iterator<Item = (Shard, u64)> + '_ {
        let kept = self.leases.iter().filter(|(_, owned)| !owned.draining);
        kept.map(|(shard, owned)| (*shard, owned.epoch))
    }

    /// Returns the shards that it owns and is not giving up.
    pub fn kept_shards(&self) -> usize {
        self.leases.values().filter(|owned| !owned.draining).count()
    }

    pub(super) fn leased(&mut self, leases: Vec<Lease>) {
        for Lease {
            shard,
            epoch,
            next_seq,
        } in leases
        {
            let owned = Owned {
                epoch,
                next_seq,
                live: 0,
                scanned: false,
                draining: false,
                patience: None,
            };
            self.leases.insert(shard, owned);
        }
    }

    pub(super) fn scanned(&mut self, now: Timestamp, rows: Vec<Live>, done: bool) {
        let mut touched = BTreeSet::new();
        self.wheel.reserve(rows.len());
        for Live {
            id,
            due,
            since,
            lane,
            tenant,
            awaited,
        } in rows
        {
            let Some(owned) = self.leases.get_mut(&id.shard()) else {
                continue;
            };
            owned.live += u64::from(matches!(id, Aggregate::Collection(_)));
            let line = self.line(tenant, awaited);
            if due > now || lane == wellspring_core::Lane::ALARM {
                let place = Place { lane, line, since };
                self.wheel.push(Timer::new(due, id, place));
            } else {
                self.gate(lane).queue.insert(Entry { line, since, id });
                touched.insert(lane);
            }
        }
        if done {
            for owned in self.leases.values_mut() {
                owned.scanned = true;
            }
            self.ready = true;
            self.open_shards = self.minting_shards();
            self.tick_sources(now);
        }
        for lane in touched {
            self.pump(now, lane);
        }
    }

    pub(super) fn drain(&mut self, now: Timestamp, shards: &[Shard]) {
        for shard in shards {
            if let Some(owned) = self.leases.get_mut(shard) {
                owned.draining = true;
                owned.patience.get_or_insert_with(|| now.after(PATIENCE));
            }
        }
        self.open_shards = self.minting_shards();
    }

    /// Ends the attempts of draining shards that took too long: the next owner makes them again.
    pub(super) fn end_attempts(&mut self, now: Timestamp) {
        let mut late = BTreeSet::new();
        for (shard, owned) in &mut self.leases {
            if owned.patience.is_some_and(|until| until <= now) {
                owned.patience = Some(now.after(PATIENCE));
                late.insert(*shard);
            }
        }
        let flying: Vec<Aggregate> = self
            .residents
            .iter()
            .filter(|(id, resident)| {
                late.contains(&id.shard())
                    && resident.phase == Phase::Flying
                    && matches!(resident.held, Held::Connection { .. })
            })
            .map(|(id, _)| *id)
            .collect();
        for id in flying {
            if let Some(resident) = self.residents.remove(&id) {
                self.land(&resident.held);
            }
        }
    }

    /// Gives up the draining shards that have nothing under way any more.
    pub(super) fn release_drained(&mut self) {
        if self.leases.len() == self.kept_shards() {
            return;
        }
        let busy: BTreeSet<Shard> = self
            .residents
            .iter()
            .filter(|(_, resident)| resident.phase != Phase::Queued)
            .map(|(id, _)| id.shard())
            .chain(self.loading.keys().map(|id| id.shard()))
            .chain(self.erasing.iter().map(|id| id.shard()))
            .collect();
        let batched = |shard: Shard| {
            let committing = self.committing.iter().flat_map(|batch| &batch.steps);
            committing
                .chain(&self.pending)
                .any(|step| step.shard() == shard)
        };
        let drained: Vec<Shard> = self
            .leases
            .iter()
            .filter(|(shard, owned)| owned.draining && !busy.contains(shard) && !batched(**shard))
            .filter(|(shard, _)| !self.is_dispatching(**shard))
            .map(|(shard, _)| *shard)
            .collect();
        if drained.is_empty() {
            return;
        }
        for shard in &drained {
            self.leases.remove(shard);
            self.dispatcher.release(*shard);
        }
        let queued = self.queued_residents;
        let leases = &self.leases;
        self.erasures
            .retain(|id, _| leases.contains_key(&id.shard()));
        let before = self.residents.len();
        self.residents
            .retain(|id, _| leases.contains_key(&id.shard()));
        self.queued_residents = queued.saturating_sub(before - self.residents.len());
        self.actions.push(Action::Release(drained));
    }

    /// Ends the incarnation: somebody else has its shards.
    pub(super) fn fence(&mut self) {
        self.dead = true;
        self.ready = false;
        let committing = self
            .committing
            .take()
            .map(|batch| batch.steps)
            .unwrap_or_default();
        let steps: Vec<_> = committing
            .into_iter()
            .chain(self.pending.drain(..))
            .collect();
        for step in steps {
            if let Some(origin) = step.origin {
                self.answer(origin, Answer::Busy(Busy::NotReady));
            }
        }
        let waiting: Vec<_> = self
            .waiting
            .drain()
            .flat_map(|(_, waiting)| waiting)
            .collect();
        for one in waiting {
            match one {
                Waiting::Command(command) => {
                    self.answer(command.origin, Answer::Busy(Busy::NotReady));
                }
                Waiting::Ran(..) => {}
                Waiting::Reported(_, _, caller) => {
                    self.actions.push(Action::Reply(caller, Answer::Ended));
                }
            }
        }
        self.end_dispatching();
        self.actions.push(Action::Fenced);
    }

    pub(super) fn refuse_dead(&mut self, event: Event<T>) {
        match event {
            Event::Command(command) => {
                self.answer(command.origin, Answer::Busy(Busy::NotReady));
            }
            Event::Reported(_, _, caller) | Event::Calling(_, _, caller) => {
                self.actions.push(Action::Reply(caller, Answer::Ended));
            }
            Event::Leased(_)
            | Event::Scanned { .. }
            | Event::Drain(_)
            | Event::Loaded { .. }
            | Event::LoadFailed(_)
            | Event::Committed(..)
            | Event::Resolved(..)
            | Event::Fetched(..)
            | Event::Delivered(..)
            | Event::Ran(..)
            | Event::Heard(..)
            | Event::Children(..)
            | Event::Sources(_)
            | Event::Kept(_)
            | Event::Spent(..)
            | Event::Sent(..)
            | Event::Read(..)
            | Event::Subscriptions { .. }
            | Event::Tenants(_)
            | Event::Tick => {}
        }
    }

    fn minting_shards(&self) -> Vec<Shard> {
        let open = self
            .leases
            .iter()
            .filter(|(_, owned)| owned.scanned && !owned.draining);
        open.map(|(shard, _)| *shard).collect()
    }
}

/// How long attempts may go on in a shard that is being given up.
const PATIENCE: Duration = Duration::from_secs(10);
