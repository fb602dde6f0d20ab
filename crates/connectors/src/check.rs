use std::time::Duration;

use serde::{Serialize, Serializer};
use wellspring_core::{Error, SourceName, Timestamp};

use crate::http::Asked;

/// How one call to a source went; holds nothing of what the source said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Which source.
    pub source: SourceName,
    /// Whether it gave data.
    pub ok: bool,
    /// The status it answered, if it answered.
    pub status: Option<u16>,
    /// The size of the answer's body.
    pub bytes: usize,
    /// How long it took.
    #[serde(rename = "duration_ms", serialize_with = "as_millis")]
    pub duration: Duration,
    /// Class, code and message, if it gave none.
    pub error: Option<Error>,
    /// The rule that gave the class.
    pub rule: Option<String>,
    /// What the client said, if there was no complete answer; for operators only.
    pub detail: Option<String>,
    /// The source's own word for when to come back.
    pub retry_at: Option<Timestamp>,
}

impl CheckReport {
    pub(crate) fn new(source: SourceName, asked: &Asked, duration: Duration) -> Self {
        let failed = asked.outcome.as_ref().err();
        Self {
            source,
            ok: failed.is_none(),
            status: asked.status.map(|status| status.as_u16()),
            bytes: asked.body_bytes,
            duration,
            error: failed.map(|failed| failed.error.clone()),
            rule: failed.and_then(|failed| failed.rule.as_deref().map(str::to_owned)),
            detail: failed.and_then(|failed| failed.detail.as_deref().map(str::to_owned)),
            retry_at: failed.and_then(|failed| failed.retry_at),
        }
    }
}

fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
