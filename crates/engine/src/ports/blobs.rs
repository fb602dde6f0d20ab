//! Documents' bytes, which are too large for rows.

use std::fmt::Debug;
use std::ops::Range;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use wellspring_core::DocumentId;

/// Why a blob is not written or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BlobError {
    /// The store of blobs does not answer or has no room; it may later.
    #[error("blobs are unavailable: {0}")]
    Unavailable(String),
    /// What is kept is not what was written; it stays so.
    #[error("the blob of {document} is damaged: {reason}")]
    Damaged {
        /// Whose blob.
        document: DocumentId,
        /// What does not fit.
        reason: String,
    },
}

/// Keeps the bytes of documents.
///
/// A blob is written before the row that names it is committed, and removed after that row is
/// gone; what a crash leaves in between is found by [`crate::sweep_orphans`].
pub trait Blobs: Debug + Send + Sync {
    /// Keeps `body`; when it returns, a crash does not lose it.
    ///
    /// Writing the same blob again writes over it, and a reader sees one or the other whole.
    fn put(&self, id: DocumentId, body: Bytes) -> BoxFuture<'_, Result<(), BlobError>>;

    /// Returns the blob, or those bytes of a range that it has; `None` when there is no blob.
    fn read(
        &self,
        id: DocumentId,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'_, Result<Option<Bytes>, BlobError>>;

    /// Removes the blob, if there is one.
    fn delete(&self, id: DocumentId) -> BoxFuture<'_, Result<(), BlobError>>;

    /// Returns up to `limit` of those there are, in the order of their ids, those after `after`.
    fn list(
        &self,
        after: Option<DocumentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DocumentId>, BlobError>>;
}
