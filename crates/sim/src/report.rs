//! What a run did and how it ended.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::DAY;
use crate::{Fault, Plant};

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What decides everything.
    pub seed: u64,
    /// The known bug that is switched on.
    pub plant: Option<Plant>,
    /// Virtual days that the run covers at least.
    pub days: u32,
    /// Events that the drivers take at least.
    pub inputs: u64,
    /// Whether the event log is kept.
    pub log: bool,
}

impl Options {
    /// Returns the run that a seed stands for.
    pub const fn of(seed: u64) -> Self {
        Self {
            seed,
            plant: None,
            days: 30,
            inputs: 2_000,
            log: false,
        }
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// What was seen.
    pub context: String,
    /// Milliseconds of virtual time since the run began.
    pub after_ms: i64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.after_ms / DAY;
        let seconds = self.after_ms % DAY / 1_000;
        write!(
            f,
            "{}\n  {}\n  on day {days} at {:02}:{:02}:{:02}",
            self.invariant,
            self.context,
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

/// What happened in a run, or in several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Seeds run.
    pub seeds: u64,
    /// Events that drivers took.
    pub inputs: u64,
    /// Actions and faults drawn.
    pub steps: u64,
    /// Virtual milliseconds.
    pub millis: i64,
    /// Calls to sources and receivers.
    pub calls: u64,
    /// Collections accepted, delivered and failed.
    pub collections: [u64; 3],
    /// Messages sent to subscriptions.
    pub sends: u64,
    /// Messages written for people.
    pub told: u64,
    /// Attempts on connections.
    pub attempts: u64,
    /// Calls in their course that were granted, that had to wait, and for which the wait was too long.
    pub leaves: [u64; 3],
    /// Accounts erased, connections made, documents and records that came in, questions posed.
    pub links: [u64; 5],
    /// How often connections took each row of their table.
    pub rows: BTreeMap<&'static str, u64>,
    /// How often each fault struck.
    pub faults: BTreeMap<Fault, u64>,
}

impl Report {
    pub(crate) fn strike(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Adds the numbers of another run.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.inputs += other.inputs;
        self.steps += other.steps;
        self.millis += other.millis;
        self.calls += other.calls;
        for (sum, more) in self.collections.iter_mut().zip(other.collections) {
            *sum += more;
        }
        self.attempts += other.attempts;
        for (sum, more) in self.leaves.iter_mut().zip(other.leaves) {
            *sum += more;
        }
        self.sends += other.sends;
        self.told += other.told;
        for (sum, more) in self.links.iter_mut().zip(other.links) {
            *sum += more;
        }
        for (row, count) in &other.rows {
            *self.rows.entry(row).or_default() += count;
        }
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }

    /// Returns the faults that never struck.
    pub fn missing(&self) -> Vec<Fault> {
        let struck = |fault: &Fault| self.faults.get(fault).is_some_and(|count| *count > 0);
        Fault::ALL
            .into_iter()
            .filter(|fault| !struck(fault))
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [accepted, delivered, failed] = self.collections;
        writeln!(f, "{:<28}{:>12}", "seeds", self.seeds)?;
        writeln!(f, "{:<28}{:>12}", "inputs", self.inputs)?;
        writeln!(f, "{:<28}{:>12}", "steps", self.steps)?;
        writeln!(f, "{:<28}{:>12}", "virtual days", self.millis / DAY)?;
        writeln!(f, "{:<28}{:>12}", "calls", self.calls)?;
        writeln!(f, "{:<28}{accepted:>12}", "collections accepted")?;
        writeln!(f, "{:<28}{delivered:>12}", "collections delivered")?;
        writeln!(f, "{:<28}{failed:>12}", "collections failed")?;
        let [erased, made, documents, records, questions] = self.links;
        writeln!(f, "{:<28}{erased:>12}", "accounts erased")?;
        writeln!(f, "{:<28}{made:>12}", "connections made")?;
        writeln!(f, "{:<28}{:>12}", "attempts", self.attempts)?;
        let [granted, waited, spent] = self.leaves;
        writeln!(f, "{:<28}{granted:>12}", "calls in them granted")?;
        writeln!(f, "{:<28}{waited:>12}", "calls in them that waited")?;
        writeln!(f, "{:<28}{spent:>12}", "attempts held back")?;
        writeln!(f, "{:<28}{documents:>12}", "documents")?;
        writeln!(f, "{:<28}{records:>12}", "records")?;
        writeln!(f, "{:<28}{questions:>12}", "questions")?;
        writeln!(f, "{:<28}{:>12}", "messages to subscriptions", self.sends)?;
        writeln!(f, "{:<28}{:>12}", "messages for people", self.told)?;
        writeln!(f, "rows of the table of connections")?;
        for (row, count) in &self.rows {
            writeln!(f, "  {row:<26}{count:>12}")?;
        }
        writeln!(f, "faults")?;
        for fault in Fault::ALL {
            let count = self.faults.get(&fault).copied().unwrap_or(0);
            writeln!(f, "  {fault:<26}{count:>12}")?;
        }
        Ok(())
    }
}

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it did.
    pub report: Report,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// The event log, where it was wanted.
    pub log: Vec<String>,
}
