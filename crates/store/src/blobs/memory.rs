//! Blobs in memory, for tests and the simulator.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use wellspring_core::DocumentId;
use wellspring_engine::{BlobError, Blobs};

use super::within;

/// Blobs that are as durable as their last clone.
#[derive(Clone, Default)]
pub struct MemoryBlobs {
    blobs: Arc<Mutex<BTreeMap<DocumentId, Bytes>>>,
}

impl MemoryBlobs {
    fn blobs(&self) -> MutexGuard<'_, BTreeMap<DocumentId, Bytes>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for MemoryBlobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryBlobs")
    }
}

impl Blobs for MemoryBlobs {
    fn put(&self, id: DocumentId, body: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        self.blobs().insert(id, body);
        Box::pin(ready(Ok(())))
    }

    fn read(
        &self,
        id: DocumentId,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'_, Result<Option<Bytes>, BlobError>> {
        let body = self.blobs().get(&id).cloned();
        let body = body.map(|body| match range {
            Some(range) => body.slice(within(&range, body.len())),
            None => body,
        });
        Box::pin(ready(Ok(body)))
    }

    fn delete(&self, id: DocumentId) -> BoxFuture<'_, Result<(), BlobError>> {
        self.blobs().remove(&id);
        Box::pin(ready(Ok(())))
    }

    fn list(
        &self,
        after: Option<DocumentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DocumentId>, BlobError>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let blobs = self.blobs();
        let ids = blobs.range((from, Bound::Unbounded)).map(|(id, _)| *id);
        let ids = ids.take(limit).collect();
        Box::pin(ready(Ok(ids)))
    }
}
