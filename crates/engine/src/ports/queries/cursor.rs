//! Places in the log, and the text that clients keep of them.

use std::collections::BTreeMap;

use thiserror::Error;
use wellspring_core::Shard;

use crate::StoreError;

/// A place in the log: for each shard the last entry that was seen.
///
/// A reader that has seen nothing of a shard begins with what is left of it; one that has
/// is told when retention has removed entries after its place ([`CursorError::Expired`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Which life of the log: a restored backup begins another.
    pub life: u64,
    /// The last entry seen of each shard; of a shard that is missing nothing was.
    pub seen: BTreeMap<Shard, u64>,
}

/// Why a cursor leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CursorError {
    /// The text is no cursor.
    #[error("this is not a cursor")]
    Malformed,
    /// The cursor is from another life of the log.
    #[error("the cursor is from another life of the log: it was restored from a backup")]
    Unknown,
    /// The log no longer reaches back that far.
    #[error("the cursor is older than the log is kept")]
    Expired,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Cursor {
    /// Returns the place before the oldest entry that is kept; it never expires.
    pub const fn start(life: u64) -> Self {
        Self {
            life,
            seen: BTreeMap::new(),
        }
    }

    /// Returns the last entry seen of `shard`.
    pub fn seen(&self, shard: Shard) -> u64 {
        self.seen.get(&shard).copied().unwrap_or(0)
    }

    /// Returns the opaque text for clients.
    pub fn to_text(&self) -> String {
        encode(self)
    }

    /// Reads the text of [`Self::to_text`].
    ///
    /// # Errors
    ///
    /// [`CursorError::Malformed`] for everything else.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        decode(text).ok_or(CursorError::Malformed)
    }
}

// URL-safe, compact, and not for clients to look into.
fn encode(cursor: &Cursor) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&cursor.life.to_be_bytes());
    for (shard, seen) in &cursor.seen {
        bytes.push(shard.0);
        varint(*seen, &mut bytes);
    }
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut have, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        have = (have << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(DIGITS[((have >> bits) & 31) as usize]));
        }
        have &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(DIGITS[((have << (5 - bits)) & 31) as usize]));
    }
    text
}

fn decode(text: &str) -> Option<Cursor> {
    if text.len() > 4_096 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let (mut have, mut bits) = (0_u32, 0_u32);
    for digit in text.bytes() {
        let value = DIGITS.iter().position(|have| *have == digit)?;
        have = (have << 5) | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((have >> bits) & 255).ok()?);
        }
        have &= (1 << bits) - 1;
    }
    let (version, rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (life, mut rest) = rest.split_first_chunk::<8>()?;
    let mut seen = BTreeMap::new();
    while let Some((shard, more)) = rest.split_first() {
        if *shard >= Shard::COUNT {
            return None;
        }
        let (value, more) = unvarint(more)?;
        seen.insert(Shard(*shard), value);
        rest = more;
    }
    Some(Cursor {
        life: u64::from_be_bytes(*life),
        seen,
    })
}

fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 128 {
        into.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    into.push(value as u8);
}

fn unvarint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 127) << (7 * at);
        if byte & 128 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

const VERSION: u8 = 1;
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_other_text_is_refused() {
        let seen = [(Shard(0), 0), (Shard(7), 300), (Shard(63), 1 << 60)]
            .into_iter()
            .collect();
        for cursor in [
            Cursor::start(42),
            Cursor {
                life: u64::MAX,
                seen,
            },
        ] {
            assert_eq!(Cursor::parse(&cursor.to_text()), Ok(cursor));
        }
        for bad in ["", "x", "!!", "aaaaaaaaaaaaaaa", &"a".repeat(5_000)] {
            assert_eq!(Cursor::parse(bad), Err(CursorError::Malformed), "{bad}");
        }
    }
}
