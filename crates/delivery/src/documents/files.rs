//! Where documents are read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use wellspring_core::{Document, DocumentId, TenantId};
use wellspring_engine::{BlobError, Blobs, Queries};

/// Knows documents and their bytes.
pub trait DocumentFiles: fmt::Debug + Send + Sync {
    /// Returns a document of the tenant and its bytes; `None` when there is none any more.
    fn read(
        &self,
        tenant: TenantId,
        id: DocumentId,
    ) -> BoxFuture<'_, Result<Option<(Document, Bytes)>, FileError>>;
}

/// Why a document is not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FileError {
    /// Whatever keeps it does not answer; it may later.
    #[error("the document is unavailable: {0}")]
    Unavailable(String),
    /// It is not what was kept, and stays so.
    #[error("the document is damaged: {0}")]
    Damaged(String),
}

/// Documents whose rows are in the store and whose bytes are blobs.
#[derive(Clone)]
pub struct StoredFiles {
    rows: Arc<dyn Queries>,
    blobs: Arc<dyn Blobs>,
}

impl StoredFiles {
    /// Reads both.
    pub fn new(rows: Arc<dyn Queries>, blobs: Arc<dyn Blobs>) -> Self {
        Self { rows, blobs }
    }

    async fn row(&self, tenant: TenantId, id: DocumentId) -> Result<Option<Document>, FileError> {
        let row = self.rows.document(tenant, id).await;
        row.map_err(|error| FileError::Unavailable(error.to_string()))
    }
}

impl DocumentFiles for StoredFiles {
    fn read(
        &self,
        tenant: TenantId,
        id: DocumentId,
    ) -> BoxFuture<'_, Result<Option<(Document, Bytes)>, FileError>> {
        Box::pin(async move {
            let Some(document) = self.row(tenant, id).await? else {
                return Ok(None);
            };
            match self.blobs.read(id, None).await {
                Ok(Some(file)) => Ok(Some((document, file))),
                // A blob outlives its row, so both are gone unless something was lost.
                Ok(None) => match self.row(tenant, id).await? {
                    None => Ok(None),
                    Some(_) => Err(FileError::Damaged("its blob is missing".to_owned())),
                },
                Err(error @ BlobError::Unavailable(_)) => {
                    Err(FileError::Unavailable(error.to_string()))
                }
                Err(error @ BlobError::Damaged { .. }) => {
                    Err(FileError::Damaged(error.to_string()))
                }
            }
        })
    }
}

impl fmt::Debug for StoredFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredFiles").finish_non_exhaustive()
    }
}
