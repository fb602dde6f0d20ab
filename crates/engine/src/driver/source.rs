//! Sources: what keeps their lanes still, and what calls show of them.
//!
//! Every node goes by the files' windows and by what is kept of sources; the owner of the first
//! shard steps them, and hears from the others what their calls have shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wellspring_core::source::{self, Hold, Input, Policy};
use wellspring_core::{
    AlertKind, CallResult, Error, ErrorClass, Incident, Lane, Phase as BreakerPhase, RetryPolicy,
    Shard, SourceId, SourceName, TenantId, Timestamp,
};

use super::{
    Action, Answer, Command, Driver, EffectId, Held, Origin, Phase, Request, Resident, Step,
};
use crate::{Aggregate, Before, SourceWrite, Write};

/// What the driver knows of one source besides its file.
#[derive(Debug)]
pub(super) struct Standing {
    kept: source::Source,
    hold: Option<Hold>,
    wake: Option<Timestamp>,
    /// When something was told of it last, so that it is not told at every call.
    told: BTreeMap<Topic, Timestamp>,
    /// What this node has told of calls that failed, for as long as none has ended otherwise.
    failing: BTreeSet<(TenantId, AlertKind)>,
    /// Answers in a row that it is in maintenance.
    met: u16,
    up_at: Option<Timestamp>,
    /// Since when calls go out freely.
    free_since: Timestamp,
    backed_up: bool,
    /// Whom it has throttled since it has served anybody.
    throttled: BTreeSet<Aggregate>,
}

/// What is told of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Maintenance,
    Down,
    Answered,
    Used(TenantId),
    Backlog,
    Failed(TenantId, AlertKind),
    Mended(TenantId),
}

impl Standing {
    const fn of(kept: source::Source) -> Self {
        Self {
            kept,
            hold: None,
            wake: None,
            told: BTreeMap::new(),
            failing: BTreeSet::new(),
            met: 0,
            up_at: None,
            free_since: Timestamp::MIN,
            backed_up: false,
            throttled: BTreeSet::new(),
        }
    }

    /// Returns whether it is time to tell something of this, and notes that it is.
    fn may_tell(&mut self, now: Timestamp, topic: Topic, gap: Duration) -> bool {
        let recent = |at: Timestamp| at <= now && now.since(at) < gap;
        if self.told.get(&topic).copied().is_some_and(recent) {
            return false;
        }
        self.told.insert(topic, now);
        true
    }

    fn has_alert(&self, by: Timestamp, is_it: impl Fn(TenantId, AlertKind) -> bool) -> bool {
        let mut alerts = self.kept.alerts.iter();
        alerts.any(|(of, alert)| alert.opened_at <= by && is_it(*of, alert.kind))
    }
}

impl<T> Driver<T> {
    /// Returns what keeps scheduled calls of a lane back.
    pub(super) fn hold_of(&self, lane: Lane) -> Option<Hold> {
        self.standings.get(&lane).and_then(|standing| standing.hold)
    }

    pub(super) fn incident_of(&self, lane: Lane) -> Option<Incident> {
        let standing = self.standings.get(&lane)?;
        standing.kept.incident.clone()
    }

    /// Returns whether nothing at all goes out in a lane.
    pub(super) fn is_shut(&self, lane: Lane) -> bool {
        self.hold_of(lane).is_some_and(Hold::is_shut)
    }

    /// Takes in what is kept of sources, where it is newer than what is known.
    pub(super) fn kept(&mut self, now: Timestamp, sources: Vec<source::Source>) {
        for source in sources {
            self.keep(now, source);
        }
    }

    /// A step of a source is durable.
    pub(super) fn source_settled(&mut self, now: Timestamp, source: source::Source) {
        self.keep(now, source);
    }

    fn keep(&mut self, now: Timestamp, source: source::Source) {
        let lane = Lane::source(&source.name);
        match self.standings.get_mut(&lane) {
            Some(standing) if standing.kept.version > source.version => return,
            Some(standing) => standing.kept = source,
            None => drop(self.standings.insert(lane, Standing::of(source))),
        }
        self.judge(now, lane);
    }

    /// Looks at all sources anew: their files have changed, or they are this node's from now on.
    pub(super) fn tick_sources(&mut self, now: Timestamp) {
        let names: Vec<SourceName> = self
            .sources
            .iter()
            .map(|source| source.name.clone())
            .collect();
        for name in names {
            let lane = Lane::source(&name);
            let announces = self.sources.by_lane(lane);
            let announces = announces.is_some_and(|source| !source.maintenance.is_empty());
            if announces {
                self.standing(&name);
            }
            if self.standings.contains_key(&lane) {
                self.judge(now, lane);
                self.tick_source(now, lane);
            }
        }
    }

    /// Lets sources on whose time has come.
    pub(super) fn wake_sources(&mut self, now: Timestamp) {
        while let Some((at, lane)) = self.source_wakes.first().copied() {
            if at > now {
                break;
            }
            self.source_wakes.pop_first();
            if let Some(standing) = self.standings.get_mut(&lane) {
                standing.wake = None;
            }
            self.judge(now, lane);
            self.tick_source(now, lane);
        }
    }

    /// Looks for work that backs up.
    pub(super) fn watch_sources(&mut self, now: Timestamp) {
        if self.watched_at > now || now.since(self.watched_at) >= BETWEEN_WATCHES {
            self.watched_at = now;
            self.limited.prune(now);
            let lanes: Vec<(Lane, Duration)> = self
                .sources
                .iter()
                .map(|source| (Lane::source(&source.name), source.backlog_alert))
                .collect();
            for (lane, patience) in lanes {
                self.watch_backlog(now, lane, patience);
            }
        }
    }

    /// Steps a source whose time has come, where that is this node's to do.
    fn tick_source(&mut self, now: Timestamp, lane: Lane) {
        let Some(standing) = self.standings.get(&lane) else {
            return;
        };
        let id = Aggregate::Source(standing.kept.id());
        let name = standing.kept.name.clone();
        if self.is_stepped_here(id.shard()) {
            self.fact(now, name, Input::Ticked);
        }
    }

    /// Finds out what keeps a lane back, and when that changes by itself.
    fn judge(&mut self, now: Timestamp, lane: Lane) {
        let announced = self.sources.by_lane(lane);
        let announced = announced.map(|source| std::sync::Arc::clone(&source.maintenance));
        let announced = announced.unwrap_or_default();
        let Some(standing) = self.standings.get_mut(&lane) else {
            return;
        };
        let wake = standing.kept.next_wakeup(now, &announced);
        // What has passed waits for a step, here or elsewhere.
        let wake = wake.map(|at| {
            if at > now {
                at
            } else {
                now.after(BETWEEN_WATCHES)
            }
        });
        let late = standing.kept.is_behind(now, &announced);
        let soon = late.then(|| now.after(BETWEEN_WATCHES));
        let wake = [wake, soon].into_iter().flatten().min();
        if standing.wake != wake {
            if let Some(old) = standing.wake {
                self.source_wakes.remove(&(old, lane));
            }
            if let Some(new) = wake {
                self.source_wakes.insert((new, lane));
            }
            standing.wake = wake;
        }
        let hold = standing.kept.hold(now, &announced);
        let had = std::mem::replace(&mut standing.hold, hold);
        match (had, hold) {
            (None, None) => {}
            (Some(was), None) => {
                standing.met = 0;
                standing.free_since = now;
                let gate = self.gate(lane);
                // What it said about its budget still holds.
                gate.paused_until = gate.ledger.blocked_until().filter(|until| *until > now);
                // What has gathered goes out by and by; a source that was down before may still be.
                let is_down = matches!(gate.breaker.phase(), BreakerPhase::Open { .. });
                if !(was.is_shut() && is_down) {
                    gate.breaker.ramp();
                }
                self.pump(now, lane);
            }
            (Some(Hold::Probing(_)), Some(Hold::Probing(_))) => {}
            (_, Some(Hold::Probing(until))) => {
                let at = until.unwrap_or_else(|| now.after(FIRST_PROBE));
                self.keep_still(now, lane, at);
                self.pump(now, lane);
            }
            (_, Some(Hold::Disabled | Hold::Until(_))) => self.pump(now, lane),
        }
    }

    /// Lets one probe go out at a time, the first at `at`.
    fn keep_still(&mut self, now: Timestamp, lane: Lane, at: Timestamp) {
        self.pause(now, lane, at);
        let gate = self.gate(lane);
        let probe_at = gate.paused_until.unwrap_or(at);
        gate.breaker.trip(probe_at);
    }

    /// Notes that a fetch of a tenant goes to a source: it is told of its incidents from now on.
    pub(super) fn used(&mut self, now: Timestamp, lane: Lane, tenant: TenantId) {
        let Some(name) = self.source_name(lane) else {
            return;
        };
        let standing = self.standing(&name);
        let known = standing.kept.tenants.contains(&tenant);
        if !known && standing.may_tell(now, Topic::Used(tenant), SELDOM) {
            self.fact(now, name, Input::Used(tenant));
        }
    }

    /// A call has failed: the source may have said that it is in maintenance.
    pub(super) fn met(
        &mut self,
        now: Timestamp,
        lane: Lane,
        error: &Error,
        until: Option<Timestamp>,
    ) {
        if error.class != ErrorClass::BankMaintenance {
            return;
        }
        let Some(name) = self.source_name(lane) else {
            return;
        };
        let standing = self.standing(&name);
        standing.met = standing.met.saturating_add(1);
        let met = standing.met;
        let well = |at: Timestamp| at <= now && now.since(at) < JUST_NOW;
        // Where others have just been answered it may be about this one alone.
        if standing.up_at.is_some_and(well) && met < ENOUGH {
            return;
        }
        let announced = standing.hold.is_some_and(Hold::is_shut);
        let tells = !announced && standing.may_tell(now, Topic::Maintenance, OFTEN);
        let gap = PROBE_GAPS.delay(met, &mut self.rng);
        let at = until.filter(|until| *until > now);
        self.keep_still(now, lane, at.unwrap_or_else(|| now.after(gap)));
        if tells {
            let code = error.code.clone();
            self.fact(now, name, Input::MaintenanceMet { until, code });
        }
    }

    /// An attempt on a connection was throttled: where several were and nobody was served, it is
    /// about all of them.
    pub(super) fn throttled(&mut self, now: Timestamp, effect: EffectId, until: Option<Timestamp>) {
        let Some(name) = self.source_name(effect.lane) else {
            return;
        };
        let throttled = &mut self.standing(&name).throttled;
        throttled.insert(effect.id);
        let all = throttled.len() >= usize::from(ENOUGH);
        while throttled.len() > usize::from(ENOUGH) {
            throttled.pop_first();
        }
        if let Some(until) = until.filter(|until| all && *until > now) {
            self.block(now, effect.lane, until);
        }
    }

    /// An attempt on a connection has brought what it was to bring.
    pub(super) fn served(&mut self, lane: Lane) {
        if let Some(standing) = self.standings.get_mut(&lane) {
            standing.throttled.clear();
        }
    }

    /// A call has ended: it may show that a source is down, or up again.
    pub(super) fn watch_call(
        &mut self,
        now: Timestamp,
        lane: Lane,
        probe: bool,
        result: CallResult,
    ) {
        let Some(name) = self.source_name(lane) else {
            return;
        };
        let gate = self.gate(lane);
        let (phase, idle) = (gate.breaker.phase(), gate.queue.is_empty());
        match (result, phase) {
            (CallResult::Up, _) => {
                let standing = self.standing(&name);
                standing.met = 0;
                standing.up_at = Some(now);
                let open = standing.kept.incident.is_some();
                let settled = idle || phase == BreakerPhase::Closed;
                if open && settled && standing.may_tell(now, Topic::Answered, SOON) {
                    self.fact(now, name, Input::Answered);
                }
            }
            (CallResult::Down, BreakerPhase::Open { failed_probes, .. })
                if probe && failed_probes >= ENOUGH_PROBES =>
            {
                let standing = self.standing(&name);
                standing.free_since = now;
                if standing.met == 0 && standing.may_tell(now, Topic::Down, OFTEN) {
                    self.fact(now, name, Input::WentDown);
                }
            }
            (CallResult::Down, _) => {}
        }
    }

    /// A call of a collection has ended: it may show what somebody has to act on, or that it is
    /// mended.
    pub(super) fn watch_collection(
        &mut self,
        now: Timestamp,
        lane: Lane,
        tenant: TenantId,
        failed: Option<&Error>,
    ) {
        let Some(name) = self.source_name(lane) else {
            return;
        };
        let shown = failed.and_then(|error| AlertKind::of_call(error.class));
        let mended = |of, kind: AlertKind| {
            let other = Some(kind) != shown;
            other && kind.is_mended_by_call(of == tenant)
        };
        let standing = self.standing(&name);
        let shows =
            shown.is_some_and(|kind| standing.may_tell(now, Topic::Failed(tenant, kind), OFTEN));
        // What this node has told may not have come to be an alert yet.
        let mends = standing.failing.iter().any(|(of, kind)| mended(*of, *kind))
            || standing.has_alert(Timestamp::MAX, mended)
                && standing.may_tell(now, Topic::Mended(tenant), SOON);
        if !shows && !mends {
            return;
        }
        standing.failing.retain(|(of, kind)| !mended(*of, *kind));
        standing.failing.extend(shown.map(|kind| (tenant, kind)));
        let failed = failed.map(|error| (error.class, error.code.clone()));
        self.fact(now, name, Input::CallEnded { tenant, failed });
    }

    fn watch_backlog(&mut self, now: Timestamp, lane: Lane, patience: Duration) {
        let Some(gate) = self.gates.get(&lane) else {
            self.caught_up(now, lane);
            return;
        };
        let oldest = gate.queue.oldest_connection(LOOKED_AT);
        let is_free = gate.breaker.phase() == BreakerPhase::Closed
            && gate.paused_until.is_none_or(|until| until <= now)
            && self.hold_of(lane).is_none();
        let Some(name) = self.source_name(lane) else {
            return;
        };
        let standing = self.standing(&name);
        if !is_free {
            standing.free_since = now;
            return;
        }
        let since = oldest.map(|due| due.max(standing.free_since));
        if since.is_none_or(|since| now.since(since) < patience) {
            self.caught_up(now, lane);
        } else if !std::mem::replace(&mut standing.backed_up, true)
            || standing.may_tell(now, Topic::Backlog, SELDOM)
        {
            self.fact(now, name, Input::BackedUp);
        }
    }

    fn caught_up(&mut self, now: Timestamp, lane: Lane) {
        let Some(standing) = self.standings.get_mut(&lane) else {
            return;
        };
        let mine = std::mem::replace(&mut standing.backed_up, false);
        let name = standing.kept.name.clone();
        // One that another life of a node has told of is closed by the owner, in time.
        let backlog = |_, kind| kind == AlertKind::Backlog;
        let forgotten = standing.has_alert(now.before(FORGOTTEN), backlog)
            && standing.may_tell(now, Topic::Backlog, SELDOM);
        let owner = self.is_stepped_here(Aggregate::Source(SourceId::of(&name)).shard());
        if mine || (forgotten && owner) {
            self.fact(now, name, Input::CaughtUp);
        }
    }

    /// Steps a source by what was seen of it, or has its owner do so.
    fn fact(&mut self, now: Timestamp, name: SourceName, input: Input) {
        let request = Request::Source {
            name,
            tenant: NOBODY,
            input: Box::new(input),
        };
        let shard = request.subject().map(|id| id.shard());
        if shard.is_some_and(|shard| self.is_stepped_here(shard)) {
            let origin = Origin::Fact;
            let command = Command {
                request,
                key: None,
                origin,
            };
            self.command(now, command);
        } else if self.ready {
            self.actions.push(Action::Post(Box::new(request)));
        }
    }

    fn is_stepped_here(&self, shard: Shard) -> bool {
        let owned = self.leases.get(&shard);
        owned.is_some_and(|owned| owned.scanned && !owned.draining)
    }

    /// Steps a source by a command; gives it back where nothing changed.
    pub(super) fn apply_to_source(
        &mut self,
        now: Timestamp,
        source: Box<source::Source>,
        before: Before,
        command: Command<T>,
    ) -> Option<Box<source::Source>> {
        let Request::Source { tenant, input, .. } = &command.request else {
            return Some(source);
        };
        let (tenant, id) = (*tenant, source.id());
        let aggregate = Aggregate::Source(id);
        let announced = self.sources.by_lane(Lane::source(&source.name));
        let announced = announced.map(|source| std::sync::Arc::clone(&source.maintenance));
        let announced = announced.unwrap_or_default();
        let policy = Policy {
            announced: &announced,
            // The tenant that was there first runs the installation.
            operator: self.tenants.by_id.keys().next().copied(),
        };
        let stepped = source.as_ref().clone();
        let Some(step) = stepped.handle(now, input.as_ref().clone(), policy) else {
            self.settle(now, command, Answer::Done(aggregate));
            return Some(source);
        };
        let held = Held::Source(Box::new(step.next.clone()));
        let phase = Phase::Committing;
        self.residents.insert(aggregate, Resident { held, phase });
        let (key, origin) = self.key_and_origin(now, tenant, aggregate, Some(command));
        let write = SourceWrite {
            id,
            before,
            next: step.next,
            incidents: step.incidents,
            alerts: step.alerts,
        };
        self.pending.push_back(Step {
            write: Some(Write::Source(Box::new(write))),
            tenant,
            at: now,
            changes: Vec::new(),
            told: step.changes,
            unclassified: None,
            key,
            origin,
            wanted: None,
        });
        None
    }

    fn standing(&mut self, name: &SourceName) -> &mut Standing {
        let fresh = || Standing::of(source::Source::fresh(name.clone()));
        self.standings
            .entry(Lane::source(name))
            .or_insert_with(fresh)
    }

    fn source_name(&self, lane: Lane) -> Option<SourceName> {
        if lane.is_receiver() {
            return None;
        }
        self.sources.by_lane(lane).map(|source| source.name.clone())
    }
}

/// Whose requests are those that nobody has made.
const NOBODY: TenantId = TenantId::from_bytes([0; 16]);
/// The gaps between probes while a source says that it is in maintenance and not until when.
const PROBE_GAPS: RetryPolicy = RetryPolicy {
    base: Duration::from_secs(300),
    factor: 2.0,
    cap: Duration::from_secs(3_600),
    max_retries: u16::MAX,
    jitter: true,
};
/// When a node probes that hears of a maintenance from another.
const FIRST_PROBE: Duration = Duration::from_secs(300);
/// How many answers in a row tell of maintenance where others were answered `JUST_NOW`.
const ENOUGH: u16 = 3;
const JUST_NOW: Duration = Duration::from_secs(60);
/// How many probes have to fail before a closed source is an outage: half a minute's.
const ENOUGH_PROBES: u16 = 5;
/// How often the same thing is told.
const SOON: Duration = Duration::from_secs(5);
const OFTEN: Duration = Duration::from_secs(60);
const SELDOM: Duration = Duration::from_secs(600);
/// After which time an alert is taken for one of a node that is no more.
const FORGOTTEN: Duration = Duration::from_secs(3_600);
/// How often queues are looked at.
const BETWEEN_WATCHES: Duration = Duration::from_secs(10);
/// How many entries of a queue are looked at.
const LOOKED_AT: usize = 64;
