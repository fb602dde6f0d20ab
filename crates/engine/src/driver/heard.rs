//! What sources say of their own count: it corrects the ledgers that it is about.
//!
//! Nothing is written for it alone. It goes with whatever is written next, which is at the latest
//! the next call that is spent from the same budget, and before that call is granted.

use std::time::Duration;

use wellspring_core::budget::{Correction, Scope, good_for};
use wellspring_core::{Lane, Timestamp};

use super::budget::Budget;
use super::{Driver, EffectId, Held};
use crate::Heard;

impl<T> Driver<T> {
    /// A source has said how many calls are left, to this call of an attempt or collection.
    pub(super) fn heard(&mut self, now: Timestamp, effect: EffectId, heard: &Heard) {
        if !self.is_under_way(effect) {
            return;
        }
        let lane = effect.lane;
        let held = self.residents.get(&effect.id).map(|one| &one.held);
        let (whole, budgets) = match held {
            Some(Held::Collection { collection, .. }) => {
                let mut of = self.counting(lane, collection.tenant, None, None);
                let whole = self.budget_of_source(lane);
                of.extend(whole.clone().map(|whole| (Scope::Source, whole)));
                (Some(whole), of)
            }
            Some(Held::Connection { connection, .. }) => {
                let endpoint = Some(heard.endpoint);
                let of = self.counting(lane, connection.tenant, Some(effect.id), endpoint);
                (None, of)
            }
            Some(Held::Account(_) | Held::Source(_)) | None => return,
        };
        let on_way = self.gate(lane).in_flight.saturating_sub(1);
        for remaining in &heard.remaining {
            let until = remaining.until.min(now.after(LONGEST));
            // Where several are of that size, the one that fewest share: less is held up by it.
            let of_size = budgets.iter().filter_map(|(scope, budget)| {
                let window = remaining.about(&budget.1)?;
                Some((*scope, budget, Some(window)))
            });
            let about = of_size.max_by_key(|(scope, ..)| *scope);
            let whole_of = |budget| (Scope::Source, budget, None);
            let whole = whole.as_ref().map(|whole| whole.as_ref().map(whole_of));
            match (about, whole) {
                (Some((scope, budget, of)), _) | (None, Some(Some((scope, budget, of)))) => {
                    let correction = Correction {
                        of,
                        left: remaining.left,
                        until,
                        counted_until: heard.asked_at.after(good_for(&budget.1)),
                        on_way: match scope {
                            Scope::Source | Scope::Tenant => on_way,
                            // It has one attempt, which makes one call at a time.
                            Scope::Connection => 0,
                        },
                    };
                    self.correct(now, lane, budget, correction);
                }
                // It has no ledger; but where nothing is left, the next call would be refused.
                (None, Some(None)) if remaining.left == 0 => self.block(now, lane, until),
                // Perhaps it is about the connection alone, or an endpoint, or everybody.
                (None, Some(None) | None) => {}
            }
        }
    }

    fn correct(&mut self, now: Timestamp, lane: Lane, budget: &Budget, correction: Correction) {
        let (name, windows) = budget;
        let changes = if name.is_limit() {
            self.limited.hear(now, budget, correction)
        } else {
            let ledger = &mut self.gate(lane).ledger;
            ledger.adopt(windows);
            ledger.hear(correction, now)
        };
        if changes {
            self.corrections.push((budget.clone(), correction));
            self.freed.insert(lane);
        }
    }
}

/// No good answer keeps a source still for longer; it is asked once more then.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
