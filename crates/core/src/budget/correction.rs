//! What a source says of its own count, where others spend from it as well.

use std::time::Duration;

use super::{Counted, Ledger, Remaining, Window};
use crate::Timestamp;

/// A source's own figure: so many calls are left until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// The window that it is about; where that is not known, it is taken to be the shortest that
    /// is as long as the source wants to be believed.
    pub of: Option<Window>,
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
    /// For how long that was when it was said; a clock that went back does not make it longer.
    pub(super) lasts: Duration,
}

impl Ledger {
    /// Takes over the source's own figure where it is lower than what is left; returns whether
    /// others that count the same have to know it.
    ///
    /// A figure that could be explained by calls that are noted here changes nothing. What is said
    /// of one stretch of time, known by its end, is only ever lowered, as answers overtake each
    /// other; what is said of a later one is news.
    pub fn hear(&mut self, correction: Correction, now: Timestamp) -> bool {
        let left = correction.left;
        // A window ends at the latest when it is over; whoever says more has another clock.
        let longest = |window: Window| now.after(window.per.saturating_add(ONE_END));
        let until = match correction.of.map(longest) {
            Some(end) => correction.until.min(end),
            None => correction.until,
        };
        // What went out meanwhile is on top of what the source has counted.
        let uncounted = self.noted_after(correction.counted_until);
        let surely = left.saturating_sub(uncounted.max(correction.on_way));
        let Some(spent) = self.concerned(&correction, now) else {
            return false;
        };
        spent.release(now);
        match spent.allowance(now) {
            _ if until <= now => false,
            Some(known) if until <= known.until.after(ONE_END) => {
                let lowers = surely < known.left;
                if lowers {
                    spent.allowance = Some(Allowance {
                        left: surely,
                        ..known
                    });
                }
                // Where less is spent than is known here, it may be lower than what is known.
                lowers || left < spent.own_room()
            }
            // Where nothing is left it is about when there will be, which is the source's to say.
            None if left > 0 && left >= spent.own_room() => false,
            Some(_) | None => {
                let left = surely;
                let lasts = until.since(now);
                spent.allowance = Some(Allowance { left, until, lasts });
                true
            }
        }
    }

    fn concerned(&mut self, correction: &Correction, now: Timestamp) -> Option<&mut Counted> {
        if let Some(window) = correction.of {
            return self.windows.iter_mut().find(|one| one.window == window);
        }
        let wanted = correction.until.since(now);
        let rank = |spent: &&mut Counted| {
            let per = spent.window.per;
            (per < wanted, per.abs_diff(wanted))
        };
        self.windows.iter_mut().min_by_key(rank)
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

impl Counted {
    pub(super) fn allowance(&self, now: Timestamp) -> Option<Allowance> {
        self.allowance.filter(|allowance| allowance.until > now)
    }
}

impl Remaining {
    /// Returns which of these windows it is about, by the size that it gives.
    pub fn about(&self, windows: &[Window]) -> Option<Window> {
        let fits = |window: &&Window| {
            self.quota == Some(window.calls) && self.per.is_none_or(|per| per == window.per)
        };
        windows.iter().find(fits).copied()
    }
}

/// How far apart two words of one end may be: they are in whole seconds, and on their way for a while.
const ONE_END: Duration = Duration::from_secs(2);
