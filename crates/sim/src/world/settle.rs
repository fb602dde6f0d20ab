//! After safety, liveness: the faults stop, and everything has to come to rest.

use wellspring_core::connection::{Connection, Reason, State};
use wellspring_core::source::Hold;
use wellspring_engine::{Aggregate, BUDGET_SPENT, Driver, InboxRow, Store};

use super::World;
use crate::agenda::Occurrence;
use crate::clock::{HOUR, SECOND};
use crate::disk::now;

impl World {
    pub(super) fn settle(&mut self) {
        self.note(|| "the faults stop".to_owned());
        self.calm = true;
        self.armed.clear();
        self.refused_until = 0;
        self.unreadable_until = 0;
        for provider in &mut self.providers {
            provider.mend();
        }
        for receiver in &mut self.receivers {
            receiver.mend();
        }
        for node in &mut self.nodes {
            node.fate = None;
            node.stalls = false;
            node.paused_until = node.paused_until.min(self.now);
        }
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        self.bank.mended = true;
        self.outside.mend();
        for place in 0..self.endpoints.len() {
            self.endpoints[place].mend();
            let id = self.endpoints[place].subscription.id;
            self.agenda.push(self.now + SECOND, Occurrence::Enable(id));
        }
        self.end_hanging();
        self.switch_all_on();
        let open: Vec<_> = self
            .model
            .links
            .open
            .iter()
            .map(|(id, of)| (*of, *id))
            .collect();
        for (connection, interaction) in open {
            let at = self.now + self.dice.between(SECOND, HOUR);
            self.agenda
                .push(at, Occurrence::Look(connection, interaction));
        }
        let end = self.now + LONGEST;
        for _ in 0..LOOKS {
            while self.violation.is_none() && !self.is_quiet() {
                if !self.advance() || self.now > end {
                    break;
                }
            }
            if self.violation.is_some() || self.untold().is_none() {
                break;
            }
            // Notifiers look without being told as well.
            let at = self.now + 2 * SECOND;
            self.agenda.push(at, Occurrence::TellPeople);
        }
        if self.violation.is_none() {
            self.check_settled();
        }
        if self.violation.is_none() {
            self.audit();
        }
    }

    fn is_quiet(&self) -> bool {
        self.agenda.first_at().is_none()
            && self.model.posted.is_empty()
            && self.nodes.iter().all(|node| {
                let owns = node.driver.is_ready();
                owns && node.driver.is_idle()
            })
            && self
                .model
                .links
                .accounts
                .values()
                .all(|one| one.erasing.is_none())
            && self.attempts.is_empty()
            && self.undelivered().is_none()
            && self.switched_off().is_none()
            && now(self.store.inbox(self.store.shards(), 1)).is_ok_and(|rows| rows.is_empty())
            && self.model.told.next_due(|_| Some(0)).is_none()
            && self
                .model
                .links
                .by_id
                .values()
                .all(|link| self.rests(&link.connection))
            && !self.model.rows.values().any(crate::model::Row::is_live)
            && self.inbox().is_empty()
    }

    fn inbox(&self) -> Vec<InboxRow> {
        now(self.store.inbox(self.store.shards(), 1)).unwrap_or_default()
    }

    fn is_kept(&self, id: Aggregate) -> bool {
        let links = &self.model.links;
        match id {
            Aggregate::Collection(id) => self.model.rows.contains_key(&id),
            Aggregate::Account(id) => links.accounts.contains_key(&id),
            Aggregate::Connection(id) => links.by_id.contains_key(&id),
            Aggregate::Source(id) => self.model.sources.contains_key(&id),
        }
    }

    /// Returns whether nothing is under way, nobody is waited for, and no failure is left.
    ///
    /// What a budget holds back has to have been fetched since the faults stopped.
    fn rests(&self, connection: &Connection) -> bool {
        match &connection.state {
            State::Waiting { next } => next.is_none_or(|next| match next.reason {
                Reason::Schedule => true,
                Reason::RateLimit => {
                    let outcome = connection.outcome.as_ref();
                    let error = outcome.and_then(|outcome| outcome.error.as_ref());
                    error.is_some_and(|error| error.code == BUDGET_SPENT)
                        && self.served.contains(&connection.id)
                }
                Reason::Retry | Reason::Maintenance | Reason::User => false,
            }),
            State::Error | State::Disabled => true,
            State::Created { .. }
            | State::Retrying { .. }
            | State::Manual { .. }
            | State::Connecting { .. }
            | State::Uploading { .. }
            | State::Question { .. }
            | State::Answered { .. } => false,
        }
    }

    fn check_settled(&mut self) {
        let unfinished = self.model.rows.values().find(|row| row.is_live());
        if let Some(row) = unfinished {
            let seen = format!("{:?}", row.collection);
            return self.broken("everything settles", seen);
        }
        if let Some((caller, ask)) = self.callers.waiting.first_key_value() {
            let seen = format!("caller {caller} waits: {:?}", ask.request);
            return self.broken("every request is answered", seen);
        }
        if let Some(id) = self.model.posted.keys().next() {
            let seen = format!("{id} stays in the inbox");
            return self.broken("what was promised is done", seen);
        }
        if let Some(row) = self.inbox().first() {
            let seen = format!("{row:?}");
            return self.broken("what was promised is done", seen);
        }
        let kept = self.model.to_erase.iter();
        let kept = kept.copied().find(|id| self.is_kept(*id));
        if let Some(id) = kept {
            return self.broken("what was promised is done", format!("{id} is not erased"));
        }
        if let Some(shard) = self.unowned().first() {
            return self.broken("every shard has an owner", format!("{shard:?}"));
        }
        if let Some(seen) = self.undelivered() {
            return self.broken("every change is delivered", seen);
        }
        if let Some(seen) = self.switched_off() {
            return self.broken("what is switched on goes on", seen);
        }
        if let Some(seen) = self.untold() {
            return self.broken("who is to be told is told", seen);
        }
        let restless = self.model.links.by_id.values();
        let restless = restless
            .into_iter()
            .find(|link| !self.rests(&link.connection));
        if let Some(link) = restless {
            return self.broken("every connection settles", format!("{:?}", link.connection));
        }
        let erasing = self.model.links.accounts.values();
        let erasing = erasing.into_iter().find(|one| one.erasing.is_some());
        if let Some(account) = erasing {
            return self.broken("what is erased goes", format!("{account:?}"));
        }
        let restless = self.nodes.iter().position(|node| !is_empty(&node.driver));
        if let Some(node) = restless {
            let driver = &self.nodes[node].driver;
            let seen = format!(
                "node {node}: in flight {}, timers {}, backlog {}, next {:?}, lanes {:?}",
                driver.in_flight(),
                driver.timers(),
                driver.backlog(),
                driver.next_wakeup(),
                driver.lanes()
            );
            self.broken("every queue empties", seen);
        }
    }
}

fn is_empty(driver: &Driver<u64>) -> bool {
    driver.is_idle()
        && driver.is_ready()
        && driver.backlog() == 0
        && driver
            .lanes()
            .iter()
            .all(|lane| lane.queued == 0 || lane.hold.is_some_and(Hold::is_shut))
}

/// How often notifiers look once more for what they have still to tell.
const LOOKS: usize = 10;
/// Longer than any gap, pause or clock jump.
const LONGEST: i64 = 40 * HOUR;
