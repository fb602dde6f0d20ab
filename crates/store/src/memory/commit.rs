//! One batch, all of it or nothing.

use std::collections::BTreeSet;

use wellspring_core::CollectionId;
use wellspring_engine::{Batch, Before, CommitError, Write};

use super::Image;
use crate::row::{Cold, Hot};

pub(super) fn commit(image: &mut Image, batch: &Batch) -> Result<(), CommitError> {
    check(image, batch)?;
    for write in &batch.writes {
        apply(image, write);
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
    if let Some(node) = image.nodes.get_mut(&batch.incarnation) {
        node.last_batch = batch.number;
    }
    Ok(())
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
    let mut seen: BTreeSet<CollectionId> = BTreeSet::new();
    for write in &batch.writes {
        // A later step of the same batch assumes what the earlier one leaves.
        if !seen.insert(write.id) {
            continue;
        }
        let holds = match write.before {
            Before::New => !image.cold.contains_key(&write.id),
            Before::Live(version) => image
                .hot
                .get(&write.id)
                .is_some_and(|hot| hot.version == version),
            Before::Finished(version) => {
                !image.hot.contains_key(&write.id)
                    && image
                        .cold
                        .get(&write.id)
                        .is_some_and(|cold| cold.version == version)
            }
        };
        if !holds {
            return Err(CommitError::Stale(write.id));
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

fn apply(image: &mut Image, write: &Write) {
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
