//! Limits: what holds for one endpoint, tenant or connection besides the budget of its source.
//!
//! Ledgers of tenants and connections are not kept in memory, only until when those that are
//! spent allow nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use wellspring_core::budget::{
    BudgetName, Correction, Decision, Ledger, Limit, Scope, Standing, Window,
};
use wellspring_core::{Lane, TenantId, Timestamp};

use super::budget::{Budget, Wanted};
use super::{Action, Answer, Driver, EffectId, Held, Origin, Place, Step, Timer};
use crate::{Aggregate, Leave};

/// What is known of limits.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Those that all of a source share, as the last commit told.
    shared: BTreeMap<BudgetName, Ledger>,
    /// Until when those that are spent allow nothing.
    spent: BTreeMap<BudgetName, Timestamp>,
}

/// How a limit of a source stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitView {
    /// The limit.
    pub limit: Limit,
    /// How its windows stand; nothing where each tenant or connection has its own.
    pub standings: Vec<Standing>,
}

impl Known {
    /// The configured limits are others.
    pub(super) fn changed(&mut self) {
        self.spent.clear();
    }

    /// Forgets what is over.
    pub(super) fn prune(&mut self, now: Timestamp) {
        self.spent.retain(|_, until| *until > now);
        self.shared.retain(|_, ledger| !ledger.is_quiet(now));
    }

    /// Takes over a source's own figure; returns whether it says anything new, as far as is known.
    pub(super) fn hear(&mut self, now: Timestamp, budget: &Budget, said: Correction) -> bool {
        let (name, windows) = budget;
        if !name.is_shared() {
            return true;
        }
        let ledger = self.shared.entry(name.clone()).or_default();
        ledger.adopt(windows);
        let changes = ledger.hear(said, now);
        if let Decision::NotBefore(at) = ledger.decide(now, 1) {
            self.spent.insert(name.clone(), at);
        }
        changes
    }

    /// Takes over what is kept of a limit; unless it is `news`, what is known may be newer.
    pub(super) fn learnt(
        &mut self,
        now: Timestamp,
        name: &BudgetName,
        mut ledger: Ledger,
        news: bool,
    ) {
        // What is merely read may be of windows that are configured no longer.
        if news {
            match ledger.decide(now, 1) {
                Decision::Allowed => drop(self.spent.remove(name)),
                Decision::NotBefore(at) => drop(self.spent.insert(name.clone(), at)),
            }
        }
        if !name.is_shared() {
            return;
        }
        let known = self.shared.get(name);
        if news || known.is_none_or(|known| ledger.quiet_from() >= known.quiet_from()) {
            self.shared.insert(name.clone(), ledger);
        }
    }

    /// Returns until when one of the budgets that are wanted allows nothing.
    fn not_before(&self, now: Timestamp, of: &[Budget]) -> Option<Timestamp> {
        let spent = of.iter().filter_map(|(name, _)| self.spent.get(name));
        spent.copied().filter(|until| *until > now).max()
    }

    fn standings(&self, now: Timestamp, name: &BudgetName, windows: &[Window]) -> Vec<Standing> {
        let known = self.shared.get(name);
        known.map_or_else(
            || Ledger::new(windows).standings(now),
            |ledger| ledger.standings_in(now, windows),
        )
    }
}

impl<T> Driver<T> {
    /// Returns the budgets of limits that the call of a collection is spent from.
    pub(super) fn limits_of_collection(&self, lane: Lane, tenant: TenantId) -> Vec<Budget> {
        self.limits_of(lane, tenant, None, None)
    }

    fn limits_of(
        &self,
        lane: Lane,
        tenant: TenantId,
        id: Option<Aggregate>,
        endpoint: Option<&str>,
    ) -> Vec<Budget> {
        let of = self.counting(lane, tenant, id, endpoint).into_iter();
        of.map(|(_, budget)| budget).collect()
    }

    /// Returns the budgets of limits that count a call, and whose calls each of them counts.
    pub(super) fn counting(
        &self,
        lane: Lane,
        tenant: TenantId,
        id: Option<Aggregate>,
        endpoint: Option<&str>,
    ) -> Vec<(Scope, Budget)> {
        let connection = match id {
            Some(Aggregate::Connection(id)) => Some(id),
            Some(Aggregate::Collection(_) | Aggregate::Account(_) | Aggregate::Source(_))
            | None => None,
        };
        let source = self.sources.by_lane(lane).filter(|_| !lane.is_receiver());
        let Some(source) = source else {
            return Vec::new();
        };
        let counted = source.limits.iter().filter(|one| one.counts(endpoint));
        counted
            .filter_map(|limit| {
                let name = limit.budget(&source.name, tenant, connection)?;
                Some((limit.scope, (name, Arc::clone(&limit.windows))))
            })
            .collect()
    }

    /// Returns whether calls of the lane's source are counted.
    pub(super) fn has_limits(&self, lane: Lane) -> bool {
        let source = self.sources.by_lane(lane);
        source.is_some_and(|source| !source.limits.is_empty())
    }

    /// Returns until when no attempt is worth beginning, as its source takes no calls at all.
    pub(super) fn shut_by_limit(&self, now: Timestamp, lane: Lane) -> Option<Timestamp> {
        if self.limited.spent.is_empty() || lane.is_receiver() {
            return None;
        }
        let source = self.sources.by_lane(lane)?;
        let whole = source
            .limits
            .iter()
            .find(|limit| limit.scope == Scope::Source && limit.endpoint.is_none())?;
        let until = self.limited.spent.get(&whole.shared(&source.name)?)?;
        Some(*until).filter(|until| *until > now)
    }

    /// Returns the names of limits that all of a source share.
    pub(super) fn shared_limits(&self) -> impl Iterator<Item = BudgetName> {
        let sources = self.sources.iter();
        sources.flat_map(|source| {
            let limits = source.limits.iter();
            limits.filter_map(|limit| limit.shared(&source.name))
        })
    }

    /// Returns how the limits of a source stand.
    pub(super) fn limit_views(&self, source: &crate::Source) -> Vec<LimitView> {
        let view = |limit: &Limit| LimitView {
            limit: limit.clone(),
            standings: limit.shared(&source.name).map_or_else(Vec::new, |name| {
                self.limited.standings(self.now, &name, &limit.windows)
            }),
        };
        source.limits.iter().map(view).collect()
    }

    /// Returns until when what is wanted cannot be had.
    pub(super) fn spent_until(&self, now: Timestamp, wanted: &Wanted) -> Option<Timestamp> {
        self.limited.not_before(now, &wanted.of)
    }

    /// Has a collection wait that a limit holds back, and its source's queue go on without it.
    pub(super) fn put_off(&mut self, now: Timestamp, wanted: &Wanted, until: Timestamp) {
        let Wanted {
            lane, id, probe, ..
        } = *wanted;
        self.return_slot(lane, probe);
        let Some(resident) = self.residents.remove(&id) else {
            return;
        };
        let Some(collection) = resident.held.collection() else {
            self.residents.insert(id, resident);
            return;
        };
        let policy = self.sources.policy(&collection.source);
        let gives_up = collection.gives_up_at(&policy);
        let since = collection.stage_began().unwrap_or(now);
        let line = self.line(collection.tenant, false);
        let place = Place { lane, line, since };
        let due = gives_up.map_or(until, |at| until.min(at));
        self.wheel.push(Timer::new(due, id, place));
    }

    /// An attempt is about to call its source.
    pub(super) fn calling(&mut self, now: Timestamp, effect: EffectId, endpoint: &str, caller: T) {
        let tenant = match self.residents.get(&effect.id).map(|one| &one.held) {
            Some(Held::Connection { connection, .. }) if self.is_under_way(effect) => {
                connection.tenant
            }
            Some(
                Held::Connection { .. }
                | Held::Collection { .. }
                | Held::Account(_)
                | Held::Source(_),
            )
            | None => {
                self.counters.stale_results += 1;
                self.actions.push(Action::Reply(caller, Answer::Ended));
                return;
            }
        };
        let of = self.limits_of(effect.lane, tenant, Some(effect.id), Some(endpoint));
        let leave = match self.limited.not_before(now, &of) {
            Some(until) => Leave::NotBefore(until),
            None if of.is_empty() => Leave::Granted,
            None => {
                let wanted = Wanted {
                    lane: effect.lane,
                    id: effect.id,
                    probe: false,
                    call: Some(effect),
                    of,
                };
                self.pending.push_back(Step {
                    origin: Some(Origin::Caller(caller)),
                    ..Step::of_call(now, tenant, wanted)
                });
                return;
            }
        };
        let answer = Answer::Leave(leave);
        self.actions.push(Action::Reply(caller, answer));
    }

    /// A call that an attempt asked for has been spent, or not.
    pub(super) fn leave_settled(
        &mut self,
        now: Timestamp,
        (wanted, effect): (&Wanted, EffectId),
        granted: bool,
        origin: Option<Origin<T>>,
    ) {
        let answer = if !self.is_under_way(effect) {
            Answer::Ended
        } else if granted {
            Answer::Leave(Leave::Granted)
        } else {
            // What came too late is asked for once more.
            let until = self.spent_until(now, wanted).unwrap_or(now);
            Answer::Leave(Leave::NotBefore(until))
        };
        if let Some(origin) = origin {
            self.answer(origin, answer);
        }
    }

    pub(super) fn is_under_way(&self, effect: EffectId) -> bool {
        effect.incarnation == self.incarnation && self.flights.contains(&effect.number)
    }
}
