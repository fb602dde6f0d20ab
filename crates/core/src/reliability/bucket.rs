//! Durations sorted into few classes, so that percentiles can be added up over days.

/// A class of durations whose longest is at most an eighth longer than its shortest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// Returns the class of a duration: below 8 ms each millisecond is one, above there are eight
    /// to each doubling.
    pub fn of(duration_ms: u64) -> Self {
        let doublings = duration_ms
            .checked_ilog2()
            .and_then(|log| log.checked_sub(3));
        let Some(doublings) = doublings else {
            return Self(u16::try_from(duration_ms).unwrap_or(0));
        };
        let eighths = u16::try_from(duration_ms >> doublings).unwrap_or(0);
        let doublings = u16::try_from(doublings).unwrap_or(0);
        Self(doublings.saturating_mul(8).saturating_add(eighths))
    }

    /// Returns the longest duration of the class, in milliseconds.
    pub fn longest_ms(self) -> u64 {
        let doublings = (self.0 / 8).saturating_sub(1);
        let eighths = u64::from(self.0 - doublings * 8);
        let above = (u128::from(eighths) + 1) << doublings;
        u64::try_from(above - 1).unwrap_or(u64::MAX)
    }

    /// Returns the number that is stored.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Returns the class of a stored number.
    pub const fn from_code(code: u16) -> Option<Self> {
        if code <= LAST { Some(Self(code)) } else { None }
    }
}

/// The class of the longest duration there is.
const LAST: u16 = 60 * 8 + 15;
