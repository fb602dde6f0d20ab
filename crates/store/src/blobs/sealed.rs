//! Blobs that whoever keeps them cannot read.

use std::fmt::Debug;
use std::ops::Range;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use wellspring_core::DocumentId;
use wellspring_engine::{BlobError, Blobs};
use wellspring_vault::{BLOB_HEADER, BlobOpener, Vault, VaultError, sealed_range};

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
        if sealed.is_empty() {
            // Behind the end: only the whole tells whether that is where it should be.
            return Ok(self.read_whole(id).await?.map(|_verified| Bytes::new()));
        }
        let opener = self.opener(id, &header)?;
        let plain = opener.open_range(&range, &sealed);
        let plain = plain.map_err(|error| damaged(id, error))?;
        Ok(Some(plain.into()))
    }

    async fn read_whole(&self, id: DocumentId) -> Result<Option<Bytes>, BlobError> {
        let Some(mut sealed) = self.blobs.read(id, None).await? else {
            return Ok(None);
        };
        let header = sealed.split_to(sealed.len().min(BLOB_HEADER));
        let opener = self.opener(id, &header)?;
        let plain = opener.open_range(&(0..u64::MAX), &sealed);
        let plain = plain.map_err(|error| damaged(id, error))?;
        Ok(Some(plain.into()))
    }

    fn opener(&self, id: DocumentId, header: &[u8]) -> Result<BlobOpener, BlobError> {
        let opener = self.vault.blob_opener(&context(id), header);
        opener.map_err(|error| damaged(id, error))
    }
}

impl<B: Blobs> Blobs for SealedBlobs<B> {
    fn put(&self, id: DocumentId, body: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        let vault = self.vault.clone();
        Box::pin(async move {
            // Tens of milliseconds for the largest, too long for whoever shares the thread.
            let sealing = tokio::task::spawn_blocking(move || {
                let mut sealer = vault.blob_sealer(&context(id));
                let mut sealed = sealer.header().to_vec();
                sealer.push(&body, &mut sealed);
                sealer.finish(&mut sealed);
                sealed
            });
            let sealed = sealing
                .await
                .map_err(|error| BlobError::Unavailable(error.to_string()))?;
            self.blobs.put(id, sealed.into()).await
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

fn damaged(document: DocumentId, error: VaultError) -> BlobError {
    let reason = error.to_string();
    BlobError::Damaged { document, reason }
}

const HEADER: u64 = BLOB_HEADER as u64;
