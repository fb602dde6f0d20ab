//! The one source of chance.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Draws everything that a seed decides.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) const fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.0
    }

    pub(crate) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Draws from 0 to `end - 1`; 0 where there is nothing to draw from.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(1).max(1);
        usize::try_from(self.0.next_u64() % end).unwrap_or(0)
    }

    /// Draws milliseconds, both ends included.
    pub(crate) fn between(&mut self, first: i64, last: i64) -> i64 {
        let span = u64::try_from(last.saturating_sub(first)).unwrap_or(0) + 1;
        first + i64::try_from(self.0.next_u64() % span).unwrap_or(0)
    }

    /// Returns true this many times in a thousand.
    pub(crate) fn permille(&mut self, chance: u32) -> bool {
        self.0.next_u32() % 1_000 < chance
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let place = self.below(from.len());
        from.get(place).copied()
    }
}
