//! Reads for the API.

use std::collections::BTreeMap;
use std::ops::Bound;

use futures_util::future::{BoxFuture, ready};
use serde_json::value::to_raw_value;
use wellspring_core::{CollectionId, CollectionStatus, Outcome, Shard, TenantId};
use wellspring_engine::{
    AttemptView, ChangeView, ChangesPage, CollectionPage, CollectionView, Cursor, CursorError,
    Entry, KeyRow, Queries, StoreError,
};

use super::{Image, MemoryStore};

impl Queries for MemoryStore {
    fn collection(
        &self,
        tenant: TenantId,
        id: CollectionId,
    ) -> BoxFuture<'_, Result<Option<CollectionView>, StoreError>> {
        Box::pin(ready(self.image().view(tenant, id)))
    }

    fn collections(
        &self,
        tenant: TenantId,
        status: Option<CollectionStatus>,
        before: Option<CollectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<CollectionPage, StoreError>> {
        Box::pin(ready(self.image().page(tenant, status, before, limit)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        let image = self.image();
        let seen = image
            .shards
            .iter()
            .map(|(shard, row)| (*shard, row.next_seq - 1))
            .collect();
        Box::pin(ready(Ok(Cursor {
            life: image.life,
            seen,
        })))
    }

    fn changes(
        &self,
        tenant: TenantId,
        cursor: Cursor,
        limit: usize,
    ) -> BoxFuture<'_, Result<ChangesPage, CursorError>> {
        Box::pin(ready(self.image().changes(tenant, &cursor, limit)))
    }

    fn key(
        &self,
        tenant: TenantId,
        key: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<KeyRow>, StoreError>> {
        Box::pin(ready(Ok(self.image().keys.get(&(tenant, key)).cloned())))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }
}

impl Image {
    fn view(
        &self,
        tenant: TenantId,
        id: CollectionId,
    ) -> Result<Option<CollectionView>, StoreError> {
        let Some(cold) = self.cold.get(&id).filter(|cold| cold.tenant == tenant) else {
            return Ok(None);
        };
        let attempts = self
            .attempts
            .range((id, 0)..=(id, u32::MAX))
            .map(|(_, attempt)| AttemptView {
                stage: attempt.stage,
                at: attempt.at,
                duration: attempt.duration,
                error: match &attempt.outcome {
                    Outcome::Succeeded => None,
                    Outcome::Failed(error) => Some(error.clone()),
                },
            });
        cold.view(self.hot.get(&id), attempts.collect()).map(Some)
    }

    fn page(
        &self,
        tenant: TenantId,
        status: Option<CollectionStatus>,
        before: Option<CollectionId>,
        limit: usize,
    ) -> Result<CollectionPage, StoreError> {
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = Vec::new();
        for (id, cold) in self.cold.range((Bound::Unbounded, end)).rev() {
            if cold.tenant != tenant {
                continue;
            }
            let view = cold.view(self.hot.get(id), Vec::new())?;
            if status.is_some_and(|wanted| wanted != view.status) {
                continue;
            }
            rows.push(view);
            if rows.len() == limit {
                return Ok(CollectionPage {
                    rows,
                    next: Some(*id),
                });
            }
        }
        Ok(CollectionPage { rows, next: None })
    }

    fn changes(
        &self,
        tenant: TenantId,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<ChangesPage, CursorError> {
        if cursor.life != self.life {
            return Err(CursorError::Unknown);
        }
        let mut next = BTreeMap::new();
        let mut entries = Vec::new();
        let (mut left, mut has_more) = (limit, false);
        for (shard, row) in &self.shards {
            let seen = cursor.seen(*shard);
            if seen >= row.next_seq {
                return Err(CursorError::Unknown);
            }
            let floor = self
                .floors
                .get(&(*shard, tenant))
                .filter(|_| cursor.seen.contains_key(shard));
            if floor.is_some_and(|floor| *floor > seen) {
                return Err(CursorError::Expired);
            }
            // A shard that was not reached stays as it was in the cursor, begun or not.
            if left > 0 || cursor.seen.contains_key(shard) {
                next.insert(*shard, seen);
            }
            for ((_, seq), entry) in self.log.range((*shard, seen + 1)..=(*shard, u64::MAX)) {
                if left == 0 {
                    has_more = true;
                    break;
                }
                left -= 1;
                next.insert(*shard, *seq);
                if entry.tenant == tenant {
                    entries.push(view(*shard, *seq, entry));
                }
            }
        }
        entries.sort_by_key(|entry| (entry.at, entry.shard, entry.seq));
        Ok(ChangesPage {
            entries,
            next: Cursor {
                life: self.life,
                seen: next,
            },
            has_more,
        })
    }
}

fn view(shard: Shard, seq: u64, entry: &Entry) -> ChangeView {
    let change = &entry.change;
    let (key, property) = change.subject.to_parts();
    ChangeView {
        shard,
        seq,
        at: entry.at,
        verb: change.verb,
        path: wellspring_core::Subject::path_of(&key, property).unwrap_or_default(),
        event: change.event.map(|event| event.as_str().to_owned()),
        actor: change.actor.to_string(),
        cause: change.cause.as_str().to_owned(),
        body: to_raw_value(&change.body).unwrap_or_default(),
    }
}
