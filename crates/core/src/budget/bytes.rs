//! A ledger as bytes, for its row: a version, then each window with what the source said of it
//! and its blocks, as gaps.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Allowance, Block, Counted, Ledger, Window};
use crate::Timestamp;

impl Ledger {
    /// Returns the ledger as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let start = Timestamp::from_millis(0);
        put(
            &mut bytes,
            self.blocked_until
                .map_or(0, |until| millis(until.since(start))),
        );
        for spent in &self.windows {
            put(&mut bytes, spent.window.calls.into());
            put(&mut bytes, millis(spent.window.per));
            let said = spent.allowance;
            let until = said.map_or(start, |one| one.until);
            put(&mut bytes, millis(until.since(start)));
            if let Some(Allowance { left, lasts, .. }) = said {
                put(&mut bytes, millis(lasts));
                put(&mut bytes, left.into());
            }
            put(
                &mut bytes,
                u64::try_from(spent.blocks.len()).unwrap_or(u64::MAX),
            );
            let mut before = start;
            for block in &spent.blocks {
                put(&mut bytes, millis(block.first.since(before)));
                put(&mut bytes, millis(block.last.since(block.first)));
                put(&mut bytes, block.calls.into());
                before = block.last;
            }
        }
        bytes
    }

    /// Returns the ledger that became these bytes; `None` when none did.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first()?;
        if !(WITHOUT_ALLOWANCE..=VERSION).contains(version) {
            return None;
        }
        let start = Timestamp::from_millis(0);
        let blocked = take(&mut rest)?;
        let blocked_until = (blocked > 0).then(|| start.after(Duration::from_millis(blocked)));
        let mut windows = Vec::new();
        while !rest.is_empty() {
            let calls = u32::try_from(take(&mut rest)?).ok()?;
            let per = Duration::from_millis(take(&mut rest)?);
            let mut spent = Counted {
                window: Window { calls, per },
                blocks: VecDeque::new(),
                sum: 0,
                allowance: None,
            };
            if *version != WITHOUT_ALLOWANCE {
                let until = take(&mut rest)?;
                if until > 0 {
                    spent.allowance = Some(Allowance {
                        until: start.after(Duration::from_millis(until)),
                        lasts: Duration::from_millis(take(&mut rest)?),
                        left: u32::try_from(take(&mut rest)?).ok()?,
                    });
                }
            }
            let mut before = start;
            for _ in 0..take(&mut rest)? {
                let first = before.after(Duration::from_millis(take(&mut rest)?));
                let last = first.after(Duration::from_millis(take(&mut rest)?));
                let calls = u32::try_from(take(&mut rest)?).ok()?;
                spent.blocks.push_back(Block { first, last, calls });
                spent.sum = spent.sum.saturating_add(calls);
                before = last;
            }
            windows.push(spent);
        }
        Some(Self {
            windows,
            blocked_until,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Puts a number seven bits at a time, the lowest first.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The version of rows that say nothing of what the source said.
const WITHOUT_ALLOWANCE: u8 = 1;
const VERSION: u8 = 2;
