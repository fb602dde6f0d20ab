use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::Budget;
use crate::Source;

/// How a source behaves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Probability, 0 to 1, of a 500 `#fail`.
    pub failure_rate: f64,
    /// Wait before every answer.
    #[serde(rename = "latency_ms", serialize_with = "as_millis")]
    pub latency: Duration,
    /// How every call goes wrong, if it does.
    #[serde(serialize_with = "as_outage")]
    pub outage: Option<Outage>,
    /// Calls beyond this get a 429.
    pub rate_limit: Option<RateLimit>,
    /// Calls beyond this are counted, refused and punished.
    pub budget: Option<Budget>,
    /// Calls before this time get a 503.
    pub maintenance_until: Option<Timestamp>,
    /// Probability, 0 to 1, of a 200 whose body is not JSON.
    pub junk_rate: f64,
}

impl Settings {
    /// Returns what `source` starts with: the bank is reliable, the others as in [`Self::default`].
    pub fn of(source: Source) -> Self {
        match source {
            Source::Gas | Source::Internet | Source::Other => Self::default(),
            Source::SandboxBank => Self::reliable(),
        }
    }

    /// Returns settings under which every call succeeds at once.
    pub fn reliable() -> Self {
        Self {
            failure_rate: 0.0,
            ..Self::default()
        }
    }
}

impl Default for Settings {
    /// Every second call fails, and nothing else is wrong.
    fn default() -> Self {
        Self {
            failure_rate: 0.5,
            latency: Duration::ZERO,
            outage: None,
            rate_limit: None,
            budget: None,
            maintenance_until: None,
            junk_rate: 0.0,
        }
    }
}

/// A way for every call to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// 500 `#fail`.
    ServerError,
    /// The connection is aborted.
    Reset,
    /// The usual answer, after 60 s.
    Timeout,
    /// The usual answer, with a `Content-Length` larger than its body.
    Truncate,
}

/// The number of calls let through in a window, which opens with its first call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RateLimit {
    /// In a second.
    PerSecond(u32),
    /// In a minute.
    PerMinute(u32),
}

impl RateLimit {
    pub(super) fn calls(self) -> u32 {
        match self {
            Self::PerSecond(calls) | Self::PerMinute(calls) => calls,
        }
    }

    pub(super) fn window(self) -> Duration {
        match self {
            Self::PerSecond(_) => Duration::from_secs(1),
            Self::PerMinute(_) => Duration::from_secs(60),
        }
    }
}

pub(super) fn as_millis<S: Serializer>(
    latency: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX))
}

fn as_outage<S: Serializer>(outage: &Option<Outage>, serializer: S) -> Result<S::Ok, S::Error> {
    match outage {
        None => serializer.serialize_bool(false),
        Some(Outage::ServerError) => serializer.serialize_bool(true),
        Some(Outage::Reset) => serializer.serialize_str("reset"),
        Some(Outage::Timeout) => serializer.serialize_str("timeout"),
        Some(Outage::Truncate) => serializer.serialize_str("truncate"),
    }
}
