//! From what went wrong to a class, a code and a sentence.

use http::StatusCode;
use http::header::RETRY_AFTER;
use wellspring_core::{Error, Failure, Timestamp, retry_after};
use wellspring_outbound::{Response, SendError};

use crate::SourceConfig;
use crate::connectors::Failed;

/// Classifies an exchange that brought no complete answer.
pub(super) fn no_answer<'s>(source: &'s SourceConfig, error: &SendError) -> Failed<'s> {
    let detail = error.to_string();
    let failure = Failure {
        source: &source.name,
        operation: FETCH,
        status: None,
        error_type: Some("transport"),
        error_code: Some(error.code()),
        headers: &[],
        message: &detail,
    };
    let classified = source.rules.classify(&failure);
    Failed {
        error: Error {
            class: classified.class,
            code: error.code().to_owned(),
            message: sentence(error),
        },
        retry_at: None,
        rule: classified.rule,
        detail: Some(detail),
    }
}

/// Classifies an answer that is not 2xx, or is not JSON.
pub(super) fn bad_answer<'s>(
    source: &'s SourceConfig,
    response: &Response,
    now: Timestamp,
) -> Failed<'s> {
    let status = response.status;
    let not_json = status.is_success();
    let headers: Vec<(&str, &str)> = response
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()))
        .collect();
    let start = response.body.get(..MATCHED_BODY).unwrap_or(&response.body);
    let failure = Failure {
        source: &source.name,
        operation: FETCH,
        status: Some(status.as_u16()),
        error_type: not_json.then_some("body"),
        error_code: not_json.then_some(BODY_NOT_JSON),
        headers: &headers,
        message: &String::from_utf8_lossy(start),
    };
    let classified = source.rules.classify(&failure);
    let (code, message) = if not_json {
        let message = format!("the source answered {} without JSON", named(status));
        (BODY_NOT_JSON.to_owned(), message)
    } else {
        let code = format!("http_{}", status.as_u16());
        (code, format!("the source answered {}", named(status)))
    };
    let retry_at = response.headers.get(RETRY_AFTER);
    Failed {
        error: Error {
            class: classified.class,
            code,
            message,
        },
        retry_at: retry_at
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, now)),
        rule: classified.rule,
        detail: None,
    }
}

/// Says what happened in words for a tenant, who need not know addresses and certificates.
fn sentence(error: &SendError) -> String {
    match error {
        SendError::Refused { .. } => "the address of the source is refused".to_owned(),
        SendError::Tls { .. } => "the source gave no answer: TLS failed".to_owned(),
        SendError::Protocol { .. } => "the answer of the source is not valid HTTP".to_owned(),
        SendError::Resolve
        | SendError::Connect { .. }
        | SendError::Timeout { .. }
        | SendError::Reset => format!("the source gave no answer: {error}"),
        SendError::Truncated | SendError::BodyTooLarge { .. } => {
            format!("the source gave no complete answer: {error}")
        }
    }
}

fn named(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

const FETCH: &str = "fetch";
const BODY_NOT_JSON: &str = "body_not_json";
const MATCHED_BODY: usize = 2 * 1024;

#[cfg(test)]
mod tests;
