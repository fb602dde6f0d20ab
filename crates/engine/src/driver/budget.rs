//! Budgets: calls are spent with the batch that starts them, and go out when it is durable.
//!
//! What is in memory of a budget is what the last commit told of it. It says who has to wait;
//! who may call is decided by the commit, where all nodes meet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wellspring_core::budget::{
    Ask, BudgetName, Decision, Spender, Spends, Spent, Standing, Window, good_for,
};
use wellspring_core::{Collection, Lane, State, TenantId, Timestamp};

use super::{Committing, Driver, EffectId, Held, Phase, Resident, Step};
use crate::{Aggregate, Write};

/// A call that goes out once it is spent.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) lane: Lane,
    pub(super) id: Aggregate,
    pub(super) probe: bool,
    /// The attempt that wants it in its course, where it is not the attempt or fetch itself.
    pub(super) call: Option<EffectId>,
    /// All that it is spent from.
    pub(super) of: Vec<Budget>,
}

/// A budget and its windows.
pub(super) type Budget = (BudgetName, Arc<[Window]>);

impl<T> Driver<T> {
    /// Returns the names under which it is kept what sources take and want.
    pub fn budget_names(&self) -> Vec<BudgetName> {
        let sources = self.sources.iter();
        sources
            .map(|source| BudgetName::new(source.name.as_str()))
            .chain(self.shared_limits())
            .collect()
    }

    /// A source has said until when it wants no calls: its lane keeps still, also after a restart.
    pub(super) fn block(&mut self, now: Timestamp, lane: Lane, until: Timestamp) {
        self.pause(now, lane, until);
        let gate = self.gate(lane);
        let until = gate.paused_until.unwrap_or(until);
        gate.ledger.block(until);
        self.blocks.insert(lane, until);
    }

    /// What a batch was to tell of sources is told by another.
    pub(super) fn keep_blocks(&mut self, batch: &Committing<T>) {
        let spends = &batch.batch.spends;
        for (place, until) in &spends.blocks {
            let name = spends.budgets.get(*place);
            if let Some(source) = name.and_then(|(name, _)| name.as_str().parse().ok()) {
                let kept = self.blocks.entry(Lane::source(&source)).or_insert(*until);
                *kept = (*kept).max(*until);
            }
        }
        for (place, said) in &spends.corrections {
            let budget = spends.budgets.get(*place).cloned();
            self.corrections
                .extend(budget.map(|budget| (budget, *said)));
        }
    }

    /// Returns how many calls of the lane may begin in which time, where that is limited.
    pub(super) fn budget(&self, lane: Lane) -> Option<Arc<[Window]>> {
        self.sources
            .by_lane(lane)
            .filter(|source| !lane.is_receiver() && !source.budget.is_empty())
            .map(|source| Arc::clone(&source.budget))
    }

    /// Returns the budget of the lane's source, where it has one.
    pub(super) fn budget_of_source(&self, lane: Lane) -> Option<Budget> {
        let windows = self.budget(lane)?;
        let source = self.sources.by_lane(lane)?;
        Some((BudgetName::new(source.name.as_str()), windows))
    }

    /// Returns what an attempt has to get first, where its source has a budget.
    pub(super) fn wanted(&self, lane: Lane, id: Aggregate, probe: bool) -> Option<Wanted> {
        Some(Wanted {
            lane,
            id,
            probe,
            call: None,
            of: vec![self.budget_of_source(lane)?],
        })
    }

    /// Returns what the call of a collection has to get first.
    pub(super) fn wanted_by_collection(
        &self,
        lane: Lane,
        id: Aggregate,
        probe: bool,
        tenant: TenantId,
    ) -> Option<Wanted> {
        let limits = self.limits_of_collection(lane, tenant);
        let source = self.wanted(lane, id, probe);
        let mut of = source.map_or_else(Vec::new, |wanted| wanted.of);
        of.extend(limits);
        (!of.is_empty()).then_some(Wanted {
            lane,
            id,
            probe,
            call: None,
            of,
        })
    }

    /// Takes a slot for a collection whose call can begin as soon as its step is durable.
    pub(super) fn wanted_at_once(
        &mut self,
        now: Timestamp,
        collection: &Collection,
    ) -> Option<Wanted> {
        let (due, lane) = collection.next_wakeup()?;
        let fetches = matches!(collection.state, State::Collecting { .. });
        if due > now || !fetches {
            return None;
        }
        let id = Aggregate::Collection(collection.id);
        let mut wanted = self.wanted_by_collection(lane, id, false, collection.tenant)?;
        let is_held_back = self.spent_until(now, &wanted).is_some();
        if is_held_back || !self.gate(lane).queue.is_empty() || !self.has_slot(now, lane) {
            return None;
        }
        wanted.probe = self.take_slot(lane);
        Some(wanted)
    }

    /// The step of a collection comes to nothing, and with it the call that was to begin.
    pub(super) fn unwanted(&mut self, step: &Step<T>) {
        if let (Some(wanted), Some(Write::Collection(_))) = (&step.wanted, &step.write) {
            self.return_slot(wanted.lane, wanted.probe);
        }
    }

    /// Has a call spent that no step starts: it joins whatever is written next.
    pub(super) fn want(&mut self, now: Timestamp, tenant: TenantId, wanted: Wanted) {
        self.pending.push_back(Step::of_call(now, tenant, wanted));
    }

    /// Returns what the steps of a batch want of budgets.
    pub(super) fn spends(&mut self, steps: &[Step<T>]) -> Spends {
        let corrections = std::mem::take(&mut self.corrections);
        let blocks = std::mem::take(&mut self.blocks).into_iter();
        let blocks: Vec<(BudgetName, Arc<[Window]>, Timestamp)> = blocks
            .filter_map(|(lane, until)| {
                let source = self.sources.by_lane(lane)?;
                let name = BudgetName::new(source.name.as_str());
                Some((name, Arc::clone(&source.budget), until))
            })
            .collect();
        let mut spends = Spends {
            at: self.now,
            ..Spends::default()
        };
        let wanted = || steps.iter().filter_map(|step| step.wanted.as_ref());
        // Of two that know the windows of a budget the later one is right: who waited to be told
        // may know them as they were.
        let corrected = corrections.iter().map(|(budget, _)| budget);
        let budgets: BTreeMap<&BudgetName, &Arc<[Window]>> = corrected
            .chain(wanted().flat_map(|wanted| &wanted.of))
            .map(|(name, windows)| (name, windows))
            .chain(blocks.iter().map(|(name, windows, _)| (name, windows)))
            .collect();
        let places: BTreeMap<&BudgetName, usize> = budgets.keys().copied().zip(0..).collect();
        let asked = steps.iter();
        let asked = asked.filter_map(|step| Some((step.tenant, step.wanted.as_ref()?)));
        spends.asks = asked
            .map(|(tenant, wanted)| {
                let of = wanted.of.iter();
                let good_for = of.clone().map(|(_, windows)| self.good_for(windows)).min();
                Ask {
                    of: of
                        .filter_map(|(name, _)| places.get(name).copied())
                        .collect(),
                    calls: 1,
                    good_for: good_for.unwrap_or_default(),
                    by: self.spender(wanted, tenant),
                }
            })
            .collect();
        spends.blocks = blocks
            .iter()
            .filter_map(|(name, _, until)| Some((*places.get(name)?, *until)))
            .collect();
        spends.corrections = corrections
            .iter()
            .filter_map(|((name, _), said)| Some((*places.get(name)?, *said)))
            .collect();
        spends.budgets = budgets
            .into_iter()
            .map(|(name, windows)| (name.clone(), Arc::clone(windows)))
            .collect();
        spends
    }

    /// Returns as whose a call counts in what each has spent.
    fn spender(&self, wanted: &Wanted, tenant: TenantId) -> Option<Spender> {
        let source = self.sources.by_lane(wanted.lane)?;
        // Where the calls of an attempt are counted its beginning is none.
        let begins = wanted.call.is_none() && matches!(wanted.id, Aggregate::Connection(_));
        (!begins || source.limits.is_empty()).then(|| Spender {
            source: source.name.clone(),
            tenant,
        })
    }

    /// How soon a call goes out after its batch was closed; longer while the database is slow,
    /// since what is late is lost.
    fn good_for(&self, windows: &[Window]) -> Duration {
        let longer = good_for(windows).saturating_mul(self.patience);
        longer.min(LONGEST)
    }

    /// Takes over what a commit tells of budgets; returns for each call whether it may go out.
    pub(super) fn spent(&mut self, now: Timestamp, batch: &Committing<T>, spent: Spent) -> Granted {
        let spends = &batch.batch.spends;
        let is_late = |ask: &Ask| now < spends.at || now.since(spends.at) > ask.good_for;
        let mut granted = spent.granted.iter().chain(std::iter::repeat(&0));
        let granted: Vec<bool> = spends
            .asks
            .iter()
            .map(|ask| granted.next() == Some(&ask.calls) && !is_late(ask))
            .collect();
        if !spends.is_empty() {
            if spends.asks.iter().any(is_late) {
                self.patience = self.patience.saturating_mul(2).min(MOST_PATIENCE);
            } else if self.patience > 1 {
                // Less would have done, with something to spare.
                let (patience, less) = (self.patience, self.patience - 1);
                let taken = now.since(spends.at).saturating_mul(4 * patience);
                let fits = |ask: &Ask| taken <= ask.good_for.saturating_mul(3 * less);
                self.patience -= u32::from(spends.asks.iter().all(fits));
            }
        }
        let names: Vec<BudgetName> = spends
            .budgets
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        self.learnt(now, &names, spent, true);
        // What was reserved is in the ledger, and others may go on by what it says.
        let wanted = batch.steps.iter().filter_map(|step| step.wanted.as_ref());
        for (wanted, granted) in wanted.zip(&granted) {
            if *granted && wanted.call.is_none() {
                let gate = self.gate(wanted.lane);
                gate.reserved = gate.reserved.saturating_sub(1);
            }
            self.freed.insert(wanted.lane);
        }
        Granted(granted.into_iter())
    }

    /// Takes over what is kept of budgets; unless it is `news`, what is known may be newer.
    pub(super) fn learnt(
        &mut self,
        now: Timestamp,
        names: &[BudgetName],
        spent: Spent,
        news: bool,
    ) {
        let from = spent.now;
        for (name, mut ledger) in names.iter().zip(spent.ledgers) {
            ledger.translate(from, now);
            let Ok(source) = name.as_str().parse() else {
                self.limited.learnt(now, name, ledger, news);
                continue;
            };
            if ledger.is_quiet(now) {
                continue;
            }
            let gate = self.gate(Lane::source(&source));
            if let Some(until) = ledger.blocked_until().filter(|until| *until > now) {
                gate.paused_until = gate.paused_until.max(Some(until));
            }
            if news || ledger.quiet_from() >= gate.ledger.quiet_from() {
                gate.ledger = ledger;
            }
        }
    }

    /// A call that no step starts has been spent, or not.
    pub(super) fn call_settled(&mut self, now: Timestamp, wanted: &Wanted, granted: bool) {
        let Wanted {
            lane, id, probe, ..
        } = *wanted;
        let waits = self.residents.get(&id);
        if waits.is_none_or(|one| one.phase != Phase::Committing) {
            self.let_go(lane, probe, granted);
            return;
        }
        // A clock that jumps, or a slow database, may have taken all the time there was.
        let stays = self.is_draining(id) || self.is_spent(now, id);
        let Some(Resident { held, .. }) = self.residents.remove(&id) else {
            return;
        };
        match held {
            Held::Collection {
                collection,
                payload,
            } => {
                if !granted || stays {
                    self.let_go(lane, probe, granted);
                    self.schedule(now, collection, payload);
                    return;
                }
                let held = Held::Collection {
                    collection,
                    payload,
                };
                let phase = Phase::Flying;
                self.residents.insert(id, Resident { held, phase });
                self.call(now, lane, id, probe);
            }
            Held::Connection {
                connection,
                flight,
                slot,
            } => {
                let slot = slot.filter(|_| granted);
                if slot.is_none() {
                    self.let_go(lane, probe, granted);
                }
                self.connection_settled(now, connection, flight, slot);
            }
            // Nothing is called for them.
            held @ (Held::Account(_) | Held::Source(_)) => {
                let phase = Phase::Committing;
                self.residents.insert(id, Resident { held, phase });
            }
        }
    }

    /// The step that starts a call is durable, and the call has been spent, or not.
    pub(super) fn step_settled(&mut self, now: Timestamp, wanted: &Wanted, granted: bool) {
        let Wanted {
            lane, id, probe, ..
        } = *wanted;
        let stays = self.is_draining(id) || self.is_spent(now, id);
        match self.residents.get_mut(&id) {
            Some(Resident {
                held: Held::Connection { slot, .. },
                phase: Phase::Committing,
            }) => {
                if !granted && let Some(slot) = slot.take() {
                    self.return_slot(slot.lane, slot.probe);
                }
            }
            Some(Resident {
                held: Held::Collection { .. },
                phase: phase @ Phase::Committing,
            }) if granted && !stays => {
                *phase = Phase::Flying;
                self.call(now, lane, id, probe);
            }
            Some(_) | None => self.let_go(lane, probe, granted),
        }
    }

    /// Gives back the slot of a call that is not made; one that is spent is reserved no longer.
    fn let_go(&mut self, lane: Lane, probe: bool, granted: bool) {
        if granted {
            self.free_slot(lane, probe);
        } else {
            self.return_slot(lane, probe);
        }
    }
}

/// Which calls of a batch may go out, in their order.
pub(super) struct Granted(std::vec::IntoIter<bool>);

impl Granted {
    /// Returns whether the next one may.
    pub(super) fn next(&mut self) -> bool {
        self.0.next().unwrap_or(false)
    }
}

impl super::gate::Gate {
    /// Returns when the budget allows another call, where it allows none now.
    pub(super) fn not_before(
        &mut self,
        now: Timestamp,
        budget: Option<&[Window]>,
    ) -> Option<Timestamp> {
        self.ledger.adopt(budget?);
        match self.ledger.decide(now, self.reserved.saturating_add(1)) {
            Decision::Allowed => None,
            Decision::NotBefore(at) => Some(at),
        }
    }

    pub(super) fn standings(&self, now: Timestamp, budget: &[Window]) -> Vec<Standing> {
        self.ledger.standings_in(now, budget)
    }
}

/// The longest that a call may be under way to the source.
const LONGEST: Duration = Duration::from_secs(30);
const MOST_PATIENCE: u32 = 1_024;
