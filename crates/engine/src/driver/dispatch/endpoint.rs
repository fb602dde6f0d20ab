//! An endpoint that fails: its cursor stops, and it is probed until it is back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use wellspring_core::{RetryPolicy, SubscriptionId, Timestamp};

use super::outlet::{Health, Probe, State, Stopped};
use super::read::Want;
use super::send::Flight;
use super::track::{Place, Work};
use super::{Alarm, Dispatcher};
use crate::DisabledReason;
use crate::dispatch::{DeliveryStatus, Message, SendResult};

impl<T> Dispatcher<T> {
    /// Stops a subscription whose endpoint fails. Nothing of it stays in memory but the oldest
    /// delivery, which it is probed with.
    pub(super) fn stop(&mut self, now: Timestamp, id: SubscriptionId) {
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let since = outlet.suspect.take().unwrap_or(now);
        let mut oldest: Option<Probe> = None;
        for (shard, track) in &outlet.tracks {
            // By the clock a later one of a line may look older, where the clock went back.
            let mut lines = BTreeSet::new();
            for (seq, item) in &track.items {
                // It is over, and the next of its line is what the endpoint is owed.
                if item.work == Work::GivenUp {
                    continue;
                }
                if !lines.insert(item.line) {
                    continue;
                }
                let Some(row) = &item.row else { continue };
                let place = (row.created_at, *shard, *seq);
                let best = oldest
                    .as_ref()
                    .map(|it| (it.row.created_at, it.shard, it.seq));
                if best.is_none_or(|best| place < best) {
                    oldest = Some(Probe {
                        shard: *shard,
                        seq: *seq,
                        line: item.line,
                        row: row.clone(),
                        message: item.message.clone(),
                    });
                }
            }
        }
        tracing::warn!(subscription.id = %id, "Endpoint of a subscription fails, probing it");
        self.leave(now, id, Some(since));
        let stopped = Stopped::new(since, oldest);
        let at = now.after(stopped.gap(&mut self.rng));
        if let Some(outlet) = self.outlets.get_mut(&id) {
            outlet.state = State::Stopped(stopped);
        }
        self.timers.insert((at, Alarm::Probe(id)));
    }

    /// Probes an endpoint at once: there is a sign that it is back.
    pub(super) fn probe_soon(&mut self, now: Timestamp, id: SubscriptionId) {
        let outlet = self.outlets.get(&id);
        if outlet.is_some_and(|outlet| matches!(outlet.state, State::Stopped(_))) {
            self.timers.retain(|(_, alarm)| *alarm != Alarm::Probe(id));
            self.timers.insert((now, Alarm::Probe(id)));
        }
    }

    pub(super) fn probe_due(&mut self, now: Timestamp, id: SubscriptionId) {
        // Endpoints that fail may not take the slots of those that are well.
        let is_full = self.is_full() || self.probing >= self.limits.sends.div_ceil(4);
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let State::Stopped(stopped) = &mut outlet.state else {
            return;
        };
        if stopped.flight.is_some() || stopped.reading {
            return;
        }
        // What was in flight when it was stopped has to end first, so that no line overtakes itself.
        if outlet.in_flight > 0 || is_full {
            let again = now.after(BUSY.delay(1, &mut self.rng));
            self.timers.insert((again, Alarm::Probe(id)));
            return;
        }
        let Some(probe) = &mut stopped.probe else {
            // The oldest is found where the subscription stands; the first failure stops it again.
            let since = stopped.since;
            self.resume(id, Some(since));
            return;
        };
        if self
            .parts
            .get(&probe.shard)
            .is_none_or(|part| part.draining)
        {
            return;
        }
        let Some(message) = probe.message.clone() else {
            stopped.reading = true;
            self.want(Want::Probe(id));
            return;
        };
        let place = Place {
            subscription: id,
            shard: probe.shard,
            seq: probe.seq,
        };
        self.numbers += 1;
        stopped.flight = Some(self.numbers);
        self.probing += 1;
        outlet.in_flight += 1;
        let subscription = Arc::clone(&outlet.subscription);
        self.send(
            self.numbers,
            subscription,
            message,
            Flight::Delivery {
                place,
                at: now,
                is_probe: true,
            },
        );
    }

    /// What a probe consists of was read; none where retention has removed it.
    pub(super) fn probe_read(
        &mut self,
        now: Timestamp,
        id: SubscriptionId,
        message: Option<Arc<Message>>,
    ) {
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let State::Stopped(stopped) = &mut outlet.state else {
            return;
        };
        stopped.reading = false;
        match (message, &mut stopped.probe) {
            (Some(message), Some(probe)) => probe.message = Some(message),
            (None, Some(probe)) => {
                let place = Place {
                    subscription: id,
                    shard: probe.shard,
                    seq: probe.seq,
                };
                let (line, row) = (probe.line, probe.row.clone());
                stopped.probe = None;
                self.end_row(now, place, line, &row, DeliveryStatus::Exhausted);
            }
            (_, None) => {}
        }
        self.probe_due(now, id);
    }

    /// A probe ended.
    pub(super) fn probed(
        &mut self,
        now: Timestamp,
        place: Place,
        at: Timestamp,
        result: SendResult,
    ) {
        let id = place.subscription;
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let tenant = outlet.subscription.tenant;
        let State::Stopped(stopped) = &mut outlet.state else {
            return;
        };
        stopped.flight = None;
        let since = stopped.since;
        let failure = result.failure.clone();
        let Some(probe) = &mut stopped.probe else {
            return;
        };
        probe.row.attempts = probe.row.attempts.saturating_add(1);
        let (line, row) = (probe.line, probe.row.clone());
        self.keep_attempt(place, row.attempts, at, result);
        let Some(failure) = failure else {
            self.end_row(now, place, line, &row, DeliveryStatus::Delivered);
            tracing::info!(subscription.id = %id, "Endpoint of a subscription is back");
            self.resume(id, None);
            return;
        };
        let open = row.open(place, tenant, line, DeliveryStatus::Retrying);
        self.writes.deliveries.insert(place, open);
        self.writes.mark(now);
        if failure.gone {
            self.disable(now, id, DisabledReason::Gone);
        } else if now.since(since) >= GIVEN_UP_AFTER {
            self.disable(now, id, DisabledReason::Failing);
        } else if let Some(outlet) = self.outlets.get_mut(&id)
            && let State::Stopped(stopped) = &mut outlet.state
        {
            stopped.probes = stopped.probes.saturating_add(1);
            let due = now.after(stopped.gap(&mut self.rng));
            let asked = failure.retry_at.map(|at| at.min(now.after(LONGEST_PAUSE)));
            let at = asked.map_or(due, |asked| asked.max(due));
            self.timers.insert((at, Alarm::Probe(id)));
        }
    }

    /// Has a subscription catch up from where it stands.
    fn resume(&mut self, id: SubscriptionId, suspect: Option<Timestamp>) {
        if let Some(outlet) = self.outlets.get_mut(&id) {
            outlet.state = State::Running;
            outlet.health = Health::default();
            outlet.suspect = suspect;
        }
        self.open_everywhere(id);
    }

    /// Sends nothing more until the tenant enables the subscription again.
    pub(super) fn disable(&mut self, now: Timestamp, id: SubscriptionId, reason: DisabledReason) {
        tracing::warn!(subscription.id = %id, ?reason, "Subscription disabled");
        self.turn_off(now, id);
        self.writes.disabled.push((id, reason, now));
    }
}

/// How soon it is looked again whether an endpoint can be probed.
const BUSY: RetryPolicy = RetryPolicy {
    base: Duration::from_secs(1),
    factor: 1.0,
    cap: Duration::from_secs(2),
    max_retries: u16::MAX,
    jitter: true,
};
/// How long an endpoint may fail.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5 * 86_400);
/// How long an endpoint's own word can put probes off.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
