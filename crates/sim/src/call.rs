//! Calls to the outside: what is checked when they begin, and how their results come back.

use std::collections::BTreeMap;
use std::sync::Arc;

use wellspring_core::{CollectionPolicy, ErrorClass, IncarnationId, Kind, Lane, State, Timestamp};
use wellspring_engine::{
    Aggregate, DeliverOrder, DeliverResult, EffectId, Event, FetchOrder, FetchResult, Heard,
    Origin, Report, RunResult,
};

use crate::agenda::{News, Occurrence};
use crate::clock::{MINUTE, SECOND};
use crate::counted::Counted;
use crate::model::Past;
use crate::provider::Window;
use crate::receiver::{DEADLINE, timeout};
use crate::world::World;
use crate::{Fault, Plant};

/// A call in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) node: usize,
    pub(crate) effect: EffectId,
}

/// The calls of one incarnation to a target that is down.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    from: i64,
    /// When the first call met it.
    first: i64,
    others: u64,
    probes: u64,
    /// Results that spoke for the target nevertheless, or were told twice.
    misled: u64,
}

/// By incarnation and lane.
pub(crate) type Outages = BTreeMap<(IncarnationId, Lane), Outage>;

impl World {
    pub(crate) fn fetch(&mut self, node: usize, effect: EffectId, order: &FetchOrder) {
        let clock = self.node_now(node);
        let Some(provider) = self
            .providers
            .iter_mut()
            .find(|provider| provider.source.name == order.source)
        else {
            return self.broken("calls go to known sources", format!("{effect:?}"));
        };
        let (result, latency) = provider.answer(self.now, clock, order.id, &mut self.dice);
        let figures = provider.figures.as_mut();
        let said = figures.map(|figures| figures.answer(self.now, clock));
        let down = provider.down;
        let policy = provider.source.policy;
        let concurrency = provider.source.concurrency;
        let budget = Arc::clone(&provider.source.budget);
        let limits = Arc::clone(&provider.source.limits);
        let (error, payload) = match &result {
            FetchResult::Fetched(payload) => (None, Some(payload.clone())),
            FetchResult::Failed { error, .. } => (Some(error.clone()), None),
        };
        let past = Past {
            fetch: true,
            started: effect.started,
            probe: effect.probe,
            error,
            gone: false,
            payload,
        };
        self.note(|| {
            let ended = past.error.as_ref().map_or("data", |error| &error.code);
            format!(
                "node {node} asks {} for {} v{}: {ended} in {latency} ms",
                order.source, order.id, effect.version
            )
        });
        if let FetchResult::Failed {
            retry_at: Some(until),
            ..
        } = &result
        {
            self.says(effect.lane, clock, *until);
        }
        self.begin(node, effect, &policy, None);
        self.check_load(node, effect, concurrency, down);
        self.check_budget(Counted::of(effect.lane), self.now, &budget);
        for limit in limits.iter().enumerate() {
            if let Some(counted) = Counted::by(effect.lane, limit, order.tenant, None) {
                self.check_budget(counted, self.now, &limit.1.windows);
            }
        }
        self.check_window(node, &effect);
        let class = past.error.as_ref().map(|error| error.class);
        self.model
            .sources
            .called(&order.source, order.tenant, class);
        self.model.called(order.id, effect.version, past);
        if let Some(remaining) = said {
            let heard = Heard {
                endpoint: "fetch",
                asked_at: clock,
                remaining: vec![remaining],
            };
            let news = News::Driver(None, Event::Heard(effect, heard));
            let boot = self.nodes[node].boot;
            let at = self.now + latency;
            self.agenda.push(at, Occurrence::Tell { node, boot, news });
        }
        self.answer_call(node, latency, || Event::Fetched(effect, result.clone()));
    }

    pub(crate) fn deliver(&mut self, node: usize, effect: EffectId, mut order: DeliverOrder) {
        let clock = self.node_now(node);
        let Some(receiver) = self
            .receivers
            .iter()
            .find(|receiver| order.callback_url.contains(receiver.host))
        else {
            return self.broken("calls go to known receivers", format!("{effect:?}"));
        };
        let (mut result, mut latency) = receiver.answer(self.now, clock, &mut self.dice);
        let down = receiver.down;
        if result == DeliverResult::Delivered && self.spend(Fault::ResponseLost) {
            result = timeout();
            latency = DEADLINE;
        }
        let (error, gone) = match &result {
            DeliverResult::Delivered => (None, false),
            DeliverResult::Failed { error, gone, .. } => (Some(error.clone()), *gone),
        };
        let past = Past {
            fetch: false,
            started: effect.started,
            probe: effect.probe,
            error,
            gone,
            payload: None,
        };
        self.note(|| {
            let ended = past.error.as_ref().map_or("taken", |error| &error.code);
            format!(
                "node {node} tells {} of {} v{}, message {}: {ended} in {latency} ms",
                order.callback_url, order.id, effect.version, order.message
            )
        });
        if self.plant == Some(Plant::NewIdOnRepeat) {
            order.message = u16::try_from(effect.version).unwrap_or(u16::MAX);
        }
        let policy = self.sources.policy(&order.source);
        self.begin(node, effect, &policy, Some(&order));
        if let Err(broken) = self.model.message(effect.version, &order) {
            self.broken(broken.0, broken.1);
        }
        let concurrency = self.limits.receiver_concurrency;
        self.check_load(node, effect, concurrency, down);
        self.model.called(order.id, effect.version, past);
        self.answer_call(node, latency, || Event::Delivered(effect, result.clone()));
    }

    /// Checks that the call is what the durable row wants.
    fn begin(
        &mut self,
        node: usize,
        effect: EffectId,
        policy: &CollectionPolicy,
        order: Option<&DeliverOrder>,
    ) {
        self.report.calls += 1;
        let Aggregate::Collection(id) = effect.id else {
            return self.broken("a call is what its row wants", format!("{effect:?}"));
        };
        let row = match self.model.may_act(effect.incarnation, id, effect.version) {
            Ok(Some(row)) => row,
            Ok(None) => return,
            Err(broken) => return self.broken(broken.0, broken.1),
        };
        let collection = &row.collection;
        let (since, fits) = match (&collection.state, order) {
            (State::Collecting { since, .. }, None) => (*since, true),
            (State::Delivering { kind, since, .. }, Some(order)) => {
                let payload = match kind {
                    Kind::Success => row.payload.clone(),
                    Kind::Failure(_) => Some(order.payload.clone()),
                };
                let fits = (&order.kind, order.message, Some(&order.payload))
                    == (kind, collection.message, payload.as_ref())
                    || self.plant == Some(Plant::NewIdOnRepeat);
                (*since, fits && order.at == *since)
            }
            (
                State::Collecting { .. }
                | State::Delivering { .. }
                | State::Delivered { .. }
                | State::Failed { .. },
                _,
            ) => (effect.started, false),
        };
        if !fits {
            let seen = format!("{effect:?} with {order:?} for {collection:?}");
            return self.broken("a call is what its row wants", seen);
        }
        let late = effect.started >= since.after(policy.give_up_after);
        if late && self.model.owns(effect.incarnation, effect.id.shard()) {
            let seen = format!(
                "node {node} calls for {} v{} at {}, its stage began at {since}",
                effect.id, effect.version, effect.started
            );
            self.broken("no call begins past its give-up time", seen);
        }
    }

    /// Checks that nothing goes out while its source is announced to be worked on.
    pub(crate) fn check_window(&mut self, node: usize, effect: &EffectId) {
        let started = effect.started;
        let Some(source) = self.sources.by_lane(effect.lane) else {
            return;
        };
        // What had its slot before goes out a little later, when it is read and written.
        let spans = source
            .maintenance
            .iter()
            .filter_map(|one| one.span(started));
        let broken = spans
            .filter(|span| span.covers(started))
            .any(|span| started.since(span.from) > std::time::Duration::from_secs(120));
        // A clock that went back is where it was when nothing was announced.
        if broken && self.nodes[node].troubled_at < self.now {
            let seen = format!("{effect:?}");
            self.broken("nothing goes out in announced maintenance", seen);
        }
        self.check_switch(node, effect);
    }

    /// Checks that no more is in flight than allowed, and that an outage costs probes.
    pub(crate) fn check_load(
        &mut self,
        node: usize,
        effect: EffectId,
        concurrency: u32,
        down: Window,
    ) {
        self.flying.push(Call { node, effect });
        let of_driver = |call: &&Call| call.effect.incarnation == effect.incarnation;
        let all = self.flying.iter().filter(of_driver).count();
        let lane = self.flying.iter().filter(of_driver);
        let lane = lane.filter(|call| call.effect.lane == effect.lane).count();
        if u32::try_from(lane).unwrap_or(u32::MAX) > concurrency
            || u32::try_from(all).unwrap_or(u32::MAX) > self.limits.in_flight
        {
            let seen = format!("{lane} of {concurrency} in {:?}, {all} in all", effect.lane);
            self.broken("no more calls in flight than allowed", seen);
        }
        if down.contains(self.now) && self.now >= down.from + 30 * SECOND {
            let outage = self
                .outages
                .entry((effect.incarnation, effect.lane))
                .or_default();
            if outage.from != down.from {
                *outage = Outage {
                    from: down.from,
                    first: self.now,
                    ..Outage::default()
                };
            }
            if effect.probe {
                outage.probes += 1;
            } else if self.now > outage.first + 6 * SECOND {
                // A breaker lets everything through for the five seconds that it is not sure.
                outage.others += 1;
            }
            let elapsed = u64::try_from(self.now - down.from).unwrap_or(0);
            let probes = 10 + elapsed / 40_000 + outage.misled * 10 + 5 * self.clock_jumps;
            // Twenty to fill the window, and what was in flight.
            let others = (20 + 2 * u64::from(concurrency)) * (1 + outage.misled);
            if outage.probes > probes || outage.others > others {
                let seen = format!(
                    "{} probes (at most {probes}), {} others (at most {others}) after {elapsed} ms",
                    outage.probes, outage.others
                );
                self.broken("an outage costs probes", seen);
            }
        }
    }

    fn answer_call(&mut self, node: usize, latency: i64, event: impl Fn() -> Event<u64>) {
        if self.nodes[node].stalls {
            self.stall(node);
        }
        let mut latency = latency;
        if self.spend(Fault::ResponseDelayed) {
            latency += self.dice.between(MINUTE, 10 * MINUTE);
        }
        if self.plant == Some(Plant::DropResult) && self.dice.permille(20) {
            return;
        }
        let boot = self.nodes[node].boot;
        let mut at = vec![self.now + latency];
        if self.spend(Fault::ResponseDuplicated) {
            at.push(self.now + latency + self.dice.between(0, 4 * SECOND));
        }
        for at in at {
            let news = News::Driver(None, event());
            self.agenda.push(at, Occurrence::Tell { node, boot, news });
        }
    }

    /// A result, or a caller's request, reaches the node.
    pub(crate) fn result(&mut self, node: usize, now: Timestamp, event: Event<u64>) {
        let event = match event {
            Event::Fetched(effect, result) => {
                let up = match &result {
                    FetchResult::Fetched(_) => true,
                    FetchResult::Failed { error, .. } => !matches!(
                        error.class,
                        ErrorClass::ConnectionFailure | ErrorClass::BankMaintenance
                    ),
                };
                let effect = self.ended(effect, up);
                Event::Fetched(effect, result)
            }
            Event::Delivered(effect, mut result) => {
                let up = match &mut result {
                    DeliverResult::Delivered => true,
                    DeliverResult::Failed { down, .. } => {
                        let up = !*down;
                        *down &= self.plant != Some(Plant::IgnoreBreaker);
                        up
                    }
                };
                let effect = self.ended(effect, up);
                Event::Delivered(effect, result)
            }
            Event::Command(command) => {
                if let Origin::Caller(caller) = &command.origin
                    && let Some(ask) = self.callers.waiting.get_mut(caller)
                {
                    ask.held_by = Some(self.nodes[node].incarnation);
                }
                Event::Command(command)
            }
            Event::Ran(effect, result) => {
                let up = match &result {
                    RunResult::Finished { .. } | RunResult::Asked => true,
                    RunResult::NotBegun => false,
                    RunResult::Failed { error, .. } => !matches!(
                        error.class,
                        ErrorClass::ConnectionFailure | ErrorClass::BankMaintenance
                    ),
                };
                let effect = self.mistaken(effect);
                Event::Ran(self.ended(effect, up), result)
            }
            Event::Reported(effect, report, caller) => {
                let effect = self.mistaken(effect);
                if matches!(report, Report::Question { .. }) {
                    self.ended(effect, true);
                }
                Event::Reported(effect, report, caller)
            }
            Event::Sent(id, result) => {
                self.sending.retain(|(flying, _)| *flying != id);
                Event::Sent(id, result)
            }
            Event::Heard(effect, heard) => {
                self.hears(node, now, effect, &heard);
                let remaining = match self.plant {
                    Some(Plant::DeafToFigures) => Vec::new(),
                    Some(_) | None => heard.remaining,
                };
                let heard = Heard { remaining, ..heard };
                Event::Heard(effect, heard)
            }
            event @ (Event::Calling(..)
            | Event::Leased(_)
            | Event::Scanned { .. }
            | Event::Drain(_)
            | Event::Loaded { .. }
            | Event::LoadFailed(_)
            | Event::Committed(..)
            | Event::Resolved(..)
            | Event::Children(..)
            | Event::Read(..)
            | Event::Subscriptions { .. }
            | Event::Sources(_)
            | Event::Kept(_)
            | Event::Spent(..)
            | Event::Tenants(_)
            | Event::Tick) => event,
        };
        self.give(node, now, event);
    }

    /// A call of an outage ended without a word against the target.
    pub(crate) fn misled(&mut self, effect: &EffectId) {
        let outage = self.outages.get_mut(&(effect.incarnation, effect.lane));
        if let Some(outage) = outage {
            outage.misled += 1;
        }
    }

    fn ended(&mut self, effect: EffectId, up: bool) -> EffectId {
        self.freed_at.insert(effect.lane, self.now);
        let place = self.flying.iter().position(|call| call.effect == effect);
        if let Some(place) = place {
            self.flying.remove(place);
        }
        if up && place.is_some() {
            self.misled(&effect);
        }
        let latest = self.flying.iter().filter(|call| {
            call.effect.incarnation == effect.incarnation && call.effect.id == effect.id
        });
        match latest.map(|call| call.effect.version).max() {
            Some(version) if self.plant == Some(Plant::IgnoreStaleVersion) => EffectId {
                version: version.max(effect.version),
                ..effect
            },
            Some(_) | None => effect,
        }
    }
}
