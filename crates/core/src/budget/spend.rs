//! Spending from budgets that several share: who wants how many calls, and who gets them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Correction, Ledger, Spender, Window, moved};
use crate::Timestamp;

/// Names one budget of one source, in the scope that it is spent in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BudgetName(Arc<str>);

impl BudgetName {
    /// Takes a name as its row has it.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// Returns it as its row has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BudgetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is wanted of budgets all at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spends {
    /// When it is asked for, by the clock of whoever asks.
    pub at: Timestamp,
    /// The budgets and their windows, in the order of their names, each once.
    pub budgets: Vec<(BudgetName, Arc<[Window]>)>,
    /// What is wanted of them, first come first served.
    pub asks: Vec<Ask>,
    /// The places of budgets from which nothing may be spent until a moment, by the source's word.
    pub blocks: Vec<(usize, Timestamp)>,
    /// The places of budgets of which the source has told its own figure.
    pub corrections: Vec<(usize, Correction)>,
}

/// So many calls, each of which is spent from several budgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The places of the budgets in [`Spends::budgets`].
    pub of: Vec<usize>,
    /// How many calls; fewer may be had.
    pub calls: u32,
    /// How soon the calls go out; what has not by then is lost.
    pub good_for: Duration,
    /// As whose they count in what each has spent; nobody's where they are counted otherwise.
    pub by: Option<Spender>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// When it was decided, by the clock that the ledgers go by.
    pub now: Timestamp,
    /// How many calls each ask has got.
    pub granted: Vec<u32>,
    /// The ledgers of the budgets, in their order, with what was spent by anybody.
    pub ledgers: Vec<Ledger>,
}

impl Spends {
    /// Returns whether nothing is wanted.
    pub const fn is_empty(&self) -> bool {
        self.asks.is_empty() && self.blocks.is_empty() && self.corrections.is_empty()
    }
}

/// Spends what may be spent now, and returns how many calls each ask has got.
///
/// The ledgers are those of the budgets in their order, as they are kept.
pub fn settle(ledgers: &mut [Ledger], spends: &Spends, now: Timestamp) -> Vec<u32> {
    for (ledger, (_, windows)) in ledgers.iter_mut().zip(&spends.budgets) {
        // Who has no windows at present has come to say when the source wants no calls.
        if !windows.is_empty() {
            ledger.adopt(windows);
        }
    }
    for (place, until) in &spends.blocks {
        if let Some(ledger) = ledgers.get_mut(*place) {
            ledger.block(now.after(until.since(spends.at)));
        }
    }
    for (place, said) in &spends.corrections {
        if let Some(ledger) = ledgers.get_mut(*place) {
            let there = |at| moved(at, spends.at, now);
            let correction = Correction {
                until: there(said.until),
                counted_until: there(said.counted_until),
                ..*said
            };
            ledger.hear(correction, now);
        }
    }
    let mut granted = Vec::with_capacity(spends.asks.len());
    for ask in &spends.asks {
        let mut calls = ask.calls;
        for place in &ask.of {
            let room = ledgers.get_mut(*place).map_or(0, |one| one.room(now));
            calls = calls.min(room);
        }
        for place in &ask.of {
            if let Some(ledger) = ledgers.get_mut(*place) {
                ledger.spend(now.after(ask.good_for), calls);
            }
        }
        granted.push(calls);
    }
    granted
}

/// Returns how soon a call that is spent goes out when all is well: so small a part of the
/// shortest of its windows that little is lost by counting it from its last moment on.
pub fn good_for(windows: &[Window]) -> Duration {
    let shortest = windows.iter().map(|window| window.per).min();
    let part = shortest.unwrap_or_default() / 75;
    part.clamp(SOONEST, LATEST)
}

const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(5);
