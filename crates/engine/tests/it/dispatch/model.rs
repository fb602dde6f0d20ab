//! A store as far as the dispatcher sees it: what was committed, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use wellspring_core::{Account, AccountId, Shard, SubscriptionId};
use wellspring_engine::{
    Batch, DeliveryAttempt, DeliveryRow, DeliveryStatus, Disabled, DisabledReason, DispatchAnswer,
    DispatchQuery, DispatchState, Entry, LogEntry, LogSlice, Position, Subscription,
    SubscriptionState, SubscriptionTable, Write,
};

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) shards: u8,
    pub(crate) log: BTreeMap<(Shard, u64), Entry>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) cursors: BTreeMap<Shard, u64>,
    pub(crate) positions: BTreeMap<(SubscriptionId, Shard), Position>,
    pub(crate) rows: BTreeMap<(SubscriptionId, Shard, u64), DeliveryRow>,
    pub(crate) attempts: Vec<DeliveryAttempt>,
    pub(crate) subscriptions: BTreeMap<SubscriptionId, Subscription>,
    /// The last place that retention has removed.
    pub(crate) removed: BTreeMap<Shard, u64>,
    pub(crate) ends: BTreeMap<Shard, u64>,
}

impl Model {
    pub(crate) fn end(&self, shard: Shard) -> u64 {
        self.ends.get(&shard).copied().unwrap_or(0)
    }

    pub(crate) fn each_shard(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.shards).map(Shard)
    }

    /// Writes a subscription and its positions at the present end.
    pub(crate) fn subscribe(&mut self, subscription: Subscription) {
        for shard in self.each_shard() {
            let position = Position {
                subscription: subscription.id,
                shard,
                seen: self.end(shard),
                failing_since: None,
            };
            self.positions.insert((subscription.id, shard), position);
        }
        self.subscriptions.insert(subscription.id, subscription);
    }

    pub(crate) fn table(&self) -> Arc<SubscriptionTable> {
        let rows = self.subscriptions.values();
        let by_id = rows.map(|row| (row.id, Arc::new(row.clone())));
        Arc::new(SubscriptionTable {
            by_id: by_id.collect(),
        })
    }

    pub(crate) fn open(&self, id: SubscriptionId) -> Vec<&DeliveryRow> {
        let rows = self.rows.values().filter(|row| row.subscription == id);
        rows.filter(|row| is_open(row)).collect()
    }

    pub(crate) fn commit(&mut self, batch: &Batch) {
        let epochs: Vec<Shard> = batch.epochs.iter().map(|(shard, _)| *shard).collect();
        let fenced = |shard: Shard| assert!(epochs.contains(&shard), "{shard:?} is not fenced");
        for entry in &batch.entries {
            fenced(entry.shard);
            let end = self.ends.entry(entry.shard).or_default();
            assert_eq!(entry.seq, *end + 1);
            *end = entry.seq;
            self.log.insert((entry.shard, entry.seq), entry.clone());
        }
        for write in &batch.writes {
            if let Write::Account(write) = write
                && let Some(next) = &write.next
            {
                self.accounts.insert(write.id, next.clone());
            }
        }
        let dispatch = &batch.dispatch;
        for (shard, cursor) in &dispatch.cursors {
            fenced(*shard);
            let known = self.cursors.entry(*shard).or_default();
            assert!(cursor >= known, "a cursor does not go back");
            *known = *cursor;
        }
        for position in &dispatch.positions {
            fenced(position.shard);
            let key = (position.subscription, position.shard);
            self.positions.insert(key, *position);
        }
        for key in &dispatch.caught_up {
            fenced(key.1);
            self.positions.remove(key);
        }
        for row in &dispatch.deliveries {
            fenced(row.shard);
            let key = (row.subscription, row.shard, row.seq);
            self.rows.insert(key, row.clone());
        }
        for attempt in &dispatch.attempts {
            fenced(attempt.shard);
            self.attempts.push(attempt.clone());
        }
        for (id, reason, at) in &dispatch.disabled {
            self.disable(*id, *reason, *at);
        }
    }

    fn disable(
        &mut self,
        id: SubscriptionId,
        reason: DisabledReason,
        at: wellspring_core::Timestamp,
    ) {
        if let Some(row) = self.subscriptions.get_mut(&id) {
            row.disabled = Some(Disabled { reason, at });
            row.version += 1;
        }
    }

    pub(crate) fn answer(&self, query: DispatchQuery) -> DispatchAnswer {
        match query {
            DispatchQuery::Shard(shard) => {
                let rows = self.rows.values();
                let positions = self.positions.values();
                DispatchAnswer::Shard(DispatchState {
                    cursor: self.cursors.get(&shard).copied().unwrap_or(0),
                    positions: positions
                        .filter(|position| position.shard == shard)
                        .copied()
                        .collect(),
                    open: rows
                        .filter(|row| row.shard == shard && is_open(row))
                        .cloned()
                        .collect(),
                })
            }
            DispatchQuery::Subscription(id, shard) => {
                let open = self.open(id).into_iter();
                DispatchAnswer::Subscription(SubscriptionState {
                    position: self.positions.get(&(id, shard)).copied(),
                    open: open.filter(|row| row.shard == shard).cloned().collect(),
                })
            }
            DispatchQuery::Log {
                shard,
                after,
                tenant,
                limit,
            } => {
                let removed = self.removed.get(&shard).copied().unwrap_or(0);
                let from = (shard, after.max(removed) + 1);
                let entries = self.log.range(from..=(shard, u64::MAX));
                let mut wanted = entries
                    .map(|(_, entry)| entry)
                    .filter(|entry| tenant.is_none_or(|tenant| tenant == entry.tenant));
                let entries: Vec<LogEntry> =
                    wanted.by_ref().take(limit).map(LogEntry::of).collect();
                let has_more = wanted.next().is_some();
                let last = entries.last().map(|entry| entry.view.seq);
                let end = self.end(shard).max(after);
                DispatchAnswer::Log(LogSlice {
                    seen: if has_more { last.unwrap_or(end) } else { end },
                    entries,
                    has_more,
                    gap: after < removed,
                })
            }
            DispatchQuery::Seek { shard, at, .. } => {
                let before = self.log.values();
                let before = before.filter(|entry| entry.shard == shard && entry.at < at);
                DispatchAnswer::Place(before.map(|entry| entry.seq).max().unwrap_or(0))
            }
        }
    }
}

fn is_open(row: &DeliveryRow) -> bool {
    match row.status {
        DeliveryStatus::Waiting | DeliveryStatus::Retrying => true,
        DeliveryStatus::Delivered | DeliveryStatus::Exhausted => false,
    }
}
