//! Subscriptions that come, change and go.

use std::sync::Arc;

use wellspring_core::{Shard, SubscriptionId, Timestamp};

use super::outlet::{Health, Outlet, State};
use super::read::Want;
use super::track::{Phase, Track};
use super::{Dispatcher, PartPhase};
use crate::dispatch::Position;
use crate::{Subscription, SubscriptionTable};

impl<T> Dispatcher<T> {
    /// Takes in what subscriptions there are; what `table` does not have is gone if it is `whole`.
    pub(in crate::driver) fn replace(
        &mut self,
        now: Timestamp,
        table: &SubscriptionTable,
        whole: bool,
    ) {
        if whole {
            let known = self.outlets.keys();
            let gone: Vec<SubscriptionId> = known
                .filter(|id| !table.by_id.contains_key(id))
                .copied()
                .collect();
            for id in gone {
                self.remove(id);
            }
        }
        for (id, subscription) in &table.by_id {
            let Some(outlet) = self.outlets.get(id) else {
                self.add(subscription);
                continue;
            };
            let known = &outlet.subscription;
            let was_live = !matches!(outlet.state, State::Off);
            if subscription.version > known.version
                || (subscription.version == known.version && was_live && !subscription.is_live())
            {
                self.change(now, subscription);
            }
        }
        self.read_next();
    }

    fn add(&mut self, subscription: &Arc<Subscription>) {
        let id = subscription.id;
        let is_live = subscription.is_live();
        let state = if is_live { State::Running } else { State::Off };
        let outlet = Outlet::new(Arc::clone(subscription), state);
        self.outlets.insert(id, outlet);
        if is_live {
            self.index(subscription);
            self.open_everywhere(id);
        }
    }

    fn change(&mut self, now: Timestamp, subscription: &Arc<Subscription>) {
        let id = subscription.id;
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        let was_live = !matches!(outlet.state, State::Off);
        let old = std::mem::replace(&mut outlet.subscription, Arc::clone(subscription));
        if old.url != subscription.url {
            outlet.health = Health::default();
        }
        if was_live {
            self.unindex(&old);
        }
        match (was_live, subscription.is_live()) {
            (true, false) => self.turn_off(now, id),
            (true, true) => {
                self.index(subscription);
                if old.url != subscription.url {
                    // Another endpoint may be up.
                    self.probe_soon(now, id);
                }
            }
            (false, true) => {
                self.index(subscription);
                self.turn_on(id);
            }
            (false, false) => {}
        }
    }

    fn turn_on(&mut self, id: SubscriptionId) {
        if let Some(outlet) = self.outlets.get_mut(&id) {
            outlet.state = State::Running;
            outlet.health = Health::default();
            outlet.suspect = None;
        }
        self.open_everywhere(id);
    }

    /// Sends nothing more; where it stands is kept.
    pub(super) fn turn_off(&mut self, now: Timestamp, id: SubscriptionId) {
        self.leave(now, id, None);
        if let Some(outlet) = self.outlets.get_mut(&id) {
            outlet.state = State::Off;
            let subscription = Arc::clone(&outlet.subscription);
            self.unindex(&subscription);
        }
    }

    fn remove(&mut self, id: SubscriptionId) {
        let Some(outlet) = self.outlets.remove(&id) else {
            return;
        };
        self.unindex(&outlet.subscription);
        for (shard, track) in &outlet.tracks {
            if let Some(part) = self.parts.get_mut(shard) {
                for seq in &track.fresh {
                    part.done(*seq, id);
                }
                self.writes.parts.insert(*shard);
            }
        }
        self.writes.forget(id);
        self.starved.remove(&id);
        self.forget_reads(|want| want.subscription() == Some(id));
    }

    /// Writes down where a subscription stands in every shard, and forgets what is in memory of it.
    pub(super) fn leave(
        &mut self,
        now: Timestamp,
        id: SubscriptionId,
        failing_since: Option<Timestamp>,
    ) {
        let shards: Vec<Shard> = self.parts.keys().copied().collect();
        let Some(outlet) = self.outlets.get_mut(&id) else {
            return;
        };
        // What is stopped already has its positions in the store.
        let was_running = outlet.is_running();
        let mut tracks = std::mem::take(&mut outlet.tracks);
        outlet.ready.clear();
        outlet.rows = 0;
        for shard in shards {
            let track = tracks.remove(&shard);
            let Some(part) = self.parts.get_mut(&shard) else {
                continue;
            };
            for seq in track.iter().flat_map(|track| &track.fresh) {
                part.done(*seq, id);
            }
            let seen = match &part.phase {
                PartPhase::Opening => continue,
                PartPhase::Replaying(reader) => reader.seen,
                PartPhase::Open => part.seen,
            };
            self.writes.parts.insert(shard);
            self.writes.moved.remove(&(id, shard));
            self.writes.joining.remove(&(id, shard));
            if !was_running || matches!(track.as_ref().map(|it| &it.phase), Some(Phase::Opening)) {
                continue;
            }
            let position = Position {
                subscription: id,
                shard,
                seen: track.as_ref().map_or(seen, |track| track.standing(seen)),
                failing_since,
            };
            if track.is_none_or(|track| track.stored != Some(position)) {
                self.writes.positions.insert((id, shard), Some(position));
            }
        }
        self.forget_reads(|want| want.subscription() == Some(id) && !want.has_caller());
        self.writes.mark(now);
    }

    /// Has a subscription find out where it stands in every shard.
    pub(super) fn open_everywhere(&mut self, id: SubscriptionId) {
        let shards: Vec<Shard> = self.parts.keys().copied().collect();
        for shard in shards {
            if let Some(outlet) = self.outlets.get_mut(&id) {
                outlet.tracks.insert(shard, Track::new(Phase::Opening));
                self.want_durable(Want::State(id, shard));
            }
        }
        self.read_next();
    }

    fn index(&mut self, subscription: &Subscription) {
        let index = self.interests.entry(subscription.tenant).or_default();
        for pattern in &subscription.patterns {
            index.insert(subscription.id, pattern);
        }
    }

    fn unindex(&mut self, subscription: &Subscription) {
        let Some(index) = self.interests.get_mut(&subscription.tenant) else {
            return;
        };
        for pattern in &subscription.patterns {
            index.remove(subscription.id, pattern);
        }
        if index.is_empty() {
            self.interests.remove(&subscription.tenant);
        }
    }
}
