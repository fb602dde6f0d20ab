//! Who tells people: the real notifier of each node, on a runtime whose clock the world sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use wellspring_core::notification::{
    Channel, Contact, Digest, NotificationKind, Preferences, PushSubscription, QuietHours,
};
use wellspring_core::{AccountId, IncarnationId, TenantId, Timestamp};
use wellspring_engine::{
    AddressBook, Holding, NoticeOrder, Notices, Notifier, NotifierParts, Person,
};

use crate::agenda::Occurrence;
use crate::clock::{HOUR, SECOND, VirtualClock};
use crate::disk::now;
use crate::model::{Broken, Told};
use crate::world::World;

mod outside;
#[cfg(test)]
mod tests;
mod way;

pub(crate) use outside::Outside;
use outside::{Heard, OpenBook, Post, span};
use way::Way;

/// A notifier in its node's process; it dies with it, whatever it is waiting for.
#[derive(Debug)]
pub(crate) struct Teller {
    runtime: Runtime,
    clock: Arc<VirtualClock>,
    holding: watch::Sender<Holding>,
    grew: watch::Sender<u64>,
    /// Until when its runtime's clock has come.
    at: i64,
}

impl Teller {
    fn start(world: &mut World, node: usize) -> Option<Self> {
        let clock = Arc::<VirtualClock>::default();
        let outside = Arc::clone(&world.outside);
        let parts = NotifierParts {
            store: Arc::new(Way::new(world.store.clone(), Arc::clone(&outside))),
            transport: Arc::new(Post {
                node,
                clock: Arc::clone(&clock),
                outside,
            }),
            addresses: Arc::new(OpenBook),
            clock: Arc::<VirtualClock>::clone(&clock),
        };
        let holding = watch::Sender::new(nothing(world.nodes[node].incarnation));
        let grew = watch::Sender::new(0);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .ok()?;
        let (_, running) = Notifier::running(
            parts,
            holding.subscribe(),
            grew.subscribe(),
            world.dice.seed(),
            &CancellationToken::new(),
        );
        runtime.spawn(running);
        Some(Self {
            runtime,
            clock,
            holding,
            grew,
            at: world.now,
        })
    }

    /// Lets it do what it can until a moment.
    fn play(&mut self, now: i64) {
        let passed = span(now - self.at);
        self.at = now;
        self.runtime.block_on(async {
            tokio::time::advance(passed).await;
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
            }
        });
    }
}

impl World {
    /// The process of a node has begun.
    pub(crate) fn start_teller(&mut self, node: usize) {
        self.nodes[node].teller = Teller::start(self, node);
        self.tell_people_at(self.now);
    }

    /// The log has grown.
    pub(crate) fn log_grew(&mut self) {
        for node in &self.nodes {
            if let Some(teller) = &node.teller {
                teller.grew.send_modify(|number| *number += 1);
            }
        }
        self.tell_people_at(self.now);
    }

    /// A node's driver has taken or lost shards.
    pub(crate) fn show_holding(&mut self, node: usize) {
        let state = &self.nodes[node];
        let Some(teller) = &state.teller else { return };
        let held = Holding {
            shards: if state.driver.is_ready() {
                state.driver.held().collect()
            } else {
                Vec::new()
            },
            ..nothing(state.incarnation)
        };
        let changed = teller.holding.send_if_modified(|have| {
            let changed = *have != held;
            *have = held;
            changed
        });
        if changed {
            self.tell_people_at(self.now);
        }
    }

    /// Has the notifiers look at a moment, if not before.
    pub(crate) fn tell_people_at(&mut self, at: i64) {
        if self.telling_at.is_none_or(|planned| at < planned) {
            self.telling_at = Some(at);
            self.agenda.push(at, Occurrence::TellPeople);
        }
    }

    /// Lets the notifiers go on.
    pub(crate) fn tell_people(&mut self) {
        if self.telling_at.is_some_and(|at| at > self.now) {
            return;
        }
        self.telling_at = None;
        for node in 0..self.nodes.len() {
            self.play_teller(node);
        }
        let due = self.model.told.next_due(|shard| {
            let (owner, _) = self.model.owners.get(&shard)?;
            let mut nodes = self.nodes.iter();
            let node = nodes.find(|node| node.up && node.incarnation == *owner)?;
            Some(node.offset)
        });
        if let Some(due) = due {
            self.tell_people_at(due.max(self.now + POLL));
        }
    }

    /// Somebody in a node's notifier has waited long enough.
    pub(crate) fn open_gate(&mut self, node: usize, boot: u64, gate: oneshot::Sender<()>) {
        let state = &self.nodes[node];
        if !state.up || state.boot != boot {
            return;
        }
        if state.paused_until > self.now {
            let at = state.paused_until;
            return self.agenda.push(at, Occurrence::Gate { node, boot, gate });
        }
        if !self.calm && !self.scripted && self.dice.permille(4) {
            self.report.strike(crate::Fault::CrashWhileTelling);
            let back_in = self.dice.between(SECOND, 120 * SECOND);
            return self.crash(node, back_in);
        }
        gate.send(()).ok();
        self.play_teller(node);
    }

    fn play_teller(&mut self, node: usize) {
        let now = self.node_now(node);
        let state = &mut self.nodes[node];
        if !state.up || state.paused_until > self.now {
            return;
        }
        let boot = state.boot;
        if let Some(teller) = &mut state.teller {
            teller.clock.set(now.as_millis());
            teller.play(self.now);
        }
        let (heard, gates, stirred) = self.outside.take();
        for (millis, gate) in gates {
            let at = self.now + millis;
            self.agenda.push(at, Occurrence::Gate { node, boot, gate });
        }
        for heard in heard {
            self.heard_of_telling(heard);
        }
        if stirred {
            self.tell_people_at(self.now + PACE);
            // What failed is tried again when it looks without being told.
            self.agenda.push(self.now + POLL, Occurrence::TellPeople);
        }
    }

    fn heard_of_telling(&mut self, heard: Heard) {
        let outcome = match heard {
            Heard::Written(batch) => {
                let accounts = &self.model.links.accounts;
                let is_there = |id: &AccountId| {
                    let account = accounts.get(id);
                    account.is_some_and(|account| account.erasing.is_none())
                };
                self.report.told += u64::try_from(batch.notifications.len()).unwrap_or(0);
                self.model.told.written(&batch, is_there)
            }
            Heard::Swept(before) => {
                self.model.told.swept(before);
                Ok(())
            }
            Heard::Left {
                node,
                order,
                taken,
                unknown,
            } => {
                self.note(|| {
                    let (id, channel) = (order.id, order.channel);
                    format!("node {node} sends {id} by {channel}, taken {taken}, unknown {unknown}")
                });
                let by = self.nodes[node].incarnation;
                let owns = self.model.owns(by, order.account.shard());
                if unknown {
                    self.report.strike(crate::Fault::NoticeUnknown);
                }
                // What is to be noted of who is on their way is not.
                let account = self.model.links.accounts.get(&order.account);
                if account.is_some_and(|account| account.erasing.is_none()) {
                    self.may_leave(node, &order)
                        .and_then(|()| self.model.told.left(&order, owns, taken, unknown))
                } else {
                    Ok(())
                }
            }
        };
        if let Err(broken) = outcome {
            self.broken(broken.0, broken.1);
        }
    }

    /// Checks that a message may disturb its person now, by a clock that has not just jumped.
    fn may_leave(&self, node: usize, order: &NoticeOrder) -> Result<(), Broken> {
        if self.nodes[node].troubled_at > self.now - 5 * 60 * SECOND {
            return Ok(());
        }
        let people = now(self.store.people(vec![order.account])).unwrap_or_default();
        people.first().map_or(Ok(()), |person| {
            Told::disturbs(order, &person.preferences, self.node_now(node))
        })
    }

    /// A new person says how they are to be reached.
    pub(crate) fn introduce(&mut self, tenant: TenantId, account: AccountId) {
        if self.scripted {
            return;
        }
        let contact = self.some_contact(account);
        let person = Person {
            account,
            tenant,
            version: 1,
            contact: Some(OpenBook.seal(account, &contact)),
            preferences: self.some_preferences(),
            phone: contact.phone.as_deref().map(|phone| OpenBook.mark(phone)),
            heard: Vec::new(),
        };
        if let Err(error) = now(self.store.put_person(person, 0)) {
            self.broken("the store answers", error.to_string());
        }
    }

    fn some_contact(&mut self, account: AccountId) -> Contact {
        let mut some = |text: String| self.dice.permille(750).then_some(text);
        let email = some(format!("{account}@example.com"));
        let phone = some("+15550100".to_owned());
        let webhook = some("https://people.example/told".to_owned());
        let browsers = self.dice.below(3);
        let push = (0..browsers).map(|number| PushSubscription {
            endpoint: format!("https://push.example/{account}/{number}"),
            p256dh: "key".to_owned(),
            auth: "secret".to_owned(),
        });
        Contact {
            email,
            phone,
            webhook,
            push: push.collect(),
            ..Contact::default()
        }
    }

    fn some_preferences(&mut self) -> Preferences {
        let mut preferences = Preferences::default();
        let zones = ["UTC", "Europe/Berlin", "America/New_York"];
        zones[self.dice.below(3)].clone_into(&mut preferences.time_zone);
        for kind in [
            NotificationKind::PlaidConnectionIssue,
            NotificationKind::BankMaintenance,
        ] {
            preferences.set(kind, Channel::Sms, self.dice.permille(600));
        }
        if self.dice.permille(300) {
            let (from, to) = ("22:00".parse(), "07:00".parse());
            let quiet = from.ok().zip(to.ok());
            preferences.quiet_hours = quiet.map(|(from, to)| QuietHours { from, to });
        }
        preferences.digest = match self.dice.below(6) {
            0 => Digest::Hourly,
            1 => "08:00".parse().map_or(Digest::Off, Digest::Daily),
            _ => Digest::Off,
        };
        preferences
    }

    /// Returns who was to be told something and was not, now that all is quiet.
    pub(crate) fn untold(&self) -> Option<String> {
        let reach = |account: AccountId| {
            let people = now(self.store.people(vec![account])).ok()?;
            let person = people.into_iter().next()?;
            let contact = OpenBook.open(&person)?;
            Some((person.preferences, contact))
        };
        let connections: BTreeMap<_, _> = self
            .model
            .links
            .by_id
            .iter()
            .map(|(id, link)| (*id, link.connection.account))
            .collect();
        let slowest = self.nodes.iter().map(|node| node.offset).min();
        // What is due at the end of all may still be about to leave.
        let clock = Timestamp::from_millis(self.now + slowest.unwrap_or(0) - HOUR);
        self.model.told.untold(&connections, clock, reach)
    }
}

const fn nothing(incarnation: IncarnationId) -> Holding {
    Holding {
        incarnation,
        shards: Vec::new(),
    }
}

/// How often its tasks are looked at until they have come to rest.
const ROUNDS: usize = 8;
/// A little more than its least time between two looks.
const PACE: i64 = 25;
/// A little more than the time after which it looks without being told.
const POLL: i64 = 1_100;
