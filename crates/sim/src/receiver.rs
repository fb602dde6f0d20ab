//! Pretend receivers of callbacks, and what they remember.

use std::time::Duration;

use wellspring_core::{Error, ErrorClass, Timestamp};
use wellspring_engine::DeliverResult;

use crate::clock::SECOND;
use crate::dice::Dice;
use crate::provider::{Window, latency};

/// One host that takes callbacks.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) host: &'static str,
    pub(crate) down: Window,
    pub(crate) gone: Window,
    /// How many calls in a thousand are answered with 500 when all is well.
    failing: u32,
    /// How many calls in a thousand are taken and never answered.
    hanging: u32,
}

impl Receiver {
    pub(crate) fn all() -> Vec<Self> {
        [
            ("plain.example", 5, 0),
            ("flaky.example", 300, 20),
            ("slow.example", 20, 150),
            ("fickle.example:8443", 100, 50),
        ]
        .into_iter()
        .map(|(host, failing, hanging)| Self {
            host,
            down: Window::default(),
            gone: Window::default(),
            failing,
            hanging,
        })
        .collect()
    }

    /// Puts everything right for good.
    pub(crate) fn mend(&mut self) {
        self.down = Window::default();
        self.gone = Window::default();
        self.failing = 0;
        self.hanging = 0;
    }

    /// Answers a call made at `now`; `clock` is what the calling node takes the time to be.
    pub(crate) fn answer(
        &self,
        now: i64,
        clock: Timestamp,
        dice: &mut Dice,
    ) -> (DeliverResult, i64) {
        if self.down.contains(now) {
            let latency = if dice.permille(500) {
                dice.between(2, 200)
            } else {
                DEADLINE
            };
            return (
                failed(ErrorClass::ConnectionFailure, "connect", None, true),
                latency,
            );
        }
        if self.gone.contains(now) {
            let mut result = failed(ErrorClass::ProductNotAvailable, "http_410", None, false);
            if let DeliverResult::Failed { gone, .. } = &mut result {
                *gone = true;
            }
            return (result, latency(dice));
        }
        if dice.permille(self.hanging) {
            return (timeout(), DEADLINE);
        }
        if dice.permille(self.failing) {
            let result = match dice.below(3) {
                0 => {
                    let when = clock.after(Duration::from_secs(1 + dice.seed() % 900));
                    failed(ErrorClass::RateLimitExceeded, "http_429", Some(when), false)
                }
                1 => failed(ErrorClass::InvalidRequest, "http_400", None, false),
                _ => failed(ErrorClass::ConnectionFailure, "http_500", None, true),
            };
            return (result, latency(dice));
        }
        (DeliverResult::Delivered, latency(dice))
    }
}

/// The message may have been taken, but nobody hears of it.
pub(crate) fn timeout() -> DeliverResult {
    failed(ErrorClass::ConnectionFailure, "timeout", None, true)
}

fn failed(class: ErrorClass, code: &str, retry_at: Option<Timestamp>, down: bool) -> DeliverResult {
    let error = Error {
        class,
        code: code.to_owned(),
        message: format!("the pretend receiver answered with {code}"),
    };
    DeliverResult::Failed {
        error,
        gone: false,
        retry_at,
        down,
    }
}

/// When a call to a receiver is given up.
pub(crate) const DEADLINE: i64 = 15 * SECOND;
