//! Everything together, and the loop that moves time on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use wellspring_core::{Ask, ConnectionId, Lane, Shard, SourceId, SubscriptionId, TenantId};
use wellspring_engine::{
    Cursor, Directory, Limits, Request, SendId, Settings, SourceTable, Store, TenantRules,
    TenantTable,
};
use wellspring_store::MemoryStore;

use crate::agenda::{Agenda, Occurrence};
use crate::attempt::Attempt;
use crate::bank::Bank;
use crate::call::{Call, Outages};
use crate::caller::Callers;
use crate::clock::{BEGIN, DAY, SECOND, VirtualClock};
use crate::counted::Starts;
use crate::dice::Dice;
use crate::disk::now;
use crate::endpoint::Endpoint;
use crate::errors::Errors;
use crate::figures::NothingLefts;
use crate::model::Model;
use crate::node::Node;
use crate::notifier::Outside;
use crate::provider::Provider;
use crate::receiver::Receiver;
use crate::{Fault, Options, Plant, Report, Run, Violation};

mod settle;
mod step;

/// A whole simulated installation.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) plant: Option<Plant>,
    pub(crate) dice: Dice,
    /// Milliseconds of the steady time that no fault touches.
    pub(crate) now: i64,
    pub(crate) agenda: Agenda,
    /// Renewals and polls, which are put off while nothing else happens.
    pub(crate) background: Agenda,
    /// The database's clock, which tells how long leases live.
    store_clock: Arc<VirtualClock>,
    put_off: i64,
    restless_until: i64,
    pub(crate) store: MemoryStore,
    pub(crate) leased: bool,
    pub(crate) limits: Limits,
    /// How many requests in a thousand the database answers slowly.
    pub(crate) slow: u32,
    pub(crate) sources: Arc<SourceTable>,
    pub(crate) tenants: Arc<TenantTable>,
    pub(crate) providers: Vec<Provider>,
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) callers: Callers,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Messages in flight, and to which subscription.
    pub(crate) sending: Vec<(SendId, SubscriptionId)>,
    pub(crate) keeps: BTreeMap<TenantId, Settings>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) flying: Vec<Call>,
    pub(crate) bank: Bank,
    /// Attempts under way by the number of their task.
    pub(crate) attempts: BTreeMap<u64, Attempt>,
    pub(crate) tasks: u64,
    /// Reports that wait for their answer, and the task that made them.
    pub(crate) reports: BTreeMap<u64, u64>,
    /// When calls arrived, by what counts them.
    pub(crate) starts: Starts,
    /// When calls were spent that begin something, whether or not they went out.
    pub(crate) spent: Starts<Lane>,
    /// When calls were spent from a limit that all calls of a source have in common.
    pub(crate) spent_of_all: Starts<Lane>,
    /// Until when sources have said that they want no calls.
    pub(crate) words: BTreeMap<Lane, i64>,
    /// Where nothing is left, as nodes have heard.
    pub(crate) nothing_left: NothingLefts,
    /// Until when what sources have said of their counts may hold anything back.
    pub(crate) held_back: BTreeMap<Lane, i64>,
    /// Connections that were fetched after the faults stopped.
    pub(crate) served: BTreeSet<ConnectionId>,
    /// When an attempt on a connection was last ended by its node.
    pub(crate) ended_at: BTreeMap<ConnectionId, i64>,
    /// When a call of a lane ended last.
    pub(crate) freed_at: BTreeMap<Lane, i64>,
    /// Connections that were promised by way of an inbox.
    pub(crate) promised: BTreeSet<ConnectionId>,
    /// Whether a test decides everything, and nothing is drawn.
    pub(crate) scripted: bool,
    pub(crate) outages: Outages,
    pub(crate) clock_jumps: u64,
    /// Faults that strike the next calls.
    pub(crate) armed: BTreeMap<Fault, u32>,
    pub(crate) refused_until: i64,
    /// Windows that were counted when they first struck.
    pub(crate) struck: BTreeSet<(Fault, i64)>,
    pub(crate) unreadable_until: i64,
    pub(crate) model: Model,
    /// When something durable was last set of a source.
    pub(crate) sources_set: BTreeMap<SourceId, i64>,
    /// What notifiers have in common.
    pub(crate) outside: Arc<Outside>,
    /// When the notifiers look next.
    pub(crate) telling_at: Option<i64>,
    pub(crate) cursor: Option<Cursor>,
    /// What waits in the inboxes, and since when it was seen there.
    pub(crate) inbox: BTreeMap<i64, (i64, Request)>,
    pub(crate) errors: Errors,
    /// Whether faults and new work are over.
    pub(crate) calm: bool,
    pub(crate) report: Report,
    pub(crate) violation: Option<Violation>,
    log: Vec<String>,
}

impl World {
    pub(crate) fn new(options: Options, errors: Errors) -> Self {
        let mut dice = Dice::new(options.seed);
        let leased = dice.permille(600);
        let store_clock = Arc::new(VirtualClock::default());
        store_clock.set(BEGIN);
        let clock: Arc<VirtualClock> = Arc::clone(&store_clock);
        let store = MemoryStore::new(clock, SHARDS, leased.then_some(LEASE));
        let calls = Dice::new(!options.seed);
        let others = Dice::new(options.seed.rotate_left(32));
        let providers = Provider::all(&mut dice, calls, others);
        let sources = SourceTable::new(providers.iter().map(|provider| provider.source.clone()));
        let small =
            |dice: &mut Dice, most: i64| usize::try_from(dice.between(1, most)).unwrap_or(1);
        let limits = Limits {
            batch_steps: small(&mut dice, 64),
            batch_bytes: small(&mut dice, 4_096),
            commands: 64,
            backlog: 10_000,
            in_flight: u32::try_from(dice.between(3, 40)).unwrap_or(3),
            receiver_concurrency: u32::try_from(dice.between(1, 5)).unwrap_or(1),
            residents: small(&mut dice, 24) - 1,
            sends: small(&mut dice, 20),
            subscription_concurrency: small(&mut dice, 6),
        };
        let slow = u32::try_from(dice.between(10, 250)).unwrap_or(10);
        let begin = wellspring_core::Timestamp::from_millis(BEGIN);
        let callers = Callers::new(&mut dice, begin);
        let short = Settings {
            keep_changes: Duration::from_secs(3 * 86_400),
            keep_collections: Duration::from_secs(2 * 86_400),
            keep_payloads: Duration::from_secs(86_400),
            keep_attempts: Duration::from_secs(86_400),
            legacy_waiting: true,
            ..Settings::default()
        };
        let keeps: BTreeMap<TenantId, Settings> = callers
            .tenants
            .iter()
            .copied()
            .zip([ask(&mut dice, Settings::default()), ask(&mut dice, short)])
            .collect();
        let rules = BTreeMap::iter(&keeps)
            .map(|(tenant, settings): (&TenantId, &Settings)| {
                let rules = TenantRules {
                    ask: settings.ask,
                    legacy_waiting: settings.legacy_waiting,
                };
                (*tenant, rules)
            })
            .collect();
        let nodes = if leased && dice.permille(800) { 2 } else { 1 };
        let endpoints = Endpoint::all(&mut dice, callers.tenants[0], begin);
        for endpoint in &endpoints {
            now(store.put_subscription(endpoint.subscription.clone(), None)).ok();
        }
        let outside = Arc::new(Outside::new(dice.seed(), options.plant));
        let mut world = Self {
            options,
            plant: options.plant,
            dice,
            now: BEGIN,
            agenda: Agenda::default(),
            background: Agenda::default(),
            store_clock,
            put_off: 0,
            restless_until: 0,
            store,
            leased,
            limits,
            slow,
            sources: Arc::new(sources),
            tenants: Arc::new(TenantTable { by_id: rules }),
            providers,
            receivers: Receiver::all(),
            callers,
            endpoints,
            sending: Vec::new(),
            keeps,
            nodes: Vec::new(),
            flying: Vec::new(),
            bank: Bank::default(),
            attempts: BTreeMap::new(),
            tasks: 0,
            reports: BTreeMap::new(),
            starts: Starts::new(),
            spent: Starts::new(),
            spent_of_all: Starts::new(),
            words: BTreeMap::new(),
            nothing_left: NothingLefts::new(),
            held_back: BTreeMap::new(),
            served: BTreeSet::new(),
            ended_at: BTreeMap::new(),
            freed_at: BTreeMap::new(),
            promised: BTreeSet::new(),
            scripted: false,
            outages: Outages::new(),
            clock_jumps: 0,
            armed: BTreeMap::new(),
            refused_until: 0,
            struck: BTreeSet::new(),
            unreadable_until: 0,
            model: Model::default(),
            sources_set: BTreeMap::new(),
            outside,
            telling_at: None,
            cursor: None,
            inbox: BTreeMap::new(),
            errors,
            calm: false,
            report: Report {
                seeds: 1,
                ..Report::default()
            },
            violation: None,
            log: Vec::new(),
        };
        for _ in 0..nodes {
            let node = world.new_node();
            world.nodes.push(node);
        }
        world
    }

    pub(crate) fn run(mut self) -> Run {
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        self.agenda.push(self.now + SECOND, Occurrence::Step);
        self.agenda.push(self.now + DAY / 4, Occurrence::Sweep);
        let end = BEGIN + i64::from(self.options.days) * DAY;
        while self.violation.is_none()
            && (self.now < end || self.report.inputs < self.options.inputs)
        {
            self.advance();
        }
        if self.violation.is_none() {
            self.settle();
        }
        self.report.millis = self.now - BEGIN;
        let accepted = self.model.rows.len() + self.model.erased.len() + self.model.swept.len();
        let [delivered, failed] = self.model.ended;
        self.report.links = self.model.links.counts();
        self.report.rows.clone_from(&self.model.links.rows);
        self.report.collections = [u64::try_from(accepted).unwrap_or(0), delivered, failed];
        Run {
            report: self.report,
            violation: self.violation,
            log: self.log,
        }
    }

    /// Lets the next thing happen; returns false when there is none.
    pub(crate) fn advance(&mut self) -> bool {
        let wake = self.next_tick();
        let ahead = self.agenda.first_at();
        let next = match (wake, ahead) {
            (Some((at, _)), Some(ahead)) => Some(at.min(ahead)),
            (wake, ahead) => wake.map(|(at, _)| at).or(ahead),
        };
        if let Some(first) = self.background.first_at()
            && next.is_none_or(|next| first < next)
        {
            match next {
                Some(next) if self.may_coast(first) => {
                    let millis = next - first + 1;
                    self.background.put_off(millis);
                    self.put_off += millis;
                }
                Some(_) => {
                    if let Some((at, occurrence)) = self.background.pop() {
                        self.happen(at, occurrence);
                    }
                    return true;
                }
                None if self.may_coast(first) => return false,
                None => {
                    if let Some((at, occurrence)) = self.background.pop() {
                        self.happen(at, occurrence);
                    }
                    return true;
                }
            }
        }
        match (wake, ahead) {
            (Some((at, node)), ahead) if ahead.is_none_or(|ahead| at < ahead) => {
                self.move_to(at);
                self.turn(node);
                true
            }
            (_, Some(_)) => {
                if let Some((at, occurrence)) = self.agenda.pop() {
                    self.happen(at, occurrence);
                }
                true
            }
            (_, None) => false,
        }
    }

    /// Nodes, leases or work are in motion: renewals and polls matter.
    pub(crate) fn unsettle(&mut self) {
        let lease = i64::try_from(LEASE.as_millis()).unwrap_or(0);
        self.restless_until = self.restless_until.max(self.now + 4 * lease);
    }

    fn may_coast(&self, at: i64) -> bool {
        let paused = self.nodes.iter().any(|node| node.paused_until > self.now);
        let moving = self
            .nodes
            .iter()
            .any(|node| node.acquiring || node.releasing > 0);
        let waiting =
            now(self.store.inbox(self.store.shards(), 1)).is_ok_and(|rows| !rows.is_empty());
        at > self.restless_until && !paused && !moving && !waiting
    }

    fn next_tick(&self) -> Option<(i64, usize)> {
        let ticks = self.nodes.iter().enumerate().filter(|(_, node)| node.up);
        ticks
            .filter_map(|(place, node)| {
                let wake = node.driver.next_wakeup()?.as_millis() - node.offset;
                Some((wake.max(self.now).max(node.paused_until), place))
            })
            .min()
    }

    fn move_to(&mut self, at: i64) {
        self.now = self.now.max(at);
        self.store_clock.set(self.now - self.put_off);
    }

    /// Asks the store something that goes by the present moment and not by how long leases live.
    pub(crate) fn at_present<R>(&self, ask: impl FnOnce(&MemoryStore) -> R) -> R {
        self.store_clock.set(self.now);
        let answer = ask(&self.store);
        self.store_clock.set(self.now - self.put_off);
        answer
    }

    fn happen(&mut self, at: i64, occurrence: Occurrence) {
        self.move_to(at);
        match occurrence {
            Occurrence::Step => self.step(),
            Occurrence::Sweep => self.sweep(),
            Occurrence::Start(node) => {
                self.start(node);
                self.turn(node);
            }
            Occurrence::Stop { node, back_in } => {
                let state = &self.nodes[node];
                if state.up && !state.stopping && state.paused_until <= self.now {
                    self.stop(node, back_in);
                }
            }
            Occurrence::Halt { node, boot } => {
                if self.nodes[node].up && self.nodes[node].boot == boot {
                    self.halt(node);
                }
            }
            Occurrence::Send(ask) => self.send(*ask),
            Occurrence::Act(attempt) => self.act(attempt),
            Occurrence::Announce => self.announce(),
            Occurrence::TellPeople => self.tell_people(),
            Occurrence::Gate { node, boot, gate } => self.open_gate(node, boot, gate),
            Occurrence::Enable(id) => self.enable(id),
            Occurrence::Look(connection, interaction) => self.look(connection, interaction),
            Occurrence::Exec { node, boot, op } => {
                let state = &self.nodes[node];
                if state.cut_off && state.paused_until > self.now && state.boot == boot {
                    let at = state.paused_until;
                    self.agenda.push(at, Occurrence::Exec { node, boot, op });
                } else {
                    self.exec(node, boot, op);
                }
            }
            Occurrence::Tell { node, boot, news } => {
                let state = &self.nodes[node];
                if !state.up || state.boot != boot {
                    return;
                }
                if state.paused_until > self.now {
                    let at = state.paused_until;
                    self.agenda.push(at, Occurrence::Tell { node, boot, news });
                } else {
                    self.tell(node, news);
                    self.turn(node);
                }
            }
        }
    }

    /// Counts a fault that lasts until `until`, once.
    pub(crate) fn strike_until(&mut self, fault: Fault, until: i64) {
        if self.struck.insert((fault, until)) {
            self.report.strike(fault);
        }
    }

    /// Uses up one strike of an armed fault.
    pub(crate) fn spend(&mut self, fault: Fault) -> bool {
        match self.armed.get_mut(&fault) {
            Some(left) if *left > 0 => {
                *left -= 1;
                self.report.strike(fault);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Writes a line of the event log, if anybody wants it.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.options.log {
            let millis = self.now - BEGIN;
            let (days, rest) = (millis / DAY, millis % DAY);
            let line = line();
            let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
            let (seconds, millis) = (rest / SECOND % 60, rest % SECOND);
            self.log.push(format!(
                "{days:>3}d {hours:02}:{minutes:02}:{seconds:02}.{millis:03} {line}"
            ));
        }
    }

    /// Returns the shards that nobody was granted.
    pub(crate) fn unowned(&self) -> Vec<Shard> {
        let shards = self.store.shards().into_iter();
        shards
            .filter(|shard| !self.model.owners.contains_key(shard))
            .collect()
    }
}

fn ask(dice: &mut Dice, settings: Settings) -> Settings {
    let asks = [
        Ask::UserPresent,
        Ask::Always,
        Ask::Hours { from: 22, to: 7 },
    ];
    Settings {
        ask: asks[dice.below(3)],
        ..settings
    }
}

const SHARDS: u8 = 4;
pub(crate) const LEASE: Duration = Duration::from_secs(5);
