//! The operator: switches sources off and on, and says when they are worked on.

use wellspring_core::source::{Announced, Input, Patch, Span, When};
use wellspring_core::{Actor, SourceId, SourceName, Timestamp};
use wellspring_engine::{EffectId, Request};

use crate::agenda::Occurrence;
use crate::clock::{HOUR, MINUTE};
use crate::world::World;

impl World {
    /// The operator does something about a source.
    pub(crate) fn operate(&mut self) {
        let names: Vec<SourceName> = self.sources.iter().map(|one| one.name.clone()).collect();
        let place = self.dice.below(names.len());
        let Some(name) = names.get(place) else { return };
        match self.dice.below(10) {
            0..4 => {
                self.report.strike(crate::Fault::SwitchedOff);
                self.patch_source(name, switch(false), 0);
                let hours = if self.dice.permille(200) { 12 } else { 3 };
                let later = self.dice.between(MINUTE, hours * HOUR);
                self.patch_source(name, switch(true), later);
            }
            4..9 => {
                // It is put off, cut short or called off while it goes on.
                let mut later = 0;
                for _ in 0..self.dice.between(1, 3) {
                    let from = self.now + later + self.dice.between(-HOUR, HOUR);
                    let until = from + self.dice.between(MINUTE, 5 * HOUR);
                    self.patch_source(name, windows(Some((from, until))), later);
                    later += self.dice.between(MINUTE, 2 * HOUR);
                }
                if self.dice.permille(500) {
                    self.patch_source(name, windows(None), later);
                }
            }
            _ => self.patch_source(name, switch(true), 0),
        }
    }

    fn patch_source(&mut self, name: &SourceName, patch: Patch, later: i64) {
        let request = Request::Source {
            name: name.clone(),
            tenant: self.callers.tenants[0],
            input: Box::new(Input::Patched(patch, Actor::Operator)),
        };
        let ask = self.callers.about(request, true);
        let at = self.now + later;
        self.agenda.push(at, Occurrence::Send(Box::new(ask)));
    }

    /// The operator clears up.
    pub(crate) fn switch_all_on(&mut self) {
        let names: Vec<SourceName> = self.sources.iter().map(|one| one.name.clone()).collect();
        for name in names {
            let patch = Patch {
                enabled: Some(true),
                ..windows(None)
            };
            // Later than all that was planned before.
            self.patch_source(&name, patch, 14 * HOUR);
        }
    }

    /// Returns a source that is switched off.
    pub(crate) fn switched_off(&self) -> Option<String> {
        let off = self.model.sources.values();
        let mut off =
            off.filter(|source| source.disabled_at.is_some() || !source.windows.is_empty());
        off.next().map(|source| format!("{source:?}"))
    }

    /// Checks that nothing goes out to a source that is switched off, or that the operator works on.
    pub(crate) fn check_switch(&mut self, node: usize, effect: &EffectId) {
        let started = effect.started;
        let Some(source) = self.sources.by_lane(effect.lane) else {
            return;
        };
        let id = SourceId::of(&source.name);
        let Some(row) = self.model.sources.get(&id) else {
            return;
        };
        // Other nodes hear of it when they look, and a clock that jumped is somewhere else.
        let fresh = |at: &i64| self.now - at < 2 * MINUTE;
        if self.sources_set.get(&id).is_some_and(fresh)
            || self.nodes[node].troubled_at >= self.now - 2 * MINUTE
        {
            return;
        }
        let late = std::time::Duration::from_secs(120);
        let spans = row.windows.iter().filter_map(|one| one.span(started));
        let worked_on = spans
            .filter(|span| span.covers(started))
            .any(|span| started.since(span.from) > late);
        if row.disabled_at.is_some() || worked_on {
            let seen = format!("{effect:?}, {row:?}");
            self.broken("nothing goes out to a source that is switched off", seen);
        }
    }
}

fn switch(enabled: bool) -> Patch {
    Patch {
        enabled: Some(enabled),
        ..Patch::default()
    }
}

fn windows(span: Option<(i64, i64)>) -> Patch {
    let span = span.map(|(from, to)| Announced {
        when: When::Once(Span {
            from: Timestamp::from_millis(from),
            to: Timestamp::from_millis(to),
        }),
        reason: None,
    });
    Patch {
        windows: Some(span.into_iter().collect()),
        ..Patch::default()
    }
}
