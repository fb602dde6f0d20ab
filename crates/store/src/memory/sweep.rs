//! Retention; the simulator runs it, so it looks at everything at once.

use std::time::Duration;

use wellspring_core::{CollectionId, TenantId, Timestamp};
use wellspring_engine::{Settings, Sweep, Swept};

use super::Image;

pub(super) fn sweep(image: &mut Image, sweep: &Sweep) -> Swept {
    let mut removed = 0_usize;
    let settings = |tenant: TenantId| sweep.tenants.get(&tenant).cloned().unwrap_or_default();
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
    Swept {
        removed: u64::try_from(removed).unwrap_or(u64::MAX),
        done: true,
    }
}
