//! Failures that no rule matched, as they are kept.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use wellspring_core::{Timestamp, Unclassified, UnclassifiedId};

/// Failures of one kind that one batch has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnclassifiedWrite {
    /// The id of the kind where it is new.
    pub id: UnclassifiedId,
    /// By which the kind is known again.
    pub digest: [u8; 32],
    /// What is kept of the first of them.
    pub kept: Unclassified,
    /// How many there were.
    pub count: u32,
    /// When the first was.
    pub first_at: Timestamp,
    /// When the last was.
    pub last_at: Timestamp,
}

/// A kind of failure that no rule matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnclassifiedView {
    /// Its id.
    pub id: UnclassifiedId,
    /// What is kept of the first of them.
    pub kept: Unclassified,
    /// How many there were.
    pub count: u64,
    /// When the first was.
    pub first_at: Timestamp,
    /// When the last was.
    pub last_at: Timestamp,
}

/// The most kinds that are kept of one source; failures of further ones are only counted where all are.
pub const MOST_UNCLASSIFIED: usize = 100;

/// What one batch has met, by its digest, so that nodes write in one order.
#[derive(Debug, Default)]
pub(crate) struct Gathered(BTreeMap<[u8; 32], UnclassifiedWrite>);

impl Gathered {
    pub(crate) fn add(&mut self, at: Timestamp, kept: &Unclassified) {
        let digest = digest(kept);
        let write = self.0.entry(digest).or_insert_with(|| UnclassifiedWrite {
            id: UnclassifiedId::derived(at, seed(&digest)),
            digest,
            kept: kept.clone(),
            count: 0,
            first_at: at,
            last_at: at,
        });
        write.count = write.count.saturating_add(1);
        write.first_at = write.first_at.min(at);
        write.last_at = write.last_at.max(at);
    }

    pub(crate) fn into_writes(self) -> Vec<UnclassifiedWrite> {
        self.0.into_values().collect()
    }
}

/// Of one kind are failures of a source that look alike, whatever was being done.
fn digest(kept: &Unclassified) -> [u8; 32] {
    let Unclassified {
        source,
        operation: _,
        status,
        error_type,
        error_code,
        shape,
    } = kept;
    let mut hash = Sha256::new();
    hash.update(status.unwrap_or(0).to_be_bytes());
    let words = [error_type.as_deref(), error_code.as_deref()];
    let texts = [Some(source.as_str()), words[0], words[1], Some(shape)];
    for text in texts {
        let length = text.map_or(u64::MAX, |text| {
            u64::try_from(text.len()).unwrap_or(u64::MAX)
        });
        hash.update(length.to_be_bytes());
        hash.update(text.unwrap_or_default());
    }
    hash.finalize().into()
}

fn seed(digest: &[u8; 32]) -> u64 {
    digest
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
