use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;

/// How deliveries are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// What a delivery gets that is not drawn to fail.
    pub answer: Answer,
    /// What an answer with a status says besides.
    pub body: Bytes,
    /// Probability, 0 to 1, of a 500 instead.
    pub failure_rate: f64,
    /// Wait before every answer.
    pub latency: Duration,
    /// `Retry-After`, in whole seconds, beside every answer that is not 2xx.
    pub retry_after: Option<Duration>,
}

/// What a delivery gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An answer with this status.
    Status(StatusCode),
    /// A 302 to this location.
    Redirect(String),
    /// No answer until the receiver stops.
    Hang,
}

impl Behaviour {
    /// Answers every delivery with `status`.
    pub fn status(status: StatusCode) -> Self {
        Self {
            answer: Answer::Status(status),
            ..Self::default()
        }
    }

    /// Answers 410.
    pub fn gone() -> Self {
        Self::status(StatusCode::GONE)
    }

    /// Answers 500 with this probability, and 200 otherwise.
    pub fn failing(failure_rate: f64) -> Self {
        Self {
            failure_rate,
            ..Self::default()
        }
    }

    /// Redirects to `location`.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self {
            answer: Answer::Redirect(location.into()),
            ..Self::default()
        }
    }

    /// Never answers.
    pub fn hanging() -> Self {
        Self {
            answer: Answer::Hang,
            ..Self::default()
        }
    }
}

impl Default for Behaviour {
    /// Answers 200 at once.
    fn default() -> Self {
        Self {
            answer: Answer::Status(StatusCode::OK),
            body: Bytes::new(),
            failure_rate: 0.0,
            latency: Duration::ZERO,
            retry_after: None,
        }
    }
}
