//! What a source says of its own count, where others spend from it as well.

use std::time::Duration;

use super::{Counted, Ledger, Remaining, Window};
use crate::Timestamp;

/// A source's own figure: so many calls are left until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// How many calls the source said are left.
    pub left: u32,
    /// Until when it is to be believed.
    pub until: Timestamp,
    /// Calls noted later than this were not counted in the figure.
    pub counted_until: Timestamp,
    /// How many calls were on their way otherwise; some may have been counted and some not.
    pub on_way: u32,
}

/// So many calls may be spent until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) left: u32,
    pub(super) until: Timestamp,
}

impl Ledger {
    /// Takes over the source's own figure where it is lower than what is left; returns whether
    /// that changed anything.
    ///
    /// A figure that could be explained by calls that are noted here changes nothing. What is said
    /// of one stretch of time, known by its end, is only ever lowered, as answers overtake each
    /// other; what is said of a later one is news.
    pub fn hear(&mut self, correction: Correction, now: Timestamp) -> bool {
        let Correction {
            left,
            until,
            counted_until,
            on_way,
        } = correction;
        if until <= now {
            return false;
        }
        let known = self.allowance(now);
        let is_news = known.is_none_or(|known| until > known.until.after(ONE_END));
        if known.is_none() && left >= self.own_room(now) {
            return false;
        }
        // What went out meanwhile is on top of what the source has counted.
        let uncounted = self.noted_after(counted_until).max(on_way);
        let left = left.saturating_sub(uncounted);
        match &mut self.allowance {
            Some(known) if !is_news => {
                let is_of_it = until.after(ONE_END) >= known.until;
                let lowers = is_of_it && left < known.left;
                if lowers {
                    known.left = left;
                }
                lowers
            }
            allowance @ (Some(_) | None) => {
                *allowance = Some(Allowance { left, until });
                true
            }
        }
    }

    pub(super) fn allowance(&self, now: Timestamp) -> Option<Allowance> {
        self.allowance.filter(|allowance| allowance.until > now)
    }

    fn noted_after(&self, at: Timestamp) -> u32 {
        let after = |spent: &Counted| {
            let blocks = spent.blocks.iter().rev();
            let later = blocks.take_while(|block| block.first > at);
            later.map(|block| block.calls).sum()
        };
        self.windows.iter().map(after).max().unwrap_or_default()
    }
}

impl Remaining {
    /// Returns whether it is about one of these windows, by the size that it gives.
    pub fn is_about(&self, windows: &[Window]) -> bool {
        let fits = |window: &Window| {
            self.quota == Some(window.calls) && self.per.is_none_or(|per| per == window.per)
        };
        windows.iter().any(fits)
    }
}

/// How far apart two words of one end may be: they are in whole seconds, and on their way for a while.
const ONE_END: Duration = Duration::from_secs(2);
