//! Retry arithmetic: exponential delays with a cap and add-only jitter.

use std::time::Duration;

use rand_core::Rng;

/// How often and how far apart failed work is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// The gap before the first retry.
    pub base: Duration,
    /// What each further gap is multiplied by.
    pub factor: f64,
    /// The longest gap, jitter included.
    pub cap: Duration,
    /// How many retries follow the first try.
    pub max_retries: u16,
    /// Whether 0 to 25% is added at random, so that many failures do not retry in lockstep.
    pub jitter: bool,
}

impl RetryPolicy {
    /// Returns the gap before retry number `retry` (the first is 1).
    ///
    /// The exponential part is capped at `cap / 1.25` when jitter is on, so that the
    /// result neither undershoots the base (unless the cap does) nor exceeds the cap.
    pub fn delay(&self, retry: u16, rng: &mut impl Rng) -> Duration {
        let ceiling = if self.jitter {
            self.cap.mul_f64(1.0 / 1.25)
        } else {
            self.cap
        };
        let exponent = i32::from(retry.saturating_sub(1));
        let grown = self.base.as_secs_f64() * self.factor.powi(exponent);
        let capped = grown.min(ceiling.as_secs_f64()).max(0.0);
        let jittered = if self.jitter {
            let share = f64::from(rng.next_u32()) / f64::from(u32::MAX);
            capped * 0.25f64.mul_add(share, 1.0)
        } else {
            capped
        };
        // Whole milliseconds, rounded up: a stored deadline never comes early.
        Duration::try_from_secs_f64((jittered * 1e3).ceil() / 1e3)
            .unwrap_or(self.cap)
            .min(self.cap)
    }

    /// Returns whether retry number `retry` (the first is 1) is still allowed.
    pub const fn allows(&self, retry: u16) -> bool {
        retry <= self.max_retries
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn the_seeds_plan_without_jitter() {
        let policy = RetryPolicy {
            base: Duration::from_secs(10),
            factor: 1.5,
            cap: Duration::from_secs(900),
            max_retries: 10,
            jitter: false,
        };
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
        let gaps: Vec<u64> = (1..=12)
            .map(|n| policy.delay(n, &mut rng).as_secs())
            .collect();

        assert_eq!(gaps, [10, 15, 22, 33, 50, 75, 113, 170, 256, 384, 576, 864]);
        assert_eq!(policy.delay(u16::MAX, &mut rng), policy.cap);
        assert!(policy.allows(10) && !policy.allows(11));
    }

    proptest! {
        #[test]
        fn jitter_only_adds_and_never_passes_the_cap(
            base in 1u64..100_000, factor in 1.0f64..4.0, cap in 1u64..10_000_000, retry in 1u16..200, seed: u64,
        ) {
            let policy = RetryPolicy {
                base: Duration::from_millis(base), factor, cap: Duration::from_millis(cap), max_retries: 1, jitter: true,
            };
            let delay = policy.delay(retry, &mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(delay <= policy.cap);
            prop_assert!(delay >= policy.base.min(policy.cap.mul_f64(0.79)));
        }
    }
}
