//! What sources say of their own count, which others spend from as well.

use wellspring_core::budget::{Remaining, Window};
use wellspring_core::{IncarnationId, Lane, Timestamp};
use wellspring_engine::{Batch, EffectId, Heard};

use crate::clock::SECOND;
use crate::dice::Dice;
use crate::world::World;

/// A source's own count, in stretches that follow one another.
#[derive(Debug)]
pub(crate) struct Figures {
    window: Window,
    /// Which stretch it counts in.
    stretch: i64,
    spent: u32,
    dice: Dice,
}

/// A node has heard that nothing is left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NothingLeft {
    heard_at: Timestamp,
    /// By the node's clock.
    until: Timestamp,
    /// By the steady time.
    ends_at: i64,
}

/// By incarnation and lane.
pub(crate) type NothingLefts = std::collections::BTreeMap<(IncarnationId, Lane), NothingLeft>;

impl Figures {
    /// Returns the count of a source that speaks of it; about every second one with a budget does.
    pub(crate) fn draw(budget: &[Window], dice: &mut Dice) -> Option<Self> {
        let (speaks, seed) = (dice.permille(500), dice.seed());
        let window = budget.first().filter(|_| speaks)?;
        Some(Self {
            window: *window,
            stretch: 0,
            spent: 0,
            dice: Dice::new(seed),
        })
    }

    /// Counts a call, and returns what its answer says of those that are left.
    pub(crate) fn answer(&mut self, now: i64, clock: Timestamp) -> Remaining {
        let Window { calls, per } = self.window;
        let millis = i64::try_from(per.as_millis()).unwrap_or(i64::MAX);
        let stretch = now.div_euclid(millis);
        if stretch != self.stretch {
            let others = if self.dice.permille(400) { calls } else { 0 };
            (self.stretch, self.spent) = (stretch, self.drawn(others));
        }
        let others = if self.dice.permille(200) { 3 } else { 0 };
        self.spent += 1 + self.drawn(others);
        let rest = (stretch + 1) * millis - now;
        Remaining {
            quota: Some(calls),
            per: Some(per),
            left: calls.saturating_sub(self.spent),
            until: Timestamp::from_millis(clock.as_millis() + rest),
        }
    }

    fn drawn(&mut self, most: u32) -> u32 {
        u32::try_from(self.dice.between(0, most.into())).unwrap_or(0)
    }
}

impl World {
    /// A node hears what a source says; nothing where it does not ask on that source's behalf any
    /// more.
    pub(crate) fn hears(&mut self, node: usize, now: Timestamp, effect: EffectId, heard: &Heard) {
        let shard = effect.id.shard();
        let flies = self.flying.iter().any(|call| call.effect == effect);
        let has_shard = self.nodes[node].driver.shards().any(|one| one == shard);
        let ends_at = |until: Timestamp| self.now + until.as_millis() - now.as_millis();
        let last = heard.remaining.iter().map(|one| ends_at(one.until)).max();
        let held_back = self.held_back.entry(effect.lane).or_default();
        *held_back = last.map_or(*held_back, |last| last.max(*held_back));
        let Some(nothing) = heard.remaining.iter().find(|one| one.left == 0) else {
            return;
        };
        let mut sources = self.providers.iter().map(|one| &one.source);
        let source = sources.find(|source| Lane::source(&source.name) == effect.lane);
        let limits = source.map_or(&[][..], |source| &source.limits);
        // It may be about what its tenant may have, and is then taken for that.
        let is_of_all = limits
            .iter()
            .all(|one| nothing.about(&one.windows).is_none());
        if flies && has_shard && is_of_all && nothing.until > now {
            // No longer than its window, whatever the clock was when it was asked.
            let longest = nothing.per.map(|per| now.after(per));
            let until = longest.map_or(nothing.until, |end| nothing.until.min(end));
            let left = NothingLeft {
                heard_at: now,
                until,
                ends_at: ends_at(until),
            };
            self.nothing_left
                .insert((effect.incarnation, effect.lane), left);
        }
    }

    /// Checks that no batch spends from what is not there.
    pub(crate) fn check_figures(&mut self, batch: &Batch, granted: &[u32]) {
        let spends = &batch.spends;
        for (ask, calls) in spends.asks.iter().zip(granted) {
            let names = ask.of.iter().filter_map(|place| spends.budgets.get(*place));
            let sources = names.filter_map(|(name, _)| name.as_str().parse().ok());
            for source in sources {
                let lane = Lane::source(&source);
                let said = self.nothing_left.get(&(batch.incarnation, lane));
                // The node's clock may have gone forward since, or the ledger's gone on without it.
                let is_so = said.is_some_and(|said| {
                    let heard = said.heard_at < spends.at && spends.at < said.until;
                    heard && self.now < said.ends_at - 2 * SECOND
                });
                if *calls > 0 && is_so {
                    let seen = format!("{source}: {said:?}");
                    return self.broken("a source that has nothing left is not asked", seen);
                }
            }
        }
    }
}
