//! Retention; the simulator runs it, so it looks at everything at once.

use std::time::Duration;

use wellspring_core::reliability::Day;
use wellspring_core::{CollectionId, TenantId, Timestamp};
use wellspring_engine::{Settings, Sweep, Swept};

use super::Image;
use super::dispatch::is_open;
use crate::row::{
    KEEP_ALERTS, KEEP_BUDGET_USE, KEEP_BUDGETS, KEEP_INCIDENTS, KEEP_INTERACTIONS, KEEP_STATISTICS,
    KEEP_TOKENS, KEEP_UNCLASSIFIED,
};

pub(super) fn sweep(image: &mut Image, sweep: &Sweep) -> Swept {
    let mut removed = 0_usize;
    let settings = |tenant: TenantId| settings(sweep, tenant);
    let older = |at: Timestamp, kept: Duration| at < sweep.now.before(kept);

    let finished: Vec<(CollectionId, Settings, Timestamp)> = image
        .cold
        .values()
        .filter(|cold| !image.hot.contains_key(&cold.id))
        .filter_map(|cold| Some((cold.id, settings(cold.tenant), cold.outcome.as_ref()?.at)))
        .collect();
    for (id, settings, at) in finished {
        // What can still be resumed keeps its data as long as itself.
        let resumable = image
            .cold
            .get(&id)
            .and_then(|cold| cold.outcome.as_ref())
            .is_some_and(|o| o.failure.is_some());
        if (older(at, settings.keep_payloads) && !resumable) || older(at, settings.keep_collections)
        {
            removed += usize::from(image.payloads.remove(&id).is_some());
        }
        if older(at, settings.keep_attempts) {
            let before = image.attempts.len();
            image.attempts.retain(|(of, _), _| *of != id);
            removed += before - image.attempts.len();
        }
        if older(at, settings.keep_collections) {
            removed += usize::from(image.cold.remove(&id).is_some());
        }
    }

    let old: Vec<_> = image
        .log
        .iter()
        .filter(|(_, entry)| older(entry.at, settings(entry.tenant).keep_changes))
        .map(|(place, entry)| (*place, entry.tenant))
        .collect();
    for ((shard, seq), tenant) in old {
        image.log.remove(&(shard, seq));
        let floor = image.floors.entry((shard, tenant)).or_default();
        *floor = (*floor).max(seq);
        removed += 1;
    }

    let before = image.keys.len();
    image
        .keys
        .retain(|_, key| !older(key.at, Settings::KEEP_KEYS));
    removed += before - image.keys.len();
    removed += connections(image, sweep) + deliveries(image, sweep);
    let before = image.tallies.len();
    let first = Day::of(sweep.now.before(KEEP_STATISTICS)).0;
    image.tallies.retain(|(_, (day, _, _)), _| *day >= first);
    removed += before - image.tallies.len();
    let before = image.alerts.len();
    image
        .alerts
        .retain(|_, alert| alert.closed_at.is_none_or(|at| !older(at, KEEP_ALERTS)));
    removed += before - image.alerts.len();
    let before = image.unclassified.len();
    image
        .unclassified
        .retain(|_, kept| !older(kept.last_at, KEEP_UNCLASSIFIED));
    removed += before - image.unclassified.len();
    let before = image.incidents.len();
    image.incidents.retain(|_, incident| {
        incident
            .ended_at
            .is_none_or(|at| !older(at, KEEP_INCIDENTS))
    });
    removed += before - image.incidents.len();
    let before = image.budgets.len();
    image.budgets.retain(|_, ledger| {
        ledger
            .quiet_from()
            .is_some_and(|at| !older(at, KEEP_BUDGETS))
    });
    removed += before - image.budgets.len();
    let before = image.budget_use.len();
    image
        .budget_use
        .retain(|(_, hour, _), _| !older(*hour, KEEP_BUDGET_USE));
    removed += before - image.budget_use.len();
    let before = image.tokens.len();
    image
        .tokens
        .retain(|_, token| !older(token.expires_at, KEEP_TOKENS));
    removed += before - image.tokens.len();
    Swept {
        removed: u64::try_from(removed).unwrap_or(u64::MAX),
        done: true,
    }
}

/// What is over on connections that go on.
fn connections(image: &mut Image, sweep: &Sweep) -> usize {
    let older = |at: Timestamp, kept: Duration| at < sweep.now.before(kept);
    let before = image.interactions.len() + image.fetches.len() + image.fetch_attempts.len();
    image.interactions.retain(|_, row| {
        row.closed
            .is_none_or(|(_, at)| !older(at, KEEP_INTERACTIONS))
    });
    let connections = &image.connections;
    image.fetches.retain(|(of, _), fetch| {
        let tenant = connections.get(of).map(|connection| connection.tenant);
        let kept = tenant.map(|tenant| settings(sweep, tenant).keep_collections);
        fetch
            .ended_at
            .zip(kept)
            .is_none_or(|(at, kept)| !older(at, kept))
    });
    let fetches = &image.fetches;
    image
        .fetch_attempts
        .retain(|(of, fetch, _), _| fetches.contains_key(&(*of, *fetch)));
    before - image.interactions.len() - image.fetches.len() - image.fetch_attempts.len()
}

fn deliveries(image: &mut Image, sweep: &Sweep) -> usize {
    let older = |at: Timestamp, kept: Duration| at < sweep.now.before(kept);
    let before = image.deliveries.len() + image.delivery_attempts.len();
    image.deliveries.retain(|_, row| {
        let kept = settings(sweep, row.tenant).keep_attempts;
        is_open(row) || !older(row.ended_at.unwrap_or(row.created_at), kept)
    });
    let deliveries = &image.deliveries;
    image
        .delivery_attempts
        .retain(|(of, shard, seq, _), _| deliveries.contains_key(&(*of, *shard, *seq)));
    before - image.deliveries.len() - image.delivery_attempts.len()
}

fn settings(sweep: &Sweep, tenant: TenantId) -> Settings {
    sweep.tenants.get(&tenant).cloned().unwrap_or_default()
}
