//! Group commit: what gathers while one commit is under way becomes the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wellspring_core::budget::{Spends, Spent};
use wellspring_core::{Lane, RetryPolicy, Shard, State, TenantId, Timestamp};

use super::budget::Wanted;
use super::queue::Place;
use super::{
    Action, Answer, Busy, Committing, Driver, Held, Origin, Phase, Retry, Step, Timer, Waiting,
};
use crate::unclassified::Gathered;
use crate::{Aggregate, Batch, Before, CommitError, DispatchWrites, Entry, KeyRow, Write};

impl<T> Driver<T> {
    /// Hands the gathered steps to the store unless a commit is under way.
    pub(super) fn close_batch(&mut self) {
        if self.dead || self.committing.is_some() {
            return;
        }
        let probing = match &self.retry {
            Some(retry) if !retry.due => return,
            Some(_) => true,
            None => false,
        };
        // While the database is away an empty batch asks whether it is back.
        let is_empty = self.pending.is_empty() && !probing;
        if is_empty && !self.dispatcher.is_save_due(self.now) {
            return;
        }
        let dispatch = self.dispatcher.take_writes(self.now);
        if is_empty && dispatch.is_empty() {
            return;
        }
        // What the dispatcher writes counts, but never keeps steps out altogether.
        let least = self.limits.batch_steps.div_ceil(4);
        let most = self.limits.batch_steps.saturating_sub(dispatch.len());
        let most = most.max(least);
        let mut steps = Vec::with_capacity(self.pending.len().min(most));
        let mut bytes = dispatch.bytes();
        while steps.len() < most && (bytes < self.limits.batch_bytes || steps.is_empty()) {
            let Some(step) = self.pending.pop_front() else {
                break;
            };
            bytes += step.write.as_ref().map_or(0, Write::bytes);
            steps.push(step);
        }
        self.batch_number += 1;
        let (mut batch, next_seqs) = self.batch(&steps, dispatch);
        batch.spends = self.spends(&steps);
        let batch = Arc::new(batch);
        self.committing = Some(Committing {
            number: self.batch_number,
            steps,
            next_seqs,
            batch: Arc::clone(&batch),
        });
        self.actions.push(Action::Commit(batch));
    }

    fn batch(&self, steps: &[Step<T>], dispatch: DispatchWrites) -> (Batch, BTreeMap<Shard, u64>) {
        let mut next_seqs: BTreeMap<Shard, u64> = BTreeMap::new();
        let mut batch = Batch {
            incarnation: self.incarnation,
            number: self.batch_number,
            epochs: Vec::new(),
            writes: Vec::with_capacity(steps.len()),
            entries: Vec::with_capacity(steps.len()),
            keys: Vec::new(),
            consumed: Vec::new(),
            unclassified: Vec::new(),
            dispatch,
            spends: Spends::default(),
        };
        let mut unclassified = Gathered::default();
        for step in steps {
            if let Some(kept) = &step.unclassified {
                unclassified.add(step.at, kept);
            }
            if let Some(write) = &step.write {
                let shard = write.id().shard();
                let first = self.leases.get(&shard).map_or(1, |owned| owned.next_seq);
                let seq = next_seqs.entry(shard).or_insert(first);
                for change in &step.changes {
                    let entry = Entry {
                        shard,
                        seq: *seq,
                        at: step.at,
                        tenant: step.tenant,
                        change: change.clone(),
                    };
                    batch.entries.push(entry);
                    *seq += 1;
                }
                for (tenant, change) in &step.told {
                    let entry = Entry {
                        shard,
                        seq: *seq,
                        at: step.at,
                        tenant: *tenant,
                        change: change.clone(),
                    };
                    batch.entries.push(entry);
                    *seq += 1;
                }
                batch.writes.push(write.clone());
            }
            batch.keys.extend(step.key.clone());
            if let Some(Origin::Inbox(number)) = step.origin {
                batch.consumed.push(number);
            }
        }
        batch.unclassified = unclassified.into_writes();
        let epoch = |shard: &Shard| self.leases.get(shard).map_or(0, |owned| owned.epoch);
        let mut touched = batch.dispatch.shards();
        touched.extend(next_seqs.keys());
        // A call is made by whoever owns what it is for.
        let called = steps.iter().filter_map(|step| step.wanted.as_ref());
        // An attempt that was ended may have left its shard behind; it gets no leave.
        let called = called
            .filter(|wanted| wanted.call.is_none() || self.leases.contains_key(&wanted.id.shard()));
        touched.extend(called.map(|wanted| wanted.id.shard()));
        batch.epochs = touched
            .into_iter()
            .map(|shard| (shard, epoch(&shard)))
            .collect();
        (batch, next_seqs)
    }

    pub(super) fn committed(
        &mut self,
        now: Timestamp,
        number: u64,
        outcome: Result<Spent, CommitError>,
    ) {
        if self
            .committing
            .as_ref()
            .is_none_or(|batch| batch.number != number)
        {
            return;
        }
        match outcome {
            Ok(spent) => self.durable(now, spent),
            Err(CommitError::KeysTaken(places)) => self.drop_taken_keys(now, &places),
            Err(CommitError::NotCommitted(reason)) => {
                tracing::warn!(reason, "Commit failed, retrying");
                self.not_durable(now);
            }
            Err(CommitError::Unknown(reason)) => {
                tracing::warn!(reason, "Outcome of commit unknown, asking");
                self.counters.commits_failed += 1;
                self.dispatcher.stall();
                self.back_off(now, Some(number));
            }
            Err(CommitError::Fenced) => {
                tracing::warn!("Lease lost, beginning anew");
                self.fence();
            }
            Err(CommitError::Stale(id)) => {
                tracing::error!(collection.id = %id, "Row is not at the version in memory, beginning anew");
                self.fence();
            }
        }
    }

    pub(super) fn resolved(&mut self, now: Timestamp, number: u64, outcome: Option<bool>) {
        if self
            .committing
            .as_ref()
            .is_none_or(|batch| batch.number != number)
        {
            return;
        }
        match outcome {
            // What was granted is not known and counts as lost.
            Some(true) => self.durable(now, Spent::default()),
            Some(false) => self.not_durable(now),
            None => self.back_off(now, Some(number)),
        }
    }

    /// The wait after a failed commit is over.
    pub(super) fn retry_due(&mut self) {
        let Some(retry) = &mut self.retry else { return };
        retry.due = true;
        retry.at = Timestamp::MAX;
        if let Some(number) = retry.unresolved {
            self.actions.push(Action::Resolve(number));
        }
    }

    fn durable(&mut self, now: Timestamp, spent: Spent) {
        let Some(batch) = self.committing.take() else {
            return;
        };
        self.retry = None;
        self.counters.commits += 1;
        self.counters.steps += u64::try_from(batch.steps.len()).unwrap_or(0);
        let mut granted = self.spent(now, &batch, spent);
        for (shard, next_seq) in batch.next_seqs {
            if let Some(owned) = self.leases.get_mut(&shard) {
                owned.next_seq = next_seq;
            }
        }
        for step in batch.steps {
            if let Some(key) = &step.key {
                self.keys.remove(&(key.tenant, key.key));
            }
            let wanted = step.wanted.as_ref();
            let wanted = wanted.map(|wanted| (wanted, granted.next()));
            let Some(write) = step.write else {
                match wanted {
                    Some((wanted, granted)) if let Some(effect) = wanted.call => {
                        self.leave_settled(now, (wanted, effect), granted, step.origin);
                    }
                    Some((wanted, granted)) => {
                        self.call_settled(now, wanted, granted);
                        self.resume_waiting(now, wanted.id);
                    }
                    None => self.dispatched(step.origin),
                }
                continue;
            };
            if let Some((wanted, granted)) = wanted {
                self.step_settled(now, wanted, granted);
            }
            let id = write.id();
            self.count(&write);
            if let Some(origin) = step.origin {
                self.answer(origin, Answer::Done(id));
            }
            match write.next_version() {
                Some(version) => {
                    // The step's own aggregate stays in memory; only its latest state is scheduled.
                    if let Some(resident) = self.residents.remove(&id) {
                        if resident.phase == Phase::Committing && resident.held.version() == version
                        {
                            self.settled(now, resident.held);
                        } else {
                            self.residents.insert(id, resident);
                        }
                    }
                }
                None => {
                    self.erasing.remove(&id);
                }
            }
            self.resume_waiting(now, id);
        }
        self.dispatch_committed(now, &batch.batch, true);
        self.pump_starved(now);
    }

    /// Puts a durable aggregate where its next wake-up belongs.
    fn settled(&mut self, now: Timestamp, held: Held) {
        match held {
            Held::Collection {
                collection,
                payload,
            } => self.schedule(now, collection, payload),
            Held::Account(account) => self.account_settled(&account),
            Held::Connection {
                connection,
                flight,
                slot,
            } => self.connection_settled(now, connection, flight, slot),
            Held::Source(source) => self.source_settled(now, *source),
        }
    }

    /// Goes on with what waited for a step of this aggregate, until one of it steps again.
    pub(super) fn resume_waiting(&mut self, now: Timestamp, id: Aggregate) {
        for waiting in self.waiting.remove(&id).unwrap_or_default() {
            match waiting {
                Waiting::Command(command) => self.command(now, command),
                Waiting::Ran(effect, result) => self.ran(now, effect, result),
                Waiting::Reported(effect, report, caller) => {
                    self.reported(now, effect, report, caller);
                }
            }
        }
    }

    fn count(&mut self, write: &Write) {
        let Write::Collection(write) = write else {
            return;
        };
        let owned = self.leases.get_mut(&write.id.shard());
        let was_live = !matches!(write.before, Before::Finished(_));
        if let (Some(owned), true, false) = (owned, was_live, write.is_live()) {
            owned.live = owned.live.saturating_sub(1);
        }
        self.counters.accepted += u64::from(write.before == Before::New);
        match write.next.as_ref().map(|next| &next.state) {
            Some(State::Delivered { .. }) => self.counters.delivered += 1,
            Some(State::Failed { .. }) => self.counters.failed += 1,
            Some(State::Collecting { .. } | State::Delivering { .. }) | None => {}
        }
    }

    /// Nothing was written: new work is refused, accepted work waits for the database.
    fn not_durable(&mut self, now: Timestamp) {
        let Some(batch) = self.committing.take() else {
            return;
        };
        self.counters.commits_failed += 1;
        self.dispatch_committed(now, &batch.batch, false);
        self.keep_blocks(&batch);
        self.dispatcher.stall();
        for step in batch.steps.into_iter().rev() {
            self.pending.push_front(step);
        }
        let steps = std::mem::take(&mut self.pending);
        for step in steps {
            self.refuse_or_keep(now, step);
        }
        self.back_off(now, None);
    }

    fn refuse_or_keep(&mut self, now: Timestamp, step: Step<T>) {
        let is_new = step
            .write
            .as_ref()
            .is_some_and(|write| write.before() == Before::New);
        match step.origin {
            Some(Origin::Caller(_)) if is_new => {
                self.counters.refused += 1;
                self.unwanted(&step);
                self.forget(now, step.write.as_ref(), step.key.as_ref());
                if let Some(origin) = step.origin {
                    self.answer(origin, Answer::Busy(Busy::Database));
                }
            }
            origin @ (Some(
                Origin::Caller(_) | Origin::Inbox(_) | Origin::Erasure(_) | Origin::Fact,
            )
            | None) => {
                self.pending.push_back(Step { origin, ..step });
            }
        }
    }

    /// Another request with the same key was first; the others of the batch go on.
    fn drop_taken_keys(&mut self, now: Timestamp, places: &[usize]) {
        let Some(batch) = self.committing.take() else {
            return;
        };
        self.dispatch_committed(now, &batch.batch, false);
        self.keep_blocks(&batch);
        let mut place = 0;
        let mut kept = Vec::new();
        for step in batch.steps {
            let taken = step.key.is_some() && places.contains(&place);
            place += usize::from(step.key.is_some());
            if !taken || step.origin.is_none() {
                kept.push(step);
                continue;
            }
            self.unwanted(&step);
            self.forget(now, step.write.as_ref(), step.key.as_ref());
            if let Some(origin) = step.origin {
                self.answer(origin, Answer::KeyTaken);
            }
        }
        for step in kept.into_iter().rev() {
            self.pending.push_front(step);
        }
        self.pump_starved(now);
    }

    /// Undoes in memory a step that will never be written.
    fn forget(&mut self, now: Timestamp, write: Option<&Write>, key: Option<&KeyRow>) {
        if let Some(key) = key {
            self.keys.remove(&(key.tenant, key.key));
        }
        let Some(write) = write else { return };
        let id = write.id();
        self.erasing.remove(&id);
        let resident = self.residents.remove(&id);
        match (write.before(), resident.map(|resident| resident.held)) {
            // What it was before is read again.
            (Before::Live(_), Some(Held::Collection { collection, .. })) => {
                let place = Place {
                    lane: Lane::receiver(&collection.callback_url),
                    line: self.line(collection.tenant, false),
                    since: now,
                };
                self.wheel.push(Timer::new(now, id, place));
            }
            (Before::Live(_), Some(held)) => {
                self.land(&held);
                self.wheel.push(Timer::new(now, id, Place::alarm(now)));
            }
            // It was to be erased and stays after all.
            (Before::Live(_), None) => {
                self.wheel.push(Timer::new(now, id, Place::alarm(now)));
            }
            (Before::New | Before::Finished(_), _) => {
                if let (Aggregate::Collection(_), Some(owned)) =
                    (id, self.leases.get_mut(&id.shard()))
                {
                    owned.live = owned.live.saturating_sub(1);
                }
            }
        }
        self.resume_waiting(now, id);
    }

    fn back_off(&mut self, now: Timestamp, unresolved: Option<u64>) {
        let failures = self
            .retry
            .as_ref()
            .map_or(0, |retry| retry.failures)
            .saturating_add(1);
        let at = now.after(STORE_GAPS.delay(failures, &mut self.rng));
        self.retry = Some(Retry {
            at,
            failures,
            unresolved,
            due: false,
        });
    }
}

impl<T> Step<T> {
    /// Makes the step of a call that changes no row but those of budgets.
    pub(super) fn of_call(now: Timestamp, tenant: TenantId, wanted: Wanted) -> Self {
        Self {
            write: None,
            tenant,
            at: now,
            changes: Vec::new(),
            unclassified: None,
            told: Vec::new(),
            key: None,
            origin: None,
            wanted: Some(wanted),
        }
    }

    /// Returns the shard that the step writes to; an inbox row that changed nothing touches none.
    pub(super) fn shard(&self) -> Shard {
        self.write
            .as_ref()
            .map_or(Shard(u8::MAX), |write| write.id().shard())
    }
}

/// The gaps between tries to write while the database is away.
const STORE_GAPS: RetryPolicy = RetryPolicy {
    base: Duration::from_millis(50),
    factor: 2.0,
    cap: Duration::from_secs(1),
    max_retries: u16::MAX,
    jitter: true,
};
