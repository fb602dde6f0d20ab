//! One batch, all of it or nothing.

use std::collections::BTreeSet;

use wellspring_core::Timestamp;
use wellspring_core::budget::Spent;
use wellspring_engine::{Aggregate, Batch, Before, CollectionWrite, CommitError, Write};

use super::Image;
use crate::row::{Cold, Hot};

pub(super) fn commit(
    image: &mut Image,
    batch: &Batch,
    now: Timestamp,
) -> Result<Spent, CommitError> {
    check(image, batch)?;
    for write in &batch.writes {
        match write {
            Write::Collection(write) => apply_collection(image, write),
            Write::Account(write) => image.apply_account(write),
            Write::Connection(write) => image.apply_connection(write),
            Write::Source(write) => image.apply_source(write),
        }
    }
    for entry in &batch.entries {
        image.log.insert((entry.shard, entry.seq), entry.clone());
        if let Some(row) = image.shards.get_mut(&entry.shard) {
            row.next_seq = entry.seq + 1;
        }
    }
    for key in &batch.keys {
        image.keys.insert((key.tenant, key.key), key.clone());
    }
    for number in &batch.consumed {
        image.inbox.remove(number);
    }
    image.apply_unclassified(&batch.unclassified);
    image.apply_dispatch(&batch.dispatch);
    if let Some(node) = image.nodes.get_mut(&batch.incarnation) {
        node.last_batch = batch.number;
    }
    Ok(image.spend(&batch.spends, now))
}

fn check(image: &Image, batch: &Batch) -> Result<(), CommitError> {
    if !image.nodes.contains_key(&batch.incarnation) {
        return Err(CommitError::Fenced);
    }
    for (shard, epoch) in &batch.epochs {
        let owned = image
            .shards
            .get(shard)
            .is_some_and(|row| row.owner == Some(batch.incarnation) && row.epoch == *epoch);
        if !owned {
            return Err(CommitError::Fenced);
        }
    }
    let mut seen: BTreeSet<Aggregate> = BTreeSet::new();
    for write in &batch.writes {
        let id = write.id();
        // A later step of the same batch assumes what the earlier one leaves.
        if seen.insert(id) && !holds(image, id, write.before()) {
            return Err(CommitError::Stale(id));
        }
    }
    let taken: Vec<usize> = batch
        .keys
        .iter()
        .enumerate()
        .filter(|(_, key)| image.keys.contains_key(&(key.tenant, key.key)))
        .map(|(place, _)| place)
        .collect();
    if taken.is_empty() {
        Ok(())
    } else {
        Err(CommitError::KeysTaken(taken))
    }
}

/// Returns whether the aggregate is what a step assumes.
fn holds(image: &Image, id: Aggregate, before: Before) -> bool {
    let id = match id {
        Aggregate::Collection(id) => id,
        Aggregate::Account(id) => {
            let version = image.accounts.get(&id).map(|account| account.version);
            return is_at(version, before);
        }
        Aggregate::Connection(id) => {
            let version = image.connections.get(&id).map(|kept| kept.version);
            return is_at(version, before);
        }
        Aggregate::Source(id) => {
            let version = image.sources.get(&id).map(|kept| kept.version);
            return is_at(version, before);
        }
    };
    let hot = image.hot.get(&id).map(|hot| hot.version);
    let cold = image.cold.get(&id).map(|cold| cold.version);
    match before {
        Before::New => cold.is_none(),
        Before::Live(version) => hot == Some(version),
        Before::Finished(version) => hot.is_none() && cold == Some(version),
    }
}

fn is_at(kept: Option<u32>, before: Before) -> bool {
    match before {
        Before::New => kept.is_none(),
        Before::Live(version) => kept == Some(version),
        Before::Finished(_) => false,
    }
}

fn apply_collection(image: &mut Image, write: &CollectionWrite) {
    let id = write.id;
    let Some(next) = &write.next else {
        image.hot.remove(&id);
        image.cold.remove(&id);
        image.payloads.remove(&id);
        image.attempts.retain(|(of, _), _| *of != id);
        return;
    };
    match Hot::of(next) {
        Some(hot) => image.hot.insert(id, hot),
        None => image.hot.remove(&id),
    };
    let cold = image.cold.entry(id).or_insert_with(|| Cold::of(next));
    cold.apply(next, write.outcome());
    if let Some(payload) = &write.payload {
        image.payloads.insert(id, payload.clone());
    }
    if let Some(attempt) = &write.attempt {
        image.attempts.insert((id, next.version), attempt.clone());
    }
}
