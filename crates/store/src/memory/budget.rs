//! What was spent of budgets.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use wellspring_core::budget::{BudgetName, Spends, Spent, hour, settle, spenders};
use wellspring_core::{SourceName, TenantId, Timestamp};

use super::Image;

impl Image {
    /// Spends what may be spent.
    pub(super) fn spend(&mut self, spends: &Spends, now: Timestamp) -> Spent {
        if spends.is_empty() {
            return Spent::default();
        }
        let names: Vec<BudgetName> = spends
            .budgets
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let mut spent = self.spent(now, &names);
        spent.granted = settle(&mut spent.ledgers, spends, now);
        self.budgets
            .extend(names.into_iter().zip(spent.ledgers.iter().cloned()));
        for (by, calls) in spenders(spends, &spent.granted) {
            let place = (by.source, hour(now), by.tenant);
            *self.budget_use.entry(place).or_default() += calls;
        }
        spent
    }

    /// Returns what each tenant has spent of a source.
    pub(super) fn spenders(&self, source: &SourceName, since: Timestamp) -> Vec<(TenantId, u64)> {
        let mut sums = BTreeMap::new();
        let nobody = TenantId::from_bytes([0; 16]);
        let rows = self.budget_use.range((source.clone(), since, nobody)..);
        for ((_, _, tenant), calls) in rows.take_while(|((of, ..), _)| of == source) {
            *sums.entry(*tenant).or_default() += *calls;
        }
        let mut sums: Vec<(TenantId, u64)> = sums.into_iter().collect();
        sums.sort_by_key(|(tenant, calls)| (Reverse(*calls), *tenant));
        sums
    }

    /// Returns what was spent.
    pub(super) fn spent(&self, now: Timestamp, names: &[BudgetName]) -> Spent {
        let ledgers = names.iter().map(|name| self.budgets.get(name).cloned());
        Spent {
            now,
            granted: Vec::new(),
            ledgers: ledgers.map(Option::unwrap_or_default).collect(),
        }
    }
}
