//! What has to hold after every step, and what is looked at now and then.

use std::collections::{BTreeMap, BTreeSet};

use wellspring_core::budget;
use wellspring_core::source::Hold;
use wellspring_core::{Collection, CollectionId, Kind, Lane, Phase, Shard, State};
use wellspring_engine::{Aggregate, Cursor, CursorError, Loaded, Queries, Request, Store};

use crate::Violation;
use crate::clock::{BEGIN, MINUTE, SECOND};
use crate::counted::Starts;
use crate::disk::now;
use crate::world::World;

mod fares;
mod link;

impl World {
    /// Notes the first invariant that does not hold.
    pub(crate) fn broken(&mut self, invariant: &'static str, context: impl Into<String>) {
        if self.violation.is_none() {
            let context = context.into();
            self.note(|| format!("BROKEN: {invariant}: {context}"));
            self.violation = Some(Violation {
                invariant,
                context,
                after_ms: self.now - BEGIN,
            });
        }
    }

    /// Looks at a node whose events have been taken in.
    pub(crate) fn check_turn(&mut self, node: usize) {
        let errors = self.errors.take();
        if let Some(error) = errors.into_iter().next() {
            self.broken("nothing is logged as an error", error);
        }
        let state = &self.nodes[node];
        if !state.up {
            return;
        }
        let now = self.node_now(node);
        if state.driver.next_wakeup().is_some_and(|at| at <= now) {
            return;
        }
        let full = state.driver.is_saturated();
        let idle = state.driver.lanes().into_iter().find(|lane| {
            let paused = lane.paused_until.is_some_and(|until| until > now)
                || lane.hold.is_some_and(Hold::is_shut);
            let source = self
                .sources
                .iter()
                .find(|source| source.name == lane.source);
            let free = source.is_some_and(|source| lane.in_flight < source.concurrency);
            let id = Lane::source(&lane.source);
            let budget = source.map_or(&[][..], |source| &source.budget);
            let limited = !budget.is_empty();
            // A clock that went back lets what was spent count for a whole window once more.
            let counts_in = |spent: &Starts<Lane>, window: &budget::Window| {
                let per = i64::try_from(window.per.as_millis()).unwrap_or(i64::MAX);
                let since = self.now - per - 2 * MINUTE;
                let many = spent.get(&id).map_or(0, |starts| {
                    starts.iter().rev().take_while(|at| **at > since).count()
                });
                many >= usize::try_from(window.calls).unwrap_or(usize::MAX)
                    || state.troubled_at > since
            };
            let calls = self.flying.iter().filter(|call| {
                call.effect.incarnation == state.incarnation && call.effect.lane == id
            });
            // A slot that is taken for a call which has not begun counts as well.
            let reserved = u32::try_from(calls.count()).unwrap_or(0) < lane.in_flight;
            let counts = |window: &budget::Window| counts_in(&self.spent, window);
            let takes_none = || {
                let limits = source.map_or(&[][..], |source| &source.limits);
                let all = |limit: &&budget::Limit| {
                    limit.scope == budget::Scope::Source && limit.endpoint.is_none()
                };
                let windows = limits.iter().filter(all).flat_map(|one| one.windows.iter());
                windows
                    .into_iter()
                    .any(|window| counts_in(&self.spent_of_all, window))
            };
            let held_back = self.held_back.get(&id);
            let said = held_back.is_some_and(|until| *until > self.now - 2 * MINUTE);
            let spent = limited && (reserved || said || budget.iter().any(counts)) || takes_none();
            lane.queued > 0 && free && !paused && !full && !spent && lane.breaker == Phase::Closed
        });
        if let Some(lane) = idle {
            self.broken(
                "what is due starts where a slot is free",
                format!("{lane:?}"),
            );
        }
    }

    /// Looks for stages that outlived their give-up time although nothing kept their node from its work.
    pub(crate) fn check_overdue(&mut self) {
        let calm = self.now - 15 * MINUTE;
        let healthy: BTreeMap<_, _> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| {
                node.up
                    && !node.stopping
                    && node.driver.is_ready()
                    && node.troubled_at < calm
                    && node.paused_until < calm
            })
            .map(|(place, node)| (node.incarnation, self.node_now(place)))
            .collect();
        self.check_backlog();
        let rows = now(self.store.inbox(self.store.shards(), usize::MAX)).unwrap_or_default();
        let present: BTreeMap<i64, (i64, Request)> = rows
            .into_iter()
            .map(|row| {
                let since = self.inbox.get(&row.number).map_or(self.now, |(at, _)| *at);
                (row.number, (since, row.request))
            })
            .collect();
        self.inbox = present;
        if self.refused_until > calm || self.unreadable_until > calm {
            return;
        }
        let neglected = self.inbox.values().find(|(since, request)| {
            let shard = request.subject().map(|id| id.shard());
            let owner = shard.and_then(|shard| self.model.owners.get(&shard));
            let granted_at = shard.and_then(|shard| self.model.granted_at.get(&shard));
            *since < calm
                && granted_at.is_some_and(|at| *at < calm)
                && owner.is_some_and(|(owner, _)| healthy.contains_key(owner))
        });
        if let Some((_, request)) = neglected {
            let seen = format!("{request:?}");
            return self.broken("the owner of a shard empties its inbox", seen);
        }
        self.check_overslept(&healthy, calm);
        let owners = self.model.owners.clone();
        let granted_at = self.model.granted_at.clone();
        let reachable = |shard: Shard| {
            let owner = owners.get(&shard);
            owner.is_some_and(|(owner, _)| healthy.contains_key(owner))
                && granted_at.get(&shard).is_some_and(|at| *at < calm)
        };
        self.check_reach(&reachable, calm);
        let lasting = self.model.sources.lasting(|shard| {
            let (owner, _) = owners.get(&shard).filter(|_| reachable(shard))?;
            healthy.get(owner).copied()
        });
        if let Some(seen) = lasting {
            return self.broken("an alert that nobody meets closes by itself", seen);
        }
        let overdue = self.model.rows.values().find(|row| {
            let collection = &row.collection;
            let shard = collection.id.shard();
            let Some(owner) = self.model.owners.get(&shard) else {
                return false;
            };
            if self
                .model
                .granted_at
                .get(&shard)
                .is_none_or(|at| *at > calm)
            {
                return false;
            }
            let Some(clock) = healthy.get(&owner.0) else {
                return false;
            };
            let policy = self.sources.policy(&collection.source);
            let gives_up_at = match &collection.state {
                State::Collecting { .. } => collection.gives_up_at(&policy),
                // A receiver's lane is shared by sources of different policies.
                State::Delivering { since, .. } => {
                    Some(since.after(self.sources.longest_give_up()))
                }
                State::Delivered { .. } | State::Failed { .. } => None,
            };
            gives_up_at.is_some_and(|at| at.after(SLACK) < *clock)
        });
        if let Some(row) = overdue {
            let seen = format!("{:?}", row.collection);
            self.broken("no stage outlives its give-up time", seen);
        }
    }

    /// Compares what idle nodes count with what is unfinished in their shards.
    fn check_backlog(&mut self) {
        for place in 0..self.nodes.len() {
            let node = &self.nodes[place];
            let scanned = |shard: &Shard| {
                self.model
                    .granted_at
                    .get(shard)
                    .is_some_and(|at| *at < self.now - 15 * MINUTE)
                    && self.model.owns(node.incarnation, *shard)
            };
            let known = node.up
                && node.driver.is_ready()
                && node.driver.is_idle()
                && node.driver.shards().all(|shard| scanned(&shard));
            if !known {
                continue;
            }
            let owned: BTreeSet<Shard> = node.driver.shards().collect();
            let live = self.model.rows.values().filter(|row| row.is_live());
            let live = live.filter(|row| owned.contains(&row.collection.id.shard()));
            let (live, counted) = (live.count(), node.driver.backlog());
            if u64::try_from(live) != Ok(counted) {
                let seen = format!("node {place} counts {counted}, there are {live}");
                self.broken("the backlog is what is unfinished", seen);
            }
        }
    }

    /// Compares the whole image with the model.
    pub(crate) fn audit(&mut self) {
        self.audit_rows();
        self.audit_links();
        self.audit_fares();
        self.audit_log();
    }

    fn audit_rows(&mut self) {
        let ids: Vec<CollectionId> = self.model.rows.keys().copied().collect();
        let ids = ids.into_iter().map(Aggregate::Collection).collect();
        let loaded = match now(self.store.load(ids)) {
            Ok(loaded) => loaded,
            Err(error) => return self.broken("every row decodes", error.to_string()),
        };
        let loaded: BTreeMap<_, _> = loaded
            .into_iter()
            .filter_map(|row| match row {
                Loaded::Collection(row) => Some((row.collection.id, row)),
                Loaded::Account(_) | Loaded::Connection(_) | Loaded::Source(_) => None,
            })
            .collect();
        let differing = self.model.rows.iter().find_map(|(id, row)| {
            let Some(found) = loaded.get(id) else {
                return Some(format!("{id} is gone"));
            };
            let wants_data = matches!(
                row.collection.state,
                State::Delivering {
                    kind: Kind::Success,
                    ..
                }
            );
            let same = alike(&found.collection, &row.collection)
                && found.live == row.is_live()
                && (!wants_data || found.payload == row.payload);
            (!same).then(|| format!("{found:?} should be {row:?}"))
        });
        if let Some(seen) = differing {
            return self.broken("what was accepted is kept", seen);
        }
        let gone = self.model.erased.iter().copied();
        let gone: Vec<Aggregate> = gone.map(Aggregate::Collection).collect();
        if let Ok(rows) = now(self.store.load(gone))
            && let Some(row) = rows.first()
        {
            let seen = format!("{}", row.id());
            return self.broken("what was erased is gone", seen);
        }
        let live: BTreeSet<Aggregate> =
            match now(self.store.scan(self.store.shards(), None, usize::MAX)) {
                Ok(rows) => rows.into_iter().map(|row| row.id).collect(),
                Err(error) => return self.broken("every row decodes", error.to_string()),
            };
        let expected = self.model.rows.values().filter(|row| row.is_live());
        let mut expected: BTreeSet<Aggregate> =
            expected.map(|row| row.collection.id.into()).collect();
        expected.extend(self.model.links.live());
        if live != expected {
            let seen = format!("{:?}", live.symmetric_difference(&expected));
            self.broken("the hot table holds what is unfinished", seen);
        }
    }

    /// Reads on in the log as every tenant would.
    pub(crate) fn audit_log(&mut self) {
        let Ok(head) = now(self.store.head()) else {
            return self.broken("the store answers", "no head");
        };
        let cursor = self
            .cursor
            .take()
            .unwrap_or_else(|| Cursor::start(head.life));
        let mut unread = std::mem::take(&mut self.model.log);
        for tenant in self.callers.tenants.clone() {
            let page = match now(self.store.changes(tenant, cursor.clone(), usize::MAX)) {
                Ok(page) => page,
                Err(CursorError::Expired) => continue,
                Err(error) => return self.broken("the log can be read on", error.to_string()),
            };
            for entry in page.entries {
                let said = (tenant, format!("{} {}", entry.verb.as_str(), entry.path));
                let written = unread.remove(&(entry.shard, entry.seq));
                if written.as_ref() != Some(&said) {
                    let seen = format!("{:?} {}: {said:?}", entry.shard, entry.seq);
                    return self.broken("the log says what happened", seen);
                }
            }
        }
        if let Some(((shard, seq), said)) = unread.first_key_value() {
            let seen = format!("{shard:?} {seq}: {said:?} is missing");
            return self.broken("the log says what happened", seen);
        }
        self.cursor = Some(head);
    }
}

/// A resumed delivery forgets in memory when its data came in; the store keeps it.
fn alike(found: &Collection, expected: &Collection) -> bool {
    let mut expected = expected.clone();
    match (&mut expected.state, &found.state) {
        (
            State::Delivered { collected_at, .. },
            State::Delivered {
                collected_at: kept, ..
            },
        ) => {
            *collected_at = *kept;
        }
        (
            State::Failed { collected_at, .. },
            State::Failed {
                collected_at: kept, ..
            },
        ) if kept.is_some() && collected_at.is_some() => {
            *collected_at = *kept;
        }
        (
            State::Collecting { .. }
            | State::Delivering { .. }
            | State::Delivered { .. }
            | State::Failed { .. },
            _,
        ) => {}
    }
    *found == expected
}

const SLACK: std::time::Duration =
    std::time::Duration::from_millis((20 * 60 * SECOND).unsigned_abs());
