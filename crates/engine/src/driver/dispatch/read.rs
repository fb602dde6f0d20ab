//! What the dispatcher reads, a bounded number of things at once.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::{Shard, SubscriptionId, Timestamp};

use super::outlet::State;
use super::track::{Phase, Place, Work};
use super::wish::Rewind;
use super::{Alarm, Dispatcher, PAGE, PartPhase, READS, gap};
use crate::Action;
use crate::dispatch::{DeliveryStatus, DispatchAnswer, DispatchQuery, LogSlice, Message};

/// Something to be read, and what for.
#[derive(Debug)]
pub(super) enum Want<T> {
    /// How far a shard is dispatched.
    Part(Shard),
    /// What the shard's last owner had not got done.
    Replay(Shard),
    /// Where a subscription stands.
    State(SubscriptionId, Shard),
    /// What comes next for a subscription that catches up.
    Page(SubscriptionId, Shard),
    /// The message of an open delivery.
    Row(SubscriptionId, Shard, u64),
    /// The message that an endpoint is probed with.
    Probe(SubscriptionId),
    /// The place from which on somebody wants everything again.
    Seek(Rewind<T>, Timestamp),
    /// Where a subscription stands that is to be moved back to a place.
    Rewind(Rewind<T>, u64),
}

impl<T> Want<T> {
    pub(super) const fn shard(&self) -> Option<Shard> {
        match self {
            Self::Part(shard)
            | Self::Replay(shard)
            | Self::State(_, shard)
            | Self::Page(_, shard)
            | Self::Row(_, shard, _) => Some(*shard),
            Self::Seek(rewind, _) | Self::Rewind(rewind, _) => Some(rewind.shard),
            Self::Probe(_) => None,
        }
    }

    pub(super) const fn subscription(&self) -> Option<SubscriptionId> {
        match self {
            Self::Part(_) | Self::Replay(_) => None,
            Self::State(id, _) | Self::Page(id, _) | Self::Row(id, _, _) | Self::Probe(id) => {
                Some(*id)
            }
            Self::Seek(rewind, _) | Self::Rewind(rewind, _) => Some(rewind.subscription),
        }
    }

    /// Returns whether somebody waits for what follows.
    pub(super) const fn has_caller(&self) -> bool {
        matches!(self, Self::Seek(..) | Self::Rewind(..))
    }
}

impl<T> Dispatcher<T> {
    pub(super) fn want(&mut self, want: Want<T>) {
        self.wants.push_back(want);
    }

    /// Has something read once all that is known here is durable.
    pub(super) fn want_durable(&mut self, want: Want<T>) {
        match self.writes.barrier() {
            Some(generation) => self.barred.entry(generation).or_default().push(want),
            None => self.want(want),
        }
    }

    /// Drops reads that nobody needs any more; whoever waits for one has to ask elsewhere.
    pub(super) fn forget_reads(&mut self, is_void: impl Fn(&Want<T>) -> bool) {
        let mut void = Vec::new();
        for reads in [&mut self.reads, &mut self.failed_reads] {
            void.extend(
                reads
                    .extract_if(.., |_, want| is_void(want))
                    .map(|(_, want)| want),
            );
        }
        for want in std::mem::take(&mut self.wants) {
            if is_void(&want) {
                void.push(want);
            } else {
                self.wants.push_back(want);
            }
        }
        for wants in self.barred.values_mut() {
            void.extend(wants.extract_if(.., |want| is_void(want)));
        }
        self.barred.retain(|_, wants| !wants.is_empty());
        for want in void {
            match want {
                Want::Seek(rewind, _) | Want::Rewind(rewind, _) => {
                    self.settle(rewind.command, crate::Answer::Elsewhere);
                }
                Want::Probe(id) => {
                    if let Some(outlet) = self.outlets.get_mut(&id)
                        && let State::Stopped(stopped) = &mut outlet.state
                    {
                        stopped.reading = false;
                    }
                }
                Want::Part(_)
                | Want::Replay(_)
                | Want::State(..)
                | Want::Page(..)
                | Want::Row(..) => {}
            }
        }
    }

    /// Begins as many reads as may be under way.
    pub(super) fn read_next(&mut self) {
        while self.reads.len() < READS {
            let Some(want) = self.wants.pop_front() else {
                return;
            };
            let Some(query) = self.query(&want) else {
                continue;
            };
            self.counted.log_reads += u64::from(matches!(query, DispatchQuery::Log { .. }));
            let number = self.number();
            self.reads.insert(number, want);
            self.actions.push(Action::Read(number, query));
        }
    }

    /// Returns the query for what is wanted, if it still is.
    fn query(&mut self, want: &Want<T>) -> Option<DispatchQuery> {
        match want {
            Want::Part(shard) => {
                self.parts.get(shard)?;
                Some(DispatchQuery::Shard(*shard))
            }
            Want::Replay(shard) => {
                let PartPhase::Replaying(reader) = &mut self.parts.get_mut(shard)?.phase else {
                    return None;
                };
                reader.begin();
                Some(DispatchQuery::Log {
                    shard: *shard,
                    after: reader.seen,
                    tenant: None,
                    limit: PAGE,
                })
            }
            Want::State(id, shard) => Some(DispatchQuery::Subscription(*id, *shard)),
            Want::Page(id, shard) => {
                let outlet = self.outlets.get_mut(id)?;
                let tenant = Some(outlet.subscription.tenant);
                let Phase::Behind(reader) = &mut outlet.tracks.get_mut(shard)?.phase else {
                    return None;
                };
                reader.begin();
                Some(DispatchQuery::Log {
                    shard: *shard,
                    after: reader.seen,
                    tenant,
                    limit: PAGE,
                })
            }
            Want::Row(id, shard, seq) => self.one(*id, *shard, *seq),
            Want::Probe(id) => {
                let State::Stopped(stopped) = &self.outlets.get(id)?.state else {
                    return None;
                };
                let probe = stopped.probe.as_ref()?;
                self.one(*id, probe.shard, probe.seq)
            }
            Want::Seek(rewind, at) => Some(DispatchQuery::Seek {
                shard: rewind.shard,
                at: *at,
                end: self.parts.get(&rewind.shard)?.end,
            }),
            Want::Rewind(rewind, _) => Some(DispatchQuery::Subscription(
                rewind.subscription,
                rewind.shard,
            )),
        }
    }

    fn one(&self, id: SubscriptionId, shard: Shard, seq: u64) -> Option<DispatchQuery> {
        let outlet = self.outlets.get(&id)?;
        Some(DispatchQuery::Log {
            shard,
            after: seq.saturating_sub(1),
            tenant: Some(outlet.subscription.tenant),
            limit: 1,
        })
    }

    /// Something was read, or could not be.
    pub(in crate::driver) fn read(
        &mut self,
        now: Timestamp,
        number: u64,
        answer: Option<DispatchAnswer>,
    ) {
        let Some(want) = self.reads.remove(&number) else {
            return;
        };
        let Some(answer) = answer else {
            self.failed_reads.insert(number, want);
            let at = now.after(READ_AGAIN);
            self.timers.insert((at, Alarm::Read(number)));
            return;
        };
        match (want, answer) {
            (Want::Part(shard), DispatchAnswer::Shard(state)) => {
                self.part_read(now, shard, &state);
            }
            (Want::Replay(shard), DispatchAnswer::Log(slice)) => {
                self.replay_read(now, shard, slice);
            }
            (Want::State(id, shard), DispatchAnswer::Subscription(state)) => {
                self.state_read(now, id, shard, &state);
            }
            (Want::Page(id, shard), DispatchAnswer::Log(slice)) => {
                self.page_read(now, id, shard, &slice);
            }
            (Want::Row(id, shard, seq), DispatchAnswer::Log(slice)) => {
                self.row_read(now, id, shard, seq, &slice);
            }
            (Want::Probe(id), DispatchAnswer::Log(slice)) => {
                let probe = self
                    .outlets
                    .get(&id)
                    .and_then(|outlet| match &outlet.state {
                        State::Stopped(stopped) => stopped.probe.as_ref(),
                        State::Running | State::Off => None,
                    });
                let place = probe.map(|probe| (probe.shard, probe.seq));
                let message_id = probe.map(|probe| probe.row.message_id.clone());
                let message = place
                    .zip(message_id)
                    .and_then(|((shard, seq), message_id)| {
                        self.message_at(now, id, (shard, seq), &message_id, &slice)
                    });
                self.probe_read(now, id, message);
            }
            (Want::Seek(rewind, _), DispatchAnswer::Place(place)) => {
                self.sought(now, rewind, place);
            }
            (Want::Rewind(rewind, place), DispatchAnswer::Subscription(state)) => {
                self.rewound(now, rewind, place, &state);
            }
            (want, _) => {
                tracing::error!(shard = ?want.shard(), "Read was answered with something else")
            }
        }
        self.read_next();
        self.pump_starved(now);
    }

    /// Returns the message at a place, as a stretch of the log that begins there tells.
    fn message_at(
        &self,
        now: Timestamp,
        id: SubscriptionId,
        (shard, seq): (Shard, u64),
        message_id: &str,
        slice: &LogSlice,
    ) -> Option<Arc<Message>> {
        let first = slice.entries.first();
        if gap::is_gap(message_id) {
            let outlet = self.outlets.get(&id)?;
            let at = first.map(|entry| entry.view.at);
            return Some(gap::message(&outlet.subscription, shard, seq, at, now));
        }
        first
            .filter(|entry| entry.view.seq == seq)
            .map(|entry| Arc::new(Message::of(entry)))
    }

    fn row_read(
        &mut self,
        now: Timestamp,
        id: SubscriptionId,
        shard: Shard,
        seq: u64,
        slice: &LogSlice,
    ) {
        let outlet = self.outlets.get(&id);
        let track = outlet.and_then(|outlet| outlet.tracks.get(&shard));
        let Some(item) = track.and_then(|track| track.items.get(&seq)) else {
            return;
        };
        let (Work::Reading, Some(row)) = (item.work, item.row.clone()) else {
            return;
        };
        let line = item.line;
        let Some(message) = self.message_at(now, id, (shard, seq), &row.message_id, slice) else {
            // Retention has removed it: there is nothing left to send.
            let place = Place {
                subscription: id,
                shard,
                seq,
            };
            self.counted.exhausted += 1;
            self.end_row(now, place, line, &row, DeliveryStatus::Exhausted);
            self.ended(now, id, shard, seq);
            return;
        };
        if let Some(outlet) = self.outlets.get_mut(&id)
            && let Some(item) = outlet
                .tracks
                .get_mut(&shard)
                .and_then(|track| track.items.get_mut(&seq))
        {
            item.message = Some(message);
            item.work = Work::Ready;
            outlet.ready.push_back((shard, seq));
        }
        self.pump(now, id);
    }
}

/// How soon a read that failed is tried again.
const READ_AGAIN: Duration = Duration::from_millis(500);
