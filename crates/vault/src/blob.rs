//! Large values, sealed and opened in chunks.

use std::fmt;
use std::ops::Range;

use crate::VaultError;
use crate::keys::{self, SecretKey};

/// How many bytes of a blob make one chunk.
pub const BLOB_CHUNK: usize = 64 << 10;
/// How many bytes stand before the first chunk of a sealed blob.
pub const BLOB_HEADER: usize = 1 + 4 + PREFIX;

/// Seals a blob piece by piece.
///
/// The sealed blob is [`Self::header`], then what [`Self::push`] and [`Self::finish`] append.
pub struct BlobSealer {
    chunks: Chunks,
    header: [u8; BLOB_HEADER],
    number: u32,
    waiting: Vec<u8>,
}

/// Opens a blob, from anywhere in it.
pub struct BlobOpener {
    chunks: Chunks,
}

struct Chunks {
    key: SecretKey,
    aad: Vec<u8>,
    prefix: [u8; PREFIX],
}

impl BlobSealer {
    pub(crate) fn new(data_key: u32, key: &SecretKey, context: &[u8]) -> Self {
        let prefix = keys::random::<PREFIX>();
        let mut header = [0; BLOB_HEADER];
        header[0] = VERSION;
        header[1..5].copy_from_slice(&data_key.to_be_bytes());
        header[5..].copy_from_slice(&prefix);
        Self {
            chunks: Chunks::new(key, &header, context, prefix),
            header,
            number: 0,
            waiting: Vec::new(),
        }
    }

    /// Returns what the sealed blob begins with.
    pub const fn header(&self) -> [u8; BLOB_HEADER] {
        self.header
    }

    /// Takes the next piece, of any length, and appends the chunks that it fills to `out`.
    pub fn push(&mut self, mut plain: &[u8], out: &mut Vec<u8>) {
        while !plain.is_empty() {
            if self.waiting.len() == BLOB_CHUNK {
                self.emit(false, out);
            }
            let room = BLOB_CHUNK - self.waiting.len();
            let (now, rest) = plain.split_at(room.min(plain.len()));
            self.waiting.extend_from_slice(now);
            plain = rest;
        }
    }

    /// Appends the last chunk, which may be empty, to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.emit(true, out);
    }

    fn emit(&mut self, last: bool, out: &mut Vec<u8>) {
        let nonce = self.chunks.nonce(self.number, last);
        let sealed = keys::encrypt(&self.chunks.key, nonce, &self.chunks.aad, &self.waiting);
        out.extend_from_slice(&sealed);
        self.waiting.clear();
        self.number = self
            .number
            .checked_add(1)
            .expect("no blob has 256 TiB of chunks");
    }
}

impl BlobOpener {
    pub(crate) fn new<'k>(
        key: impl FnOnce(u32) -> Result<&'k SecretKey, VaultError>,
        context: &[u8],
        header: &[u8],
    ) -> Result<Self, VaultError> {
        let (header, _) = header
            .split_first_chunk::<BLOB_HEADER>()
            .ok_or(VaultError::Sealed)?;
        let [version, a, b, c, d, prefix @ ..] = *header;
        if version != VERSION {
            return Err(VaultError::Version);
        }
        let key = key(u32::from_be_bytes([a, b, c, d]))?;
        Ok(Self {
            chunks: Chunks::new(key, header, context, prefix),
        })
    }

    /// Opens the chunk of a number, counted from 0; `last` when nothing follows it.
    ///
    /// # Errors
    ///
    /// [`VaultError::Sealed`] when it was changed, is another chunk, or is or is not the last.
    pub fn open_chunk(&self, number: u32, last: bool, chunk: &[u8]) -> Result<Vec<u8>, VaultError> {
        let nonce = self.chunks.nonce(number, last);
        keys::decrypt(&self.chunks.key, nonce, &self.chunks.aad, chunk)
    }

    /// Opens `range` of the blob, cut where the blob ends.
    ///
    /// `sealed` is what lies at [`sealed_range`], cut where the sealed blob ends.
    /// It is empty for a range that begins behind the blob's end, or behind where a damaged one was
    /// cut; which of the two it is, only a range that reaches the end tells.
    ///
    /// # Errors
    ///
    /// [`VaultError::Sealed`] when a chunk was changed or is missing.
    pub fn open_range(&self, range: &Range<u64>, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (first, count) = chunks_of(range);
        if first == 0 && sealed.is_empty() {
            return Err(VaultError::Sealed);
        }
        let mut plain = Vec::with_capacity(sealed.len());
        let mut rest = sealed;
        for number in first..first.saturating_add(count) {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at(rest.len().min(SEALED_CHUNK));
            let number = u32::try_from(number).map_err(|_far| VaultError::Sealed)?;
            plain.extend_from_slice(&self.open_chunk(number, after.is_empty(), chunk)?);
            rest = after;
        }
        let begin = first.saturating_mul(BLOB_CHUNK as u64);
        let inside = |at: u64| {
            let at = at.saturating_sub(begin);
            usize::try_from(at).unwrap_or(usize::MAX).min(plain.len())
        };
        let (from, to) = (inside(range.start), inside(range.end));
        plain.truncate(to);
        plain.drain(..from.min(to));
        Ok(plain)
    }
}

/// Returns where in the sealed blob the chunks of a range lie.
///
/// It ends one byte later, so that the last chunk of a blob is known by nothing following it.
pub fn sealed_range(range: &Range<u64>) -> Range<u64> {
    let (first, count) = chunks_of(range);
    let at = |chunk: u64| {
        chunk
            .saturating_mul(SEALED_CHUNK as u64)
            .saturating_add(BLOB_HEADER as u64)
    };
    at(first)..at(first.saturating_add(count)).saturating_add(1)
}

/// Returns the first chunk of a range and how many there are, at least one.
fn chunks_of(range: &Range<u64>) -> (u64, u64) {
    let first = range.start / BLOB_CHUNK as u64;
    let end = range.end.max(range.start.saturating_add(1));
    (first, end.div_ceil(BLOB_CHUNK as u64) - first)
}

impl Chunks {
    fn new(
        key: &SecretKey,
        header: &[u8; BLOB_HEADER],
        context: &[u8],
        prefix: [u8; PREFIX],
    ) -> Self {
        Self {
            key: keys::derive(key, b"blob", &[]),
            aad: [header, context].concat(),
            prefix,
        }
    }

    /// The numbers make each nonce unique within the blob, its random part among blobs.
    fn nonce(&self, number: u32, last: bool) -> [u8; 24] {
        let mut nonce = [0; 24];
        nonce[..PREFIX].copy_from_slice(&self.prefix);
        nonce[PREFIX..23].copy_from_slice(&number.to_be_bytes());
        nonce[23] = u8::from(last);
        nonce
    }
}

impl fmt::Debug for BlobSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobSealer")
    }
}

impl fmt::Debug for BlobOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobOpener")
    }
}

const VERSION: u8 = 1;
/// What is left of the nonce beside the chunk's number and the mark of the last one.
const PREFIX: usize = 24 - 4 - 1;
const SEALED_CHUNK: usize = BLOB_CHUNK + 16;
