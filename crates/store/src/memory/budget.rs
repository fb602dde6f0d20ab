//! What was spent of budgets.

use wellspring_core::Timestamp;
use wellspring_core::budget::{BudgetName, Spends, Spent, settle};

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
        spent
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
