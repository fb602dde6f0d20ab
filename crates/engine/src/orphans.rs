//! Removes blobs that no row names: a crash came between the two, or after the row went.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use wellspring_core::{DocumentId, Timestamp};

use crate::{BlobError, Blobs, StoreError};

/// Looks at every blob that is older than an hour and removes those that no row names.
///
/// `known` returns which of the given documents have a row, in whatever state.
/// The age is that of the id, so an id must be minted when its blob is about to be written.
/// Returns how many were removed.
///
/// # Errors
///
/// When blobs or rows cannot be read; nothing is removed on a guess, and the next sweep begins anew.
pub async fn sweep_orphans<K, F>(
    blobs: &dyn Blobs,
    now: Timestamp,
    known: K,
) -> Result<u64, BlobError>
where
    K: Fn(Vec<DocumentId>) -> F + Send,
    F: Future<Output = Result<BTreeSet<DocumentId>, StoreError>> + Send,
{
    let young = first_at(now.before(TO_BE_NAMED));
    let (mut after, mut removed) = (None, 0);
    loop {
        let page = blobs.list(after, PAGE).await?;
        let old: Vec<DocumentId> = page.iter().copied().filter(|id| *id < young).collect();
        let last = old.last().copied();
        if last.is_none() {
            return Ok(removed);
        }
        let named = known(old.clone())
            .await
            .map_err(|error| BlobError::Unavailable(error.to_string()))?;
        for orphan in old.iter().filter(|id| !named.contains(*id)) {
            blobs.delete(*orphan).await?;
            removed += 1;
        }
        if old.len() < page.len() || page.len() < PAGE {
            return Ok(removed);
        }
        after = last;
    }
}

/// Returns the id before which all ids were minted before `at`.
fn first_at(at: Timestamp) -> DocumentId {
    let millis = u128::try_from(at.as_millis()).unwrap_or(0);
    DocumentId::from_bytes((millis << 80).to_be_bytes())
}

/// How long a blob may wait for its row.
const TO_BE_NAMED: Duration = Duration::from_secs(3_600);
const PAGE: usize = 1_000;
