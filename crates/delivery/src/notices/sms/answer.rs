//! What the gateway's answer means.

use std::collections::BTreeSet;

use serde_json::Value;
use wellspring_core::Timestamp;
use wellspring_engine::NoticeResult;
use wellspring_outbound::Response;

use super::SmsOptions;
use crate::notices::outcome;

/// A status that the options do not name and that is no success leaves open what became of the message.
pub(super) fn judge(options: &SmsOptions, answer: &Response, now: Timestamp) -> NoticeResult {
    let status = answer.status;
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let at = |pointer: &Option<String>| text(body.as_ref()?.pointer(pointer.as_deref()?)?);
    if status.is_success() {
        return NoticeResult::Sent {
            receipt: at(&options.receipt),
        };
    }
    let number = status.as_u16();
    let code = at(&options.error);
    let reason = match &code {
        Some(code) => format!("the SMS gateway answered {number} with {code}"),
        None => format!("the SMS gateway answered {number}"),
    };
    let is_in = |codes: &BTreeSet<String>| code.as_ref().is_some_and(|code| codes.contains(code));
    if is_in(&options.stopped) {
        NoticeResult::Stopped { reason }
    } else if is_in(&options.gone) {
        outcome::refused(reason, true)
    } else if options.refused.contains(&number) {
        outcome::refused(reason, false)
    } else if options.failed.contains(&number) || status.is_redirection() {
        NoticeResult::Failed {
            reason,
            retry_at: outcome::retry_at(answer, now),
        }
    } else {
        outcome::unknown(reason)
    }
}

/// Returns a short word or number; anything else could repeat the number it was sent to.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
            let fits = !text.is_empty() && text.len() <= MAX && text.bytes().all(plain);
            fits.then(|| text.clone())
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

const MAX: usize = 100;
