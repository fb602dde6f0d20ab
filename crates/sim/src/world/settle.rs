//! After safety, liveness: the faults stop, and everything has to come to rest.

use wellspring_engine::{Driver, Store};

use super::World;
use crate::clock::HOUR;
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
        let end = self.now + LONGEST;
        while self.violation.is_none() && !self.is_quiet() {
            if !self.advance() || self.now > end {
                break;
            }
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
                owns && node.driver.is_idle() && node.driver.next_wakeup().is_none()
            })
            && !self.model.rows.values().any(crate::model::Row::is_live)
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
        let left = now(self.store.inbox(self.store.shards(), 1)).unwrap_or_default();
        if let Some(row) = left.first() {
            let seen = format!("{row:?}");
            return self.broken("what was promised is done", seen);
        }
        let kept = self.model.to_erase.iter();
        let kept = kept.copied().find(|id| self.model.rows.contains_key(id));
        if let Some(id) = kept {
            return self.broken("what was promised is done", format!("{id} is not erased"));
        }
        if let Some(shard) = self.unowned().first() {
            return self.broken("every shard has an owner", format!("{shard:?}"));
        }
        let restless = self.nodes.iter().position(|node| !rests(&node.driver));
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

fn rests(driver: &Driver<u64>) -> bool {
    driver.is_idle()
        && driver.is_ready()
        && driver.timers() == 0
        && driver.backlog() == 0
        && driver.next_wakeup().is_none()
        && driver.lanes().iter().all(|lane| lane.queued == 0)
}

/// Longer than any gap, pause or clock jump.
const LONGEST: i64 = 10 * HOUR;
