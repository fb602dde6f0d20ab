use serde::Serialize;

use super::{Outage, Verdict};

/// Calls received, by the answer they got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All calls.
    pub total: u64,
    /// Answered with the source's data.
    pub ok: u64,
    /// Drawn to fail: 500 `#fail`.
    pub failed: u64,
    /// Over the rate limit: 429.
    pub throttled: u64,
    /// One too many for the budget: 429, and calls are refused for a while.
    pub over_budget: u64,
    /// Refused since an earlier one was too many: 429.
    pub blocked: u64,
    /// Met maintenance: 503.
    pub maintenance: u64,
    /// Answered with a 200 that is not JSON.
    pub junk: u64,
    /// Met an outage that answers: 500, too late, or cut off.
    pub outage: u64,
    /// Asked for a provider that does not exist: 404.
    pub not_found: u64,
    /// Met an outage that aborts the connection.
    pub reset: u64,
    /// The most calls that were being answered at one time.
    pub max_in_flight: u64,
}

impl Counts {
    pub(super) fn count(&mut self, verdict: &Verdict, in_flight: u64) {
        self.total += 1;
        self.max_in_flight = self.max_in_flight.max(in_flight);
        let kind = match verdict {
            Verdict::Data => &mut self.ok,
            Verdict::NotFound => &mut self.not_found,
            Verdict::Fail => &mut self.failed,
            Verdict::Junk => &mut self.junk,
            Verdict::Throttled { .. } => &mut self.throttled,
            Verdict::OverBudget { .. } => &mut self.over_budget,
            Verdict::Blocked { .. } => &mut self.blocked,
            Verdict::Maintenance { .. } => &mut self.maintenance,
            Verdict::Outage(Outage::Reset) => &mut self.reset,
            Verdict::Outage(Outage::ServerError | Outage::Timeout | Outage::Truncate) => {
                &mut self.outage
            }
        };
        *kind += 1;
    }

    pub(super) fn plus(self, other: &Self) -> Self {
        Self {
            total: self.total + other.total,
            ok: self.ok + other.ok,
            failed: self.failed + other.failed,
            throttled: self.throttled + other.throttled,
            over_budget: self.over_budget + other.over_budget,
            blocked: self.blocked + other.blocked,
            maintenance: self.maintenance + other.maintenance,
            junk: self.junk + other.junk,
            outage: self.outage + other.outage,
            not_found: self.not_found + other.not_found,
            reset: self.reset + other.reset,
            // The sources' peaks need not have fallen together, so their sum would say too much.
            max_in_flight: self.max_in_flight.max(other.max_in_flight),
        }
    }
}
