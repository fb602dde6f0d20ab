//! How an answer speaks of a source's budget.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use crate::answer::{JSON, empty, json_answer, set_retry_after};
use crate::bank::Refusal;
use crate::control::{Fill, Tells, wall_clock, whole_seconds};
use crate::providers::Source;
use crate::serve::Body;

/// Returns the refusal of a call that is one too many.
pub(crate) fn refuse(source: Source, tells: Tells, fill: Fill) -> Response<Body> {
    let mut answer = match (source, tells) {
        (Source::Gas | Source::Internet | Source::Other, Tells::DailyQuota) => json_answer(
            StatusCode::TOO_MANY_REQUESTS,
            JSON,
            &json!({ "error": "quota", "message": "Daily quota exceeded" }),
        ),
        (Source::SandboxBank, Tells::DailyQuota) => Refusal::QuotaSpent.answer(),
        (
            Source::Gas | Source::Internet | Source::Other,
            Tells::RetryAfter
            | Tells::RetryAfterDate
            | Tells::RateLimit
            | Tells::XRateLimit
            | Tells::Nothing,
        ) => empty(StatusCode::TOO_MANY_REQUESTS),
        (
            Source::SandboxBank,
            Tells::RetryAfter
            | Tells::RetryAfterDate
            | Tells::RateLimit
            | Tells::XRateLimit
            | Tells::Nothing,
        ) => Refusal::Throttled.answer(),
    };
    match tells {
        Tells::RetryAfter => set_retry_after(&mut answer, whole_seconds(fill.wait)),
        Tells::RetryAfterDate => {
            // A date has whole seconds: the next but one, so that it is never too early.
            let at = later(fill.wait + Duration::from_secs(1));
            let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            set(&mut answer, RETRY_AFTER, &date);
        }
        Tells::RateLimit | Tells::XRateLimit | Tells::DailyQuota | Tells::Nothing => {}
    }
    tell(&mut answer, tells, Fill { left: 0, ..fill });
    answer
}

/// Says how many calls are left, where the source does.
pub(crate) fn tell(answer: &mut Response<Body>, tells: Tells, fill: Fill) {
    let (left, calls) = (fill.left, fill.calls);
    let wait = whole_seconds(if left == 0 { fill.wait } else { fill.per });
    match tells {
        Tells::RateLimit => {
            let window = whole_seconds(fill.per);
            let policy = format!("\"calls\";q={calls};w={window}");
            set(answer, RATE_LIMIT_POLICY, &policy);
            set(answer, RATE_LIMIT, &format!("\"calls\";r={left};t={wait}"));
        }
        Tells::XRateLimit => {
            let reset = later(Duration::from_secs(wait)).as_second() + 1;
            set(answer, X_LIMIT, &calls.to_string());
            set(answer, X_REMAINING, &left.to_string());
            set(answer, X_RESET, &reset.to_string());
        }
        Tells::RetryAfter | Tells::RetryAfterDate | Tells::DailyQuota | Tells::Nothing => {}
    }
}

fn later(wait: Duration) -> Timestamp {
    let now = wall_clock();
    now.checked_add(wait).unwrap_or(now)
}

fn set(answer: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
