//! What is drawn at each step: an action of a caller, or a fault.

use wellspring_core::budget::Spends;
use wellspring_core::connection::Patch;
use wellspring_core::{Actor, CollectionId, ConnectionId, SourceName};
use wellspring_engine::{
    Batch, Before, CollectionWrite, DispatchWrites, Request, Store, Sweep, Wish, Write,
};

use super::{LEASE, World};
use crate::agenda::Occurrence;
use crate::clock::{DAY, HOUR, MINUTE, SECOND};
use crate::disk::now;
use crate::provider::{Window, spell};
use crate::{Fault, Plant};

impl World {
    pub(super) fn step(&mut self) {
        if self.calm {
            return;
        }
        self.report.steps += 1;
        match self.dice.below(100) {
            0..25 => self.collect(1),
            25..32 => {
                let many = self.dice.between(5, 40);
                self.collect(many);
            }
            32..38 => self.repeat(),
            38..46 => self.resume(0),
            46..48 => self.erase(0),
            48..74 => self.people(0),
            74..94 => self.fault(),
            94..97 => self.operate(),
            _ => {}
        }
        self.check_overdue();
        if self.report.steps.is_multiple_of(20) {
            self.audit();
        }
        let gap = match self.dice.below(100) {
            0..50 => self.dice.between(0, 3 * SECOND),
            50..75 => self.dice.between(3 * SECOND, 5 * MINUTE),
            75..92 => self.dice.between(5 * MINUTE, 4 * HOUR),
            _ => self.dice.between(4 * HOUR, 16 * HOUR),
        };
        self.agenda.push(self.now + gap, Occurrence::Step);
    }

    fn collect(&mut self, many: i64) {
        let names: Vec<SourceName> = self
            .sources
            .iter()
            .filter(|source| source.connections.is_none())
            .map(|source| source.name.clone())
            .collect();
        let hosts: Vec<&'static str> = self
            .receivers
            .iter()
            .map(|receiver| receiver.host)
            .collect();
        let place = self.dice.below(names.len());
        let host = self.dice.pick(&hosts).unwrap_or("plain.example");
        for _ in 0..many {
            let source = names[place].clone();
            let ask = self.callers.collect(&mut self.dice, self.now, source, host);
            if ask.key.is_some() {
                self.model.keyed.insert(ask.intent);
            }
            let at = self.now + self.dice.between(0, 50);
            if ask.key.is_some() && self.dice.permille(100) {
                self.agenda
                    .push(at, Occurrence::Send(Box::new(ask.clone())));
            }
            self.agenda.push(at, Occurrence::Send(Box::new(ask)));
        }
    }

    /// A caller that is not sure whether it was heard asks again.
    fn repeat(&mut self) {
        let now = self.now;
        self.callers
            .intents
            .retain(|_, intent| intent.first_at > now - 12 * HOUR);
        let recent: Vec<u64> = self.callers.intents.keys().copied().collect();
        if let Some(intent) = self.dice.pick(&recent)
            && let Some(intent) = self.callers.intents.get(&intent)
        {
            let ask = intent.ask.clone();
            self.agenda.push(now, Occurrence::Send(Box::new(ask)));
        }
    }

    /// People ask for this and that just when nodes and shards are in motion.
    fn pester(&mut self, within: i64) {
        for _ in 0..self.dice.between(2, 8) {
            let later = self.dice.between(0, within);
            let drawn = self.dice.below(10);
            if drawn < 4 {
                self.people(later);
            } else if drawn < 8 {
                self.resume(later);
            } else {
                self.erase(later);
            }
        }
    }

    fn resume(&mut self, later: i64) {
        let failed: Vec<CollectionId> = self
            .model
            .rows
            .values()
            .filter(|row| row.finished_at().is_some())
            .filter(|row| row.collection.status() == wellspring_core::CollectionStatus::Failed)
            .map(|row| row.collection.id)
            .collect();
        let known = self.dice.pick(&self.callers.known);
        let (tenant, id) = match self.dice.pick(&failed) {
            Some(id) if self.dice.permille(800) => (self.model.rows[&id].collection.tenant, id),
            Some(_) | None => match known {
                Some(known) => known,
                None => return,
            },
        };
        let actor = Actor::Operator;
        let keyed = self.dice.permille(500);
        let ask = self
            .callers
            .about(Request::Resume { id, tenant, actor }, keyed);
        let at = self.now + later;
        for _ in 0..self.dice.below(3) {
            let at = at + self.dice.between(0, 20);
            self.agenda
                .push(at, Occurrence::Send(Box::new(ask.clone())));
        }
        self.agenda.push(at, Occurrence::Send(Box::new(ask)));
    }

    fn erase(&mut self, later: i64) {
        let Some((mut tenant, id)) = self.dice.pick(&self.callers.known) else {
            return;
        };
        if self.dice.permille(100) {
            tenant = self.dice.pick(&self.callers.tenants).unwrap_or(tenant);
        }
        let actor = Actor::Operator;
        let ask = self
            .callers
            .about(Request::Erase { id, tenant, actor }, false);
        self.agenda
            .push(self.now + later, Occurrence::Send(Box::new(ask)));
    }

    fn fault(&mut self) {
        let Some(fault) = self.dice.pick(&Fault::ALL) else {
            return;
        };
        let node = self.dice.below(self.nodes.len());
        let works = self.nodes[node].up && !self.nodes[node].stopping;
        self.note(|| format!("fault drawn: {fault}, node {node}"));
        match fault {
            Fault::CrashBeforeCommit
            | Fault::CrashAfterCommit
            | Fault::CommitUnknownCommitted
            | Fault::CommitUnknownLost => {
                self.nodes[node].fate = Some(fault);
                self.pester(10 * SECOND);
                let many = self.dice.between(1, 6);
                self.collect(many);
            }
            Fault::CommitRefused => {
                self.refused_until = self.now + self.dice.between(SECOND, 20 * MINUTE);
                let many = self.dice.between(1, 6);
                self.collect(many);
            }
            Fault::LeaseLostMidCall => {
                if self.leased && works {
                    self.nodes[node].stalls = true;
                    self.pester(30 * SECOND);
                    let many = self.dice.between(1, 8);
                    self.collect(many);
                }
            }
            Fault::ShardHandover | Fault::Restart => {
                let others = self.nodes.iter().filter(|other| other.up).count();
                let alone = fault == Fault::ShardHandover && others < 2;
                if works && !alone {
                    let longest = if fault == Fault::Restart {
                        MINUTE
                    } else {
                        HOUR
                    };
                    let back_in = self.dice.between(0, longest);
                    if fault == Fault::Restart {
                        self.report.strike(fault);
                    }
                    self.pester(20);
                    let at = self.now + self.dice.between(0, 30);
                    self.agenda.push(at, Occurrence::Stop { node, back_in });
                    self.pester(30 * SECOND);
                }
            }
            Fault::ResponseDuplicated | Fault::ResponseLost | Fault::ResponseDelayed => {
                let many = u32::try_from(self.dice.between(1, 4)).unwrap_or(1);
                self.armed.insert(fault, many);
            }
            Fault::ClockForward | Fault::ClockBackward => {
                let by = self.dice.between(SECOND, 3 * HOUR);
                let by = if fault == Fault::ClockForward {
                    by
                } else {
                    -by
                };
                self.jump(node, by);
                self.turn_if_awake(node);
            }
            Fault::SourceOutage => {
                let hours = if self.dice.permille(100) { 80 } else { 10 };
                let until = self.now + self.dice.between(MINUTE, hours * HOUR);
                let place = self.dice.below(self.providers.len());
                let from = self.now;
                self.providers[place].down = Window { from, until };
                self.report.strike(fault);
                let many = self.dice.between(0, 30);
                self.collect(many);
            }
            Fault::SourceThrottles => {
                let place = self.dice.below(self.providers.len());
                let until = self.now + spell(&mut self.dice);
                let window = Window {
                    from: self.now,
                    until,
                };
                let says_when = self.dice.permille(500);
                let resting = self.dice.permille(300);
                let provider = &mut self.providers[place];
                if resting {
                    provider.maintenance = window;
                } else {
                    provider.throttling = window;
                    provider.says_when = says_when;
                    self.report.strike(fault);
                }
            }
            Fault::ReceiverDown => {
                let place = self.dice.below(self.receivers.len());
                let days = if self.dice.permille(150) {
                    4 * DAY
                } else {
                    DAY
                };
                let until = self.now + self.dice.between(MINUTE, days);
                let from = self.now;
                self.receivers[place].down = Window { from, until };
                self.report.strike(fault);
            }
            Fault::ReceiverGone => {
                let place = self.dice.below(self.receivers.len());
                let until = self.now + self.dice.between(MINUTE, 6 * HOUR);
                let from = self.now;
                self.receivers[place].gone = Window { from, until };
                self.report.strike(fault);
            }
            Fault::EndpointDown => {
                let place = self.dice.below(self.endpoints.len());
                let most = if self.dice.permille(150) {
                    7 * DAY
                } else {
                    DAY
                };
                let until = self.now + self.dice.between(MINUTE, most);
                let from = self.now;
                let window = Window { from, until };
                if self.dice.permille(700) {
                    self.endpoints[place].down = window;
                } else {
                    self.endpoints[place].throttling = window;
                }
                self.report.strike(fault);
            }
            Fault::EndpointGone => {
                let place = self.dice.below(self.endpoints.len());
                let until = self.now + self.dice.between(MINUTE, HOUR);
                let from = self.now;
                self.endpoints[place].gone = Window { from, until };
            }
            Fault::ReportDelayed => {
                self.armed.insert(fault, 1);
            }
            Fault::AttemptEnded => self.end_some_attempt(),
            Fault::AnswerPosted => {
                // People answer while the shard of their question changes hands.
                let open: Vec<_> = self
                    .model
                    .links
                    .open
                    .iter()
                    .map(|(id, of)| (*of, *id))
                    .collect();
                if works && let Some((connection, interaction)) = self.dice.pick(&open) {
                    let at = self.now;
                    self.agenda.push(
                        at,
                        Occurrence::Stop {
                            node,
                            back_in: HOUR,
                        },
                    );
                    for _ in 0..3 {
                        let at = self.now + self.dice.between(0, 20 * SECOND);
                        self.agenda
                            .push(at, Occurrence::Look(connection, interaction));
                    }
                }
            }
            // They strike by themselves.
            Fault::CrashWhileTelling | Fault::NoticeUnknown | Fault::SwitchedOff => {}
            Fault::LoadFailed => {
                self.unreadable_until = self.now + self.dice.between(SECOND, MINUTE);
                self.pester(MINUTE);
            }
        }
    }

    /// Somebody ends a fetch that is under way.
    fn end_some_attempt(&mut self) {
        let flying: Vec<_> = self
            .flying
            .iter()
            .filter_map(|call| crate::attempt::connection_of(&call.effect))
            .collect();
        if let Some(id) = self.dice.pick(&flying) {
            self.end_attempt_on(id);
        }
    }

    /// Somebody has the attempt on a connection ended.
    pub(crate) fn end_attempt_on(&mut self, id: ConnectionId) {
        let wish = match self.dice.below(10) {
            0 => Wish::Delete,
            1..6 => {
                let patch = Patch {
                    enabled: Some(false),
                    ..Patch::default()
                };
                let again = Patch {
                    enabled: Some(true),
                    ..Patch::default()
                };
                let later = self.dice.between(0, MINUTE);
                self.wish(id, Wish::Patch(Box::new(again)), later);
                self.wish(id, Wish::Fetch, later + 50);
                Wish::Patch(Box::new(patch))
            }
            _ => self.replace_credentials(id),
        };
        self.wish(id, wish, 0);
    }

    /// The clock of a node jumps, unless it would be too far off.
    pub(crate) fn jump(&mut self, node: usize, by: i64) {
        let offset = self.nodes[node].offset + by;
        if offset.abs() > 4 * HOUR {
            return;
        }
        self.report.strike(if by < 0 {
            Fault::ClockBackward
        } else {
            Fault::ClockForward
        });
        self.clock_jumps += 1;
        self.nodes[node].offset = offset;
        let troubled_at = &mut self.nodes[node].troubled_at;
        *troubled_at = (self.now + by.abs()).max(*troubled_at);
    }

    /// The node stands still past its lease.
    pub(crate) fn stall(&mut self, node: usize) {
        let lease = i64::try_from(LEASE.as_millis()).unwrap_or(0);
        let until = self.now + self.dice.between(lease, 6 * lease);
        self.note(|| format!("node {node} stands still"));
        let cut_off = self.dice.permille(500);
        let state = &mut self.nodes[node];
        state.stalls = false;
        state.paused_until = until;
        state.cut_off = cut_off;
        state.troubled_at = until;
        self.unsettle();
    }

    fn turn_if_awake(&mut self, node: usize) {
        if self.nodes[node].up && self.nodes[node].paused_until <= self.now {
            self.turn(node);
        }
    }

    pub(super) fn sweep(&mut self) {
        if self.calm {
            return;
        }
        self.audit();
        if self.plant == Some(Plant::RetentionEatsLive) {
            self.eat_live();
        }
        let node = self.dice.below(self.nodes.len());
        let clock = self.node_now(node);
        let sweep = Sweep {
            now: clock,
            tenants: self.keeps.clone(),
            rows: 1_000,
        };
        match now(self.store.sweep(sweep)) {
            Ok(swept) => self.note(|| format!("retention removed {} rows", swept.removed)),
            Err(error) => self.broken("the store answers", error.to_string()),
        }
        let old: Vec<CollectionId> = self
            .model
            .rows
            .values()
            .filter(|row| {
                let keep = self.keeps[&row.collection.tenant].keep_collections;
                row.finished_at().is_some_and(|at| at < clock.before(keep))
            })
            .map(|row| row.collection.id)
            .collect();
        for id in old {
            self.model.rows.remove(&id);
            self.model.swept.insert(id);
        }
        self.audit();
        let gap = self.dice.between(HOUR, 12 * HOUR);
        self.agenda.push(self.now + gap, Occurrence::Sweep);
    }

    /// The planted bug: retention removes what is unfinished, past every check of the store.
    fn eat_live(&mut self) {
        let Some(row) = self.model.rows.values().find(|row| row.is_live()) else {
            return;
        };
        let id = row.collection.id;
        let Some((owner, epoch)) = self.model.owners.get(&id.shard()).copied() else {
            return;
        };
        let batch = Batch {
            incarnation: owner,
            number: 0,
            epochs: vec![(id.shard(), epoch)],
            writes: vec![Write::Collection(Box::new(CollectionWrite {
                id,
                before: Before::Live(row.collection.version),
                next: None,
                attempt: None,
                payload: None,
            }))],
            entries: Vec::new(),
            keys: Vec::new(),
            consumed: Vec::new(),
            unclassified: Vec::new(),
            dispatch: DispatchWrites::default(),
            spends: Spends::default(),
        };
        // A shard that has just changed hands keeps its row for this time.
        now(self.store.commit(std::sync::Arc::new(batch))).ok();
    }
}
