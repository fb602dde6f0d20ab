//! What came of a message, in words without contact data.

use http::header::RETRY_AFTER;
use wellspring_core::{Timestamp, retry_after};
use wellspring_engine::NoticeResult;
use wellspring_outbound::{Response, SendError, TimeoutPhase};

pub(super) fn failed(reason: impl Into<String>) -> NoticeResult {
    NoticeResult::Failed {
        reason: reason.into(),
        retry_at: None,
    }
}

pub(super) fn refused(reason: impl Into<String>, address_gone: bool) -> NoticeResult {
    NoticeResult::Refused {
        reason: reason.into(),
        address_gone,
    }
}

pub(super) fn unknown(reason: impl Into<String>) -> NoticeResult {
    NoticeResult::Unknown {
        reason: reason.into(),
    }
}

pub(super) fn not_configured() -> NoticeResult {
    failed("the channel is not configured")
}

/// An exchange that brought no answer: whether the request had left decides.
pub(super) fn no_answer(who: &str, error: &SendError) -> NoticeResult {
    let code = error.code();
    let left = match error {
        SendError::Refused { .. } => return refused(format!("{code}: {who}"), true),
        SendError::Resolve | SendError::Connect { .. } => false,
        SendError::Timeout { phase } => match phase {
            TimeoutPhase::Connect => false,
            TimeoutPhase::Headers | TimeoutPhase::Body => true,
        },
        // A session may also break after the handshake, and the two look the same.
        SendError::Tls { .. }
        | SendError::Reset
        | SendError::Truncated
        | SendError::BodyTooLarge { .. }
        | SendError::Protocol { .. } => true,
    };
    if left {
        unknown(format!("{code}: {who} gave no answer"))
    } else {
        failed(format!("{code}: {who} gave no answer"))
    }
}

/// Returns when the far side wants to be asked again.
pub(super) fn retry_at(answer: &Response, now: Timestamp) -> Option<Timestamp> {
    let value = answer.headers.get(RETRY_AFTER)?;
    retry_after(value.to_str().ok()?, now)
}
