//! A source that counts every call and punishes each that is one too many.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::settings::as_millis;

/// How many calls a source allows, and what it does about more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// All hold at once.
    pub windows: Vec<BudgetWindow>,
    /// For how long every call is refused after one that was too many.
    #[serde(rename = "block_ms", serialize_with = "as_millis")]
    pub block: Duration,
    /// How a refusal says when to come back.
    pub tells: Tells,
}

/// So many calls in any stretch of so much time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetWindow {
    /// How many calls.
    pub calls: u32,
    /// In how much time.
    #[serde(rename = "per_ms", serialize_with = "as_millis")]
    pub per: Duration,
    /// Which calls count; all of them where nothing is said.
    pub endpoint: Option<String>,
}

/// How a refusal says when to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tells {
    /// `Retry-After` in seconds.
    #[default]
    RetryAfter,
    /// `Retry-After` as a date.
    RetryAfterDate,
    /// `RateLimit` and `RateLimit-Policy`, on good answers too.
    RateLimit,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`, on good answers too.
    XRateLimit,
    /// A sentence about a daily quota.
    DailyQuota,
    /// Nothing.
    Nothing,
}

/// What was counted in one window of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowCount {
    /// The window.
    #[serde(flatten)]
    pub window: BudgetWindow,
    /// All calls that count in it.
    pub total: u64,
    /// The most that ever fell into one stretch of its length.
    pub fullest: u32,
    /// Calls that were one too many.
    pub violations: u64,
    /// Calls in each of the stretches that follow one another from the first call on.
    pub stretches: Vec<u64>,
}

/// How one window stands after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) calls: u32,
    pub(crate) per: Duration,
    pub(crate) left: u32,
    /// After which wait there is room for a call.
    pub(crate) wait: Duration,
}

/// What a call met.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// No window counts it.
    Nothing,
    Allowed(Fill),
    /// It was one too many.
    Violation(Fill),
    /// An earlier one was.
    Blocked(Fill),
}

/// The calls of a source that still count.
#[derive(Debug, Default)]
pub(super) struct Meter {
    windows: Vec<Counted>,
    blocked_until: Option<Instant>,
}

#[derive(Debug)]
struct Counted {
    count: WindowCount,
    began: Option<Instant>,
    /// Also those that were refused; oldest first.
    calls: VecDeque<Instant>,
}

impl Meter {
    pub(super) fn new(budget: Option<&Budget>) -> Self {
        let windows = budget.map_or(&[][..], |budget| &budget.windows);
        Self {
            windows: windows.iter().cloned().map(Counted::new).collect(),
            blocked_until: None,
        }
    }

    pub(super) fn counts(&self) -> Vec<WindowCount> {
        let windows = self.windows.iter();
        windows.map(|window| window.count.clone()).collect()
    }

    /// Counts a call that arrives now.
    pub(super) fn arrived(&mut self, block: Duration, endpoint: &str, now: Instant) -> Met {
        let mut tightest: Option<Fill> = None;
        let mut over = false;
        for counted in &mut self.windows {
            let wanted = counted.count.window.endpoint.as_deref();
            if wanted.is_some_and(|wanted| wanted != endpoint) {
                continue;
            }
            over |= counted.push(now);
            let fill = counted.fill(now);
            let rank = |fill: &Fill| (fill.wait, std::cmp::Reverse(fill.left));
            if tightest.as_ref().is_none_or(|had| rank(&fill) > rank(had)) {
                tightest = Some(fill);
            }
        }
        let was_blocked = self.blocked_until.is_some_and(|until| until > now);
        if over {
            self.blocked_until = self.blocked_until.max(Some(now + block));
        }
        let Some(mut fill) = tightest else {
            return Met::Nothing;
        };
        if let Some(until) = self.blocked_until {
            fill.wait = fill.wait.max(until.saturating_duration_since(now));
        }
        if over {
            Met::Violation(fill)
        } else if was_blocked {
            Met::Blocked(fill)
        } else {
            Met::Allowed(fill)
        }
    }
}

impl Counted {
    fn new(window: BudgetWindow) -> Self {
        Self {
            count: WindowCount {
                window,
                total: 0,
                fullest: 0,
                violations: 0,
                stretches: Vec::new(),
            },
            began: None,
            calls: VecDeque::new(),
        }
    }

    /// Counts a call; returns whether it is one too many.
    fn push(&mut self, now: Instant) -> bool {
        let per = self.count.window.per;
        while self.calls.front().is_some_and(|at| *at + per <= now) {
            self.calls.pop_front();
        }
        self.calls.push_back(now);
        let held = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        let over = held > self.count.window.calls;
        self.count.total += 1;
        self.count.fullest = self.count.fullest.max(held);
        self.count.violations += u64::from(over);
        let began = *self.began.get_or_insert(now);
        let stretch = (now - began).as_nanos() / per.as_nanos().max(1);
        let stretch = usize::try_from(stretch).unwrap_or(usize::MAX);
        if stretch < STRETCHES {
            let stretches = &mut self.count.stretches;
            stretches.resize(stretches.len().max(stretch + 1), 0);
            stretches[stretch] += 1;
        }
        over
    }

    fn fill(&self, now: Instant) -> Fill {
        let window = &self.count.window;
        let allowed = usize::try_from(window.calls).unwrap_or(usize::MAX);
        let held = self.calls.len();
        // The next call has room once all but the last `allowed - 1` count no longer.
        let last = held.checked_sub(allowed).and_then(|at| self.calls.get(at));
        Fill {
            calls: window.calls,
            per: window.per,
            left: u32::try_from(allowed.saturating_sub(held)).unwrap_or(u32::MAX),
            wait: last.map_or(Duration::ZERO, |at| {
                (*at + window.per).saturating_duration_since(now)
            }),
        }
    }
}

/// Stretches that are told apart; later calls are counted in the rest alone.
const STRETCHES: usize = 1_000;
