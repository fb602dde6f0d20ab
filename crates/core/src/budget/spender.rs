//! Who spends: what is granted is counted by source, tenant and hour.

use std::collections::BTreeMap;

use super::Spends;
use crate::{SourceName, TenantId, Timestamp};

/// Whose calls they are that an ask gets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spender {
    /// The source that is called.
    pub source: SourceName,
    /// The tenant for which it is.
    pub tenant: TenantId,
}

/// Returns how many calls each has got of those that were wanted, leaving out who got none.
///
/// A call counts once, from however many budgets it is spent.
pub fn spenders(spends: &Spends, granted: &[u32]) -> BTreeMap<Spender, u64> {
    let mut calls = BTreeMap::new();
    for (ask, granted) in spends.asks.iter().zip(granted) {
        if let Some(by) = ask.by.as_ref().filter(|_| *granted > 0) {
            *calls.entry(by.clone()).or_default() += u64::from(*granted);
        }
    }
    calls
}

/// Returns when the hour of a moment began, in UTC.
pub const fn hour(at: Timestamp) -> Timestamp {
    let millis = at.as_millis();
    Timestamp::from_millis(millis.saturating_sub(millis.rem_euclid(HOUR)))
}

/// In milliseconds.
const HOUR: i64 = 3_600_000;
