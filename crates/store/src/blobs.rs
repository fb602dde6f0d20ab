//! Documents' bytes: in memory, in a folder, and sealed on their way to wherever they are kept.

mod folder;
mod memory;
mod sealed;

pub use folder::FolderBlobs;
pub use memory::MemoryBlobs;
pub use sealed::SealedBlobs;

use std::ops::Range;

/// Returns the part of `length` bytes that a range covers.
pub(crate) fn within(range: &Range<u64>, length: usize) -> Range<usize> {
    let inside = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(length);
    let start = inside(range.start);
    start..inside(range.end).max(start)
}
