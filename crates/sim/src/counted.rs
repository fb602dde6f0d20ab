//! Calls as the source counts them: when they arrive, in every window that there is.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wellspring_core::budget::{Limit, Scope, Spends, Window};
use wellspring_core::{ConnectionId, Lane, TenantId, Timestamp};

use crate::clock::{HOUR, MINUTE};
use crate::world::World;

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counted {
    lane: Lane,
    /// The place of the limit among those of the source, where it is not the budget of all.
    limit: Option<usize>,
    whose: Whose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    All,
    Tenant(TenantId),
    Connection(ConnectionId),
}

/// When calls arrived that are counted together.
pub(crate) type Starts<K = Counted> = BTreeMap<K, VecDeque<i64>>;

impl Counted {
    /// All that begins at a source.
    pub(crate) const fn of(lane: Lane) -> Self {
        Self {
            lane,
            limit: None,
            whose: Whose::All,
        }
    }

    /// What one of its limits counts with a call; nothing where that is about connections alone.
    pub(crate) fn by(
        lane: Lane,
        (place, limit): (usize, &Limit),
        tenant: TenantId,
        connection: Option<ConnectionId>,
    ) -> Option<Self> {
        let whose = match limit.scope {
            Scope::Source => Whose::All,
            Scope::Tenant => Whose::Tenant(tenant),
            Scope::Connection => Whose::Connection(connection?),
        };
        Some(Self {
            lane,
            limit: Some(place),
            whose,
        })
    }
}

impl World {
    /// A source says until when it wants no calls; `clock` is what the node takes the time to be.
    pub(crate) fn says(&mut self, lane: Lane, clock: Timestamp, until: Timestamp) {
        let until = self.now + until.as_millis() - clock.as_millis();
        let word = self.words.entry(lane).or_insert(until);
        *word = (*word).max(until);
    }

    /// Checks that nobody but the source itself keeps all of it still.
    pub(crate) fn check_blocks(&mut self, spends: &Spends) {
        for (place, until) in &spends.blocks {
            let name = spends.budgets.get(*place).map(|(name, _)| name.as_str());
            let Some(source) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            let until = self.now + until.as_millis() - spends.at.as_millis();
            let word = self.words.get(&Lane::source(&source));
            // A clock may have jumped since.
            if word.is_none_or(|word| *word + 9 * HOUR < until) {
                let seen = format!("{source} for {} ms, it said {word:?}", until - self.now);
                return self.broken("a source is kept still by its own word alone", seen);
            }
        }
    }

    /// Takes in a call that arrives at `at`, and checks that no window holds more than it takes.
    pub(crate) fn check_budget(&mut self, counted: Counted, at: i64, budget: &[Window]) {
        let Some(longest) = budget.iter().map(|window| window.per).max() else {
            return;
        };
        let millis = |per: Duration| i64::try_from(per.as_millis()).unwrap_or(i64::MAX);
        let forgotten = self.now - millis(longest) - 2 * MINUTE;
        let starts = self.starts.entry(counted).or_default();
        while starts.front().is_some_and(|at| *at <= forgotten) {
            starts.pop_front();
        }
        let place = starts.partition_point(|other| *other <= at);
        starts.insert(place, at);
        let over = budget.iter().find_map(|window| {
            // Calls that were on their way at the same time may arrive after it.
            let many = (place..starts.len()).map(|last| {
                let since = starts[last] - millis(window.per);
                let until = starts.range(..=last).rev();
                until.take_while(|at| **at > since).count()
            });
            let most = usize::try_from(window.calls).unwrap_or(usize::MAX);
            let many = many.max().filter(|many| *many > most)?;
            Some(format!("{many} in {window:?} of {counted:?}"))
        });
        if let Some(seen) = over {
            self.broken("no window holds more calls than its budget", seen);
        }
    }
}
