//! Blobs that whoever keeps them cannot read.

use std::fmt::Debug;
use std::ops::Range;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use wellspring_core::DocumentId;
use wellspring_engine::{BlobError, Blobs};
use wellspring_vault::{BLOB_HEADER, Vault, sealed_range};

use super::within;

/// Seals each blob for its document before another store of blobs takes it.
#[derive(Debug, Clone)]
pub struct SealedBlobs<B> {
    blobs: B,
    vault: Vault,
}

impl<B: Blobs> SealedBlobs<B> {
    /// Seals for `blobs` with the vault's keys.
    pub const fn new(blobs: B, vault: Vault) -> Self {
        Self { blobs, vault }
    }

    async fn read_range(
        &self,
        id: DocumentId,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, BlobError> {
        let at = sealed_range(&range);
        // What stands first comes along with the first chunks.
        let from = if at.start == HEADER { 0 } else { at.start };
        let Some(mut sealed) = self.blobs.read(id, Some(from..at.end)).await? else {
            return Ok(None);
        };
        let header = if from == 0 {
            sealed.split_to(sealed.len().min(BLOB_HEADER))
        } else {
            let Some(header) = self.blobs.read(id, Some(0..HEADER)).await? else {
                return Ok(None);
            };
            header
        };
        if !sealed.is_empty() {
            match self.open(id, header, range.clone(), sealed).await {
                Ok(plain) => return Ok(Some(plain)),
                Err(BlobError::Damaged { .. }) => {}
                Err(error @ BlobError::Unavailable(_)) => return Err(error),
            }
        }
        // Behind the end, damaged, or written over between the two reads: the whole tells.
        let whole = self.read_whole(id).await?;
        Ok(whole.map(|whole| whole.slice(within(&range, whole.len()))))
    }

    async fn read_whole(&self, id: DocumentId) -> Result<Option<Bytes>, BlobError> {
        let Some(mut sealed) = self.blobs.read(id, None).await? else {
            return Ok(None);
        };
        let header = sealed.split_to(sealed.len().min(BLOB_HEADER));
        let whole = 0..u64::MAX;
        self.open(id, header, whole, sealed).await.map(Some)
    }

    async fn open(
        &self,
        id: DocumentId,
        header: Bytes,
        range: Range<u64>,
        sealed: Bytes,
    ) -> Result<Bytes, BlobError> {
        let vault = self.vault.clone();
        let plain = aside(move || {
            let opener = vault.blob_opener(&context(id), &header)?;
            opener.open_range(&range, &sealed)
        });
        plain.await?.map(Bytes::from).map_err(|error| {
            let reason = error.to_string();
            BlobError::Damaged {
                document: id,
                reason,
            }
        })
    }
}

impl<B: Blobs> Blobs for SealedBlobs<B> {
    fn put(&self, id: DocumentId, body: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        let vault = self.vault.clone();
        Box::pin(async move {
            let sealed = aside(move || {
                let mut sealer = vault.blob_sealer(&context(id));
                let mut sealed = sealer.header().to_vec();
                sealer.push(&body, &mut sealed);
                sealer.finish(&mut sealed);
                sealed
            });
            self.blobs.put(id, sealed.await?.into()).await
        })
    }

    fn read(
        &self,
        id: DocumentId,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'_, Result<Option<Bytes>, BlobError>> {
        Box::pin(async move {
            match range {
                Some(range) => self.read_range(id, range).await,
                None => self.read_whole(id).await,
            }
        })
    }

    fn delete(&self, id: DocumentId) -> BoxFuture<'_, Result<(), BlobError>> {
        self.blobs.delete(id)
    }

    fn list(
        &self,
        after: Option<DocumentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DocumentId>, BlobError>> {
        self.blobs.list(after, limit)
    }
}

fn context(id: DocumentId) -> Vec<u8> {
    [b"document ".as_slice(), id.as_bytes()].concat()
}

/// Ciphers take tens of milliseconds for the largest, too long for whoever shares the thread.
async fn aside<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, BlobError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| BlobError::Unavailable(error.to_string()))
}

const HEADER: u64 = BLOB_HEADER as u64;
