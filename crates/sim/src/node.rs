//! One node: the real driver, and an imitation of the shell around it.

use std::collections::BTreeSet;
use std::sync::Arc;

use wellspring_core::budget::Spent;
use wellspring_core::{IncarnationId, Timestamp};
use wellspring_engine::{Action, Driver, Event, InboxRow};

use crate::agenda::{Again, News, Occurrence, StoreOp};
use crate::clock::SECOND;
use crate::notifier::Teller;
use crate::plant::spoil;
use crate::world::World;
use crate::{Fault, Plant};

mod membership;

pub(crate) use membership::PAGE;

/// A node and all that dies with its process.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) up: bool,
    pub(crate) stopping: bool,
    /// Counts its processes: what was on its way to an earlier one is lost.
    pub(crate) boot: u64,
    /// Until when it stands still.
    pub(crate) paused_until: i64,
    /// Whether its requests to the database stand still as well.
    pub(crate) cut_off: bool,
    /// How far its clock is ahead.
    pub(crate) offset: i64,
    pub(crate) incarnation: IncarnationId,
    pub(crate) driver: Driver<u64>,
    pub(crate) inbox: Inbox,
    pub(crate) releasing: usize,
    /// Whether shards are being taken and read.
    pub(crate) acquiring: bool,
    /// What becomes of its next commit.
    pub(crate) fate: Option<Fault>,
    /// Whether it stands still as soon as it calls somebody.
    pub(crate) stalls: bool,
    /// When something last kept it from its work.
    pub(crate) troubled_at: i64,
    /// Who tells people.
    pub(crate) teller: Option<Teller>,
}

/// Remembers which inbox rows the driver already has.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    taken: BTreeSet<i64>,
    pub(crate) reading: bool,
}

impl Inbox {
    fn forget(&mut self, number: i64) {
        self.taken.remove(&number);
    }

    pub(crate) fn fresh(&mut self, rows: Vec<InboxRow>) -> Vec<InboxRow> {
        let present = rows.iter().map(|row| row.number).collect();
        let fresh = rows
            .into_iter()
            .filter(|row| !self.taken.contains(&row.number))
            .collect();
        self.taken = present;
        fresh
    }
}

impl World {
    pub(crate) fn new_node(&mut self) -> Node {
        let incarnation = self.new_incarnation();
        Node {
            up: false,
            stopping: false,
            boot: 0,
            paused_until: 0,
            cut_off: false,
            offset: 0,
            incarnation,
            driver: self.new_driver(incarnation),
            inbox: Inbox::default(),
            releasing: 0,
            acquiring: false,
            fate: None,
            stalls: false,
            troubled_at: self.now,
            teller: None,
        }
    }

    pub(crate) fn node_now(&self, node: usize) -> Timestamp {
        Timestamp::from_millis(self.now + self.nodes[node].offset)
    }

    pub(crate) fn start(&mut self, node: usize) {
        if self.nodes[node].up {
            return;
        }
        self.note(|| format!("node {node} starts"));
        self.nodes[node].up = true;
        self.nodes[node].stopping = false;
        self.nodes[node].boot += 1;
        self.nodes[node].paused_until = 0;
        self.nodes[node].cut_off = false;
        self.begin_anew(node);
        self.start_teller(node);
    }

    /// The process dies; nothing of it runs any more, and what it waited for is lost.
    pub(crate) fn crash(&mut self, node: usize, back_in: i64) {
        self.note(|| format!("node {node} crashes"));
        self.end_process(node);
        self.agenda
            .push(self.now + back_in, Occurrence::Start(node));
    }

    pub(crate) fn stop(&mut self, node: usize, back_in: i64) {
        self.note(|| format!("node {node} stops"));
        let now = self.node_now(node);
        let boot = self.nodes[node].boot;
        self.nodes[node].stopping = true;
        let shards = self.nodes[node].driver.shards().collect();
        self.give(node, now, Event::Drain(shards));
        self.agenda
            .push(self.now + 10 * SECOND, Occurrence::Halt { node, boot });
        self.agenda
            .push(self.now + 11 * SECOND + back_in, Occurrence::Start(node));
        self.turn(node);
    }

    /// The shutdown is complete, or its grace is over.
    pub(crate) fn halt(&mut self, node: usize) {
        let incarnation = self.nodes[node].incarnation;
        self.leave(incarnation);
        self.end_process(node);
    }

    fn end_process(&mut self, node: usize) {
        let boot = self.nodes[node].boot;
        self.nodes[node].up = false;
        self.nodes[node].boot += 1;
        self.nodes[node].teller = None;
        let before = self.flying.len();
        self.flying.retain(|call| call.node != node);
        self.attempts_lost(|attempt| attempt.node == node);
        let dead = self.nodes[node].incarnation;
        self.sending.retain(|(id, _)| id.incarnation != dead);
        if self.flying.len() < before {
            self.report.strike(Fault::ResponseLost);
        }
        self.lost_callers(node, boot);
        self.unsettle();
    }

    /// The incarnation is dead: what it knew is forgotten and read again.
    pub(crate) fn begin_anew(&mut self, node: usize) {
        let dead = self.nodes[node].incarnation;
        self.dropped_callers(dead);
        self.attempts_lost(|attempt| attempt.effect.incarnation == dead);
        let incarnation = self.new_incarnation();
        let driver = self.new_driver(incarnation);
        let state = &mut self.nodes[node];
        state.incarnation = incarnation;
        state.driver = driver;
        state.inbox = Inbox::default();
        state.releasing = 0;
        state.acquiring = false;
        state.troubled_at = self.now;
        self.unsettle();
        self.ask_store(node, StoreOp::Join(incarnation));
    }

    /// Gives the driver an event.
    pub(crate) fn give(&mut self, node: usize, now: Timestamp, event: Event<u64>) {
        self.report.inputs += 1;
        self.nodes[node].driver.handle(now, event);
    }

    /// One round of the shell: tick where it is time, then perform.
    pub(crate) fn turn(&mut self, node: usize) {
        if !self.nodes[node].up {
            return;
        }
        self.perform(node);
        let now = self.node_now(node);
        let due = |world: &Self| {
            let state = &world.nodes[node];
            state.up && state.driver.next_wakeup().is_some_and(|at| at <= now)
        };
        for _ in 0..3 {
            if !due(self) {
                break;
            }
            self.nodes[node].driver.handle(now, Event::Tick);
            self.perform(node);
        }
        if due(self) {
            let state = &self.nodes[node].driver;
            let seen = format!(
                "node {node} at {now}, in flight {}, lanes {:?}",
                state.in_flight(),
                state.lanes()
            );
            self.broken("a tick leaves nothing due", seen);
        }
        if self.nodes[node].up
            && self.nodes[node].stopping
            && self.nodes[node].driver.shards().next().is_none()
        {
            self.halt(node);
        }
        self.show_holding(node);
        self.check_turn(node);
    }

    fn perform(&mut self, node: usize) {
        let mut actions = Vec::new();
        self.nodes[node].driver.flush(&mut actions);
        for number in self.nodes[node].driver.untaken() {
            self.nodes[node].inbox.forget(number);
        }
        // A fenced driver answers those who wait in no particular order.
        actions.sort_by_key(|action| match action {
            Action::Reply(caller, _) => *caller,
            Action::Commit(_)
            | Action::Resolve(_)
            | Action::Post(_)
            | Action::Load(_)
            | Action::Fetch(..)
            | Action::Deliver(..)
            | Action::Run(..)
            | Action::Abort(_)
            | Action::Children(_)
            | Action::Send(..)
            | Action::Read(..)
            | Action::Release(_) => 0,
            Action::Fenced => u64::MAX,
        });
        let incarnation = self.nodes[node].incarnation;
        for action in actions {
            match action {
                Action::Reply(caller, answer) => self.reply(node, caller, &answer),
                Action::Commit(batch) => {
                    let batch = spoil::spoilt(self.plant, batch, &self.model.links);
                    match self.plant {
                        Some(Plant::ActBeforeCommit) => {
                            let granted = batch.spends.asks.iter().map(|ask| ask.calls);
                            let spent = Spent {
                                granted: granted.collect(),
                                ..Spent::default()
                            };
                            let event = Event::Committed(batch.number, Ok(spent));
                            let boot = self.nodes[node].boot;
                            let news = News::Driver(Some(incarnation), event);
                            self.agenda
                                .push(self.now, Occurrence::Tell { node, boot, news });
                        }
                        Some(Plant::AckBeforeCommit) => self.answer_early(&batch),
                        Some(_) | None => {}
                    }
                    self.ask_store(node, StoreOp::Commit(batch));
                }
                Action::Resolve(number) => {
                    self.ask_store(node, StoreOp::Resolve(incarnation, number));
                }
                // Where leases do not end there is no other node.
                Action::Post(request) => {
                    if self.leased {
                        self.ask_store(node, StoreOp::Leave(*request));
                    }
                }
                Action::Load(asked) => self.ask_store(node, StoreOp::Load(incarnation, asked)),
                Action::Fetch(effect, order) => self.fetch(node, effect, &order),
                Action::Deliver(effect, order) => self.deliver(node, effect, order),
                Action::Run(effect, order) => self.run_attempt(node, effect, order),
                Action::Abort(effect) => self.abort(node, effect),
                Action::Send(id, order) => self.send_change(node, id, &order),
                Action::Read(number, query) => {
                    self.ask_store(node, StoreOp::Read(incarnation, number, query));
                }
                Action::Children(account) => {
                    self.ask_store(node, StoreOp::Children(incarnation, account));
                }
                Action::Release(shards) => {
                    self.nodes[node].releasing += 1;
                    self.ask_store(node, StoreOp::Release(incarnation, shards));
                }
                Action::Fenced => {
                    self.lost_lease(node);
                    self.begin_anew(node);
                }
            }
        }
    }

    pub(crate) fn lost_lease(&mut self, node: usize) {
        self.note(|| format!("node {node} was fenced"));
        let incarnation = self.nodes[node].incarnation;
        if self
            .flying
            .iter()
            .any(|call| call.effect.incarnation == incarnation)
        {
            self.report.strike(Fault::LeaseLostMidCall);
        }
    }

    pub(crate) fn again(&mut self, node: usize, what: Again, pause: i64) {
        let (boot, incarnation) = (self.nodes[node].boot, self.nodes[node].incarnation);
        let background = matches!(what, Again::Renew | Again::Inbox);
        let occurrence = Occurrence::Tell {
            node,
            boot,
            news: News::Again(incarnation, what),
        };
        let agenda = if background {
            &mut self.background
        } else {
            &mut self.agenda
        };
        agenda.push(self.now + pause, occurrence);
    }

    fn new_incarnation(&mut self) -> IncarnationId {
        let now = Timestamp::from_millis(self.now);
        IncarnationId::mint(now, self.dice.rng())
    }

    fn new_driver(&mut self, incarnation: IncarnationId) -> Driver<u64> {
        let seed = self.dice.seed();
        Driver::new(
            incarnation,
            spoil::sources(self.plant, &self.sources),
            Arc::clone(&self.tenants),
            self.limits,
            seed,
        )
    }
}
