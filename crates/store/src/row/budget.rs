//! Ledgers of budgets as their rows have them.

use std::time::Duration;

use wellspring_core::Timestamp;
use wellspring_core::budget::{BudgetName, Ledger};

/// Returns the ledger of a row; one that cannot be read counts as empty.
///
/// Nothing else hangs on it: refusing to go on would keep the source still for good.
pub(crate) fn ledger(name: &BudgetName, bytes: &[u8]) -> Ledger {
    Ledger::from_bytes(bytes).unwrap_or_else(|| {
        tracing::error!(budget = %name, "What was spent of a budget cannot be read, beginning anew");
        Ledger::default()
    })
}

/// For how much longer than it is of use a row is kept: clocks may differ.
pub(crate) const KEEP_BUDGETS: Duration = Duration::from_secs(86_400);

/// For how long after it began an hour is kept in which calls were spent.
pub(crate) const KEEP_BUDGET_USE: Duration = Duration::from_secs((31 * 24 + 1) * 3_600);

/// Returns from when on a row is of no use.
pub(crate) fn quiet_from(ledger: &Ledger, now: Timestamp) -> i64 {
    ledger.quiet_from().unwrap_or(now).as_millis()
}
