//! Budgets: how many calls a source takes in any window of time, and what is left of that.
//!
//! Windows are exact and sliding: wherever on the time line a window is laid, no more calls fall
//! into it than it allows. Several windows hold at once.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, serde_duration};

mod bytes;
mod correction;
mod headers;
mod scope;
mod spend;
mod spender;

use correction::Allowance;
pub use correction::Correction;
pub use headers::{Remaining, free_at, remaining};
pub use scope::{Limit, Scope};
pub use spend::{Ask, BudgetName, Spends, Spent, good_for, settle};
pub use spender::{Spender, hour, spenders};

/// So many calls in any stretch of so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// How many calls.
    pub calls: u32,
    /// In how much time.
    #[serde(with = "serde_duration")]
    pub per: Duration,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Now.
    Allowed,
    /// Not before this moment; more may have been spent by then.
    NotBefore(Timestamp),
}

/// How one window stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The window.
    pub window: Window,
    /// Calls that count in it now.
    pub used: u32,
    /// Calls that it has left, by what is counted and by the source's own word.
    pub left: u32,
    /// When a call counts no longer; `None` when none counts.
    pub next_release: Option<Timestamp>,
}

/// What was spent of a budget.
///
/// A call counts for a little longer than its window (a 50th, at most a second), since calls are
/// late on their way to the source by times that differ, and the source counts when they arrive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    windows: Vec<Counted>,
    /// Until when nothing may be spent, by the source's word.
    blocked_until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    window: Window,
    /// Oldest first.
    blocks: VecDeque<Block>,
    sum: u32,
    /// What may be spent until when by the source's word, where that is less than is left.
    allowance: Option<Allowance>,
}

/// Calls that count as made together, at the moment of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    first: Timestamp,
    last: Timestamp,
    calls: u32,
}

impl Ledger {
    /// Makes a ledger of these windows in which nothing is spent.
    pub fn new(windows: &[Window]) -> Self {
        Self {
            windows: windows.iter().copied().map(Counted::new).collect(),
            blocked_until: None,
        }
    }

    /// Takes over other windows; what was spent counts in each as far as it is known.
    ///
    /// A window longer than all before it knows only what the longest of them did.
    pub fn adopt(&mut self, windows: &[Window]) {
        if self.has(windows) {
            return;
        }
        let longest = self.windows.iter().max_by_key(|spent| spent.window.per);
        let blocks = longest.map_or_else(VecDeque::new, |spent| spent.blocks.clone());
        let sum = blocks.iter().map(|block| block.calls).sum();
        let adopt = |window: &Window| Counted {
            window: *window,
            blocks: blocks.clone(),
            sum,
            allowance: self
                .windows
                .iter()
                .find(|one| one.window == *window)
                .and_then(|one| one.allowance),
        };
        self.windows = windows.iter().map(adopt).collect();
    }

    /// Returns whether `calls` calls may be made now, on top of all that are spent.
    pub fn decide(&mut self, now: Timestamp, calls: u32) -> Decision {
        let mut at = self.blocked_until.filter(|until| *until > now);
        for spent in &mut self.windows {
            spent.release(now);
            let allowance = spent.allowance(now).filter(|one| one.left < calls);
            let said = allowance.map(|one| one.until);
            at = at.max(spent.not_before(calls)).max(said);
        }
        at.map_or(Decision::Allowed, Decision::NotBefore)
    }

    /// Notes that the source wants no calls until a moment.
    pub fn block(&mut self, until: Timestamp) {
        self.blocked_until = self.blocked_until.max(Some(until));
    }

    /// Returns until when the source wants no calls.
    pub const fn blocked_until(&self) -> Option<Timestamp> {
        self.blocked_until
    }

    /// Returns how many calls may be made now, on top of all that are spent.
    pub fn room(&mut self, now: Timestamp) -> u32 {
        if self.blocked_until.is_some_and(|until| until > now) {
            return 0;
        }
        let rooms = self.windows.iter_mut().map(|spent| {
            spent.release(now);
            let said = spent.allowance(now).map_or(u32::MAX, |one| one.left);
            spent.own_room().min(said)
        });
        rooms.min().unwrap_or(u32::MAX)
    }

    /// Notes calls that go out at `at` at the latest.
    pub fn spend(&mut self, at: Timestamp, calls: u32) {
        if calls > 0 {
            for spent in &mut self.windows {
                spent.push(at, calls);
            }
        }
    }

    /// Moves all that is noted from one clock to another: what was `from` there is `to` here.
    pub fn translate(&mut self, from: Timestamp, to: Timestamp) {
        let there = |at| moved(at, from, to);
        self.blocked_until = self.blocked_until.map(there);
        let allowances = self
            .windows
            .iter_mut()
            .filter_map(|spent| spent.allowance.as_mut());
        for allowance in allowances {
            allowance.until = there(allowance.until);
        }
        for block in self.windows.iter_mut().flat_map(|spent| &mut spent.blocks) {
            block.first = there(block.first);
            block.last = there(block.last);
        }
    }

    /// Returns from when on nothing that is noted matters; `None` when nothing is.
    pub fn quiet_from(&self) -> Option<Timestamp> {
        let ends = self.windows.iter().filter_map(|spent| {
            let last = spent.blocks.back().map(|block| block.last);
            let end = last.map(|last| last.after(spent.counts_for()));
            end.max(spent.allowance.map(|one| one.until))
        });
        ends.max().max(self.blocked_until)
    }

    /// Returns how each window stands; it has no more left than the source says.
    pub fn standings(&self, now: Timestamp) -> Vec<Standing> {
        self.windows
            .iter()
            .map(|spent| spent.standing(now))
            .collect()
    }

    /// Returns how these windows stand, which are its own as a rule.
    pub fn standings_in(&self, now: Timestamp, windows: &[Window]) -> Vec<Standing> {
        if self.has(windows) {
            return self.standings(now);
        }
        let mut ledger = self.clone();
        ledger.adopt(windows);
        ledger.standings(now)
    }

    fn has(&self, windows: &[Window]) -> bool {
        let own = self.windows.iter().map(|spent| spent.window);
        own.eq(windows.iter().copied())
    }

    /// Returns whether nothing that is noted can still matter.
    pub fn is_quiet(&mut self, now: Timestamp) -> bool {
        for spent in &mut self.windows {
            spent.release(now);
        }
        let is_free = self.blocked_until.is_none_or(|until| until <= now);
        is_free
            && self
                .windows
                .iter()
                .all(|spent| spent.blocks.is_empty() && spent.allowance(now).is_none())
    }
}

impl Counted {
    const fn new(window: Window) -> Self {
        Self {
            window,
            blocks: VecDeque::new(),
            sum: 0,
            allowance: None,
        }
    }

    /// Returns how many calls it has left by what is counted.
    const fn own_room(&self) -> u32 {
        self.window.calls.saturating_sub(self.sum)
    }

    /// Returns for how long a call counts.
    fn counts_for(&self) -> Duration {
        let per = self.window.per;
        per.saturating_add((per / 50).min(MOST_LATE))
    }

    fn release(&mut self, now: Timestamp) {
        // A clock that went back does not keep the source still for as long as it jumped.
        let latest = now.after(MOST_AHEAD);
        if self.blocks.back().is_some_and(|block| block.last > latest) {
            for block in &mut self.blocks {
                block.first = block.first.min(now);
                block.last = block.last.min(now);
            }
        }
        if let Some(allowance) = &mut self.allowance {
            allowance.until = allowance.until.min(now.after(allowance.lasts));
        }
        let counts_for = self.counts_for();
        while let Some(oldest) = self.blocks.front() {
            if oldest.last.after(counts_for) > now {
                break;
            }
            self.sum = self.sum.saturating_sub(oldest.calls);
            self.blocks.pop_front();
        }
    }

    fn not_before(&self, calls: u32) -> Option<Timestamp> {
        let mut over = self
            .sum
            .saturating_add(calls)
            .saturating_sub(self.window.calls);
        if over == 0 {
            return None;
        }
        for block in &self.blocks {
            over = over.saturating_sub(block.calls);
            if over == 0 {
                return Some(block.last.after(self.counts_for()));
            }
        }
        // More than the window ever allows; whoever asks for one call never comes here.
        Some(Timestamp::MAX)
    }

    fn push(&mut self, at: Timestamp, calls: u32) {
        self.sum = self.sum.saturating_add(calls);
        if let Some(allowance) = &mut self.allowance {
            allowance.left = allowance.left.saturating_sub(calls);
        }
        // Small windows are counted call by call; a large one in blocks, so that it stays small.
        let most = if self.window.calls > CALL_BY_CALL {
            self.window.calls / BLOCKS
        } else {
            1
        };
        let span = self.window.per / (2 * BLOCKS);
        // What goes out until later than this counts from then on.
        let at = self.blocks.back().map_or(at, |block| block.last.max(at));
        if let Some(block) = self.blocks.back_mut()
            && (block.last == at || (block.calls < most && at.since(block.first) <= span))
        {
            block.last = at;
            block.calls = block.calls.saturating_add(calls);
            return;
        }
        self.blocks.push_back(Block {
            first: at,
            last: at,
            calls,
        });
    }

    fn standing(&self, now: Timestamp) -> Standing {
        let counts_for = self.counts_for();
        let mut counting = self
            .blocks
            .iter()
            .filter(|block| block.last.after(counts_for) > now);
        let next_release = counting.next().map(|block| block.last.after(counts_for));
        let gone: u32 = self
            .blocks
            .iter()
            .take_while(|block| block.last.after(counts_for) <= now)
            .map(|block| block.calls)
            .sum();
        let used = self.sum.saturating_sub(gone);
        let left = self.window.calls.saturating_sub(used);
        let said = self.allowance(now).filter(|one| one.left < left);
        Standing {
            window: self.window,
            used,
            left: said.map_or(left, |one| one.left),
            next_release: said.map(|one| one.until).or(next_release),
        }
    }
}

/// Returns a moment by another clock: what is `from` there is `to` here.
fn moved(at: Timestamp, from: Timestamp, to: Timestamp) -> Timestamp {
    if at >= from {
        to.after(at.since(from))
    } else {
        to.before(from.since(at))
    }
}

/// By how much calls may be late on their way to the source, at most.
const MOST_LATE: Duration = Duration::from_secs(1);
/// By how much calls may be noted ahead of their time.
const MOST_AHEAD: Duration = Duration::from_secs(60);
/// Windows of up to as many calls are counted call by call.
const CALL_BY_CALL: u32 = 1_000;
/// Into how many blocks at least a larger window is divided.
const BLOCKS: u32 = 50;
