//! What the dispatcher reads and writes.

use wellspring_core::{Shard, SubscriptionId, TenantId};
use wellspring_engine::{
    DeliveryRow, DeliveryStatus, Disabled, DispatchState, DispatchWrites, Entry, LogEntry,
    LogSlice, SubscriptionState,
};

use super::{Image, queries};
use crate::row::document_of;

impl Image {
    pub(super) fn dispatch_state(&self, shard: Shard) -> DispatchState {
        let positions = self.positions.values();
        let mut open: Vec<DeliveryRow> = self.open().filter(|row| row.shard == shard).collect();
        open.sort_by_key(|row| (row.seq, row.subscription));
        DispatchState {
            cursor: self.dispatched.get(&shard).copied().unwrap_or(0),
            positions: positions
                .filter(|row| row.shard == shard)
                .copied()
                .collect(),
            open,
        }
    }

    pub(super) fn subscription_state(
        &self,
        subscription: SubscriptionId,
        shard: Shard,
    ) -> SubscriptionState {
        let of = |row: &DeliveryRow| (row.subscription, row.shard) == (subscription, shard);
        SubscriptionState {
            position: self.positions.get(&(shard, subscription)).copied(),
            open: self.open().filter(of).collect(),
        }
    }

    fn open(&self) -> impl Iterator<Item = DeliveryRow> {
        self.deliveries.values().filter(|row| is_open(row)).cloned()
    }

    pub(super) fn slice(
        &self,
        shard: Shard,
        after: u64,
        tenant: Option<TenantId>,
        limit: usize,
    ) -> LogSlice {
        let end = self.shards.get(&shard).map_or(0, |row| row.next_seq - 1);
        let mut floors = self.floors.iter();
        let gap = floors.any(|((of, whose), floor)| {
            *of == shard && tenant.is_none_or(|tenant| tenant == *whose) && *floor > after
        });
        let mut slice = LogSlice {
            entries: Vec::new(),
            seen: after.max(end),
            has_more: false,
            gap,
        };
        let rows = self.log.range((shard, after + 1)..=(shard, u64::MAX));
        for (looked_at, ((_, seq), entry)) in rows.enumerate() {
            if looked_at == STRETCH || slice.entries.len() == limit {
                slice.seen = seq - 1;
                slice.has_more = true;
                break;
            }
            if tenant.is_none_or(|tenant| tenant == entry.tenant) {
                slice.entries.push(log_entry(shard, *seq, entry));
            }
        }
        slice
    }

    pub(super) fn apply_dispatch(&mut self, writes: &DispatchWrites) {
        for (shard, seen) in &writes.cursors {
            self.dispatched.insert(*shard, *seen);
        }
        // What concerns a subscription that was deleted meanwhile is nobody's.
        let is_known = |id: &SubscriptionId| self.subscriptions.contains_key(id);
        for position in writes
            .positions
            .iter()
            .filter(|p| is_known(&p.subscription))
        {
            let key = (position.shard, position.subscription);
            self.positions.insert(key, *position);
        }
        for (subscription, shard) in &writes.caught_up {
            self.positions.remove(&(*shard, *subscription));
        }
        for row in writes
            .deliveries
            .iter()
            .filter(|row| is_known(&row.subscription))
        {
            let key = (row.subscription, row.shard, row.seq);
            self.deliveries.insert(key, row.clone());
        }
        for attempt in writes.attempts.iter().filter(|a| is_known(&a.subscription)) {
            let place = (attempt.subscription, attempt.shard);
            let key = (place.0, place.1, attempt.seq, attempt.number);
            self.delivery_attempts.insert(key, attempt.clone());
        }
        for (id, reason, at) in &writes.disabled {
            let kept = self.subscriptions.get_mut(id);
            if let Some(kept) = kept.filter(|kept| kept.disabled.is_none()) {
                let (reason, at) = (*reason, *at);
                kept.disabled = Some(Disabled { reason, at });
                kept.version += 1;
            }
        }
    }
}

pub(super) fn log_entry(shard: Shard, seq: u64, entry: &Entry) -> LogEntry {
    let subject = &entry.change.subject;
    LogEntry {
        tenant: entry.tenant,
        line: subject.line(),
        document: document_of(subject),
        message_type: subject.message_type(entry.change.verb),
        view: queries::view(shard, seq, entry),
    }
}

pub(super) const fn is_open(row: &DeliveryRow) -> bool {
    match row.status {
        DeliveryStatus::Waiting | DeliveryStatus::Retrying => true,
        DeliveryStatus::Delivered | DeliveryStatus::Exhausted => false,
    }
}

/// Rows looked at by one reading of the log.
const STRETCH: usize = 2_000;
