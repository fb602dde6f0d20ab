//! From what went wrong to what the driver is told.

use http::StatusCode;
use http::header::RETRY_AFTER;
use wellspring_core::{Error, ErrorClass, Timestamp, retry_after};
use wellspring_engine::DeliverResult;
use wellspring_outbound::{Response, SendError, TargetError};

/// An answer that is not 2xx.
pub(super) fn refused(answer: &Response, now: Timestamp) -> DeliverResult {
    let status = answer.status;
    let class = match status {
        StatusCode::GONE => ErrorClass::ProductNotAvailable,
        StatusCode::TOO_MANY_REQUESTS => ErrorClass::RateLimitExceeded,
        status if status.is_server_error() => ErrorClass::ConnectionFailure,
        _ => ErrorClass::InvalidRequest,
    };
    let number = status.as_u16();
    let reason = status.canonical_reason().unwrap_or_default();
    let message = format!("the callback answered {number} {reason}");
    let retry_at = answer.headers.get(RETRY_AFTER);
    DeliverResult::Failed {
        error: Error {
            class,
            code: format!("http_{number}"),
            message: message.trim_end().to_owned(),
        },
        gone: status == StatusCode::GONE,
        retry_at: retry_at
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, now)),
        down: status.is_server_error(),
    }
}

/// No complete answer.
pub(super) fn no_answer(error: &SendError) -> DeliverResult {
    // The tenant need not know what a name resolves to here, nor the details of certificates.
    let (class, down, message) = match error {
        SendError::Refused { .. } => (
            ErrorClass::InvalidRequest,
            false,
            "the address of the callback is refused".to_owned(),
        ),
        SendError::Tls { .. } => unreachable("the callback gave no answer: TLS failed".to_owned()),
        SendError::Protocol { .. } => {
            unreachable("the answer of the callback is not valid HTTP".to_owned())
        }
        SendError::Resolve
        | SendError::Connect { .. }
        | SendError::Timeout { .. }
        | SendError::Reset => unreachable(format!("the callback gave no answer: {error}")),
        SendError::Truncated | SendError::BodyTooLarge { .. } => {
            unreachable(format!("the callback gave no complete answer: {error}"))
        }
    };
    failed(class, error.code(), message, down)
}

/// A URL that was taken once and cannot be called any more.
pub(super) fn bad_url(error: &TargetError) -> DeliverResult {
    let code = match error {
        TargetError::RefusedAddress { .. } => "address_refused",
        TargetError::NotAbsolute
        | TargetError::Scheme
        | TargetError::Credentials
        | TargetError::ControlCharacter
        | TargetError::Fragment
        | TargetError::Host
        | TargetError::Port
        | TargetError::TooLong
        | TargetError::Malformed => "invalid_url",
    };
    let message = format!("the callback URL {error}");
    failed(ErrorClass::InvalidRequest, code, message, false)
}

/// Something that is not the callback's fault.
pub(super) fn ours(code: &str, message: &str) -> DeliverResult {
    failed(ErrorClass::InternalError, code, message.to_owned(), false)
}

const fn unreachable(message: String) -> (ErrorClass, bool, String) {
    (ErrorClass::ConnectionFailure, true, message)
}

fn failed(class: ErrorClass, code: &str, message: String, down: bool) -> DeliverResult {
    DeliverResult::Failed {
        error: Error {
            class,
            code: code.to_owned(),
            message,
        },
        gone: false,
        retry_at: None,
        down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_address_is_not_a_target_that_is_down_and_is_not_told() {
        let ip = [10, 1, 2, 3].into();
        let message = "the address of the callback is refused".to_owned();
        assert_eq!(
            no_answer(&SendError::Refused { ip }),
            failed(
                ErrorClass::InvalidRequest,
                "address_refused",
                message,
                false
            )
        );
    }

    #[test]
    fn the_details_of_certificates_are_not_told() {
        let detail = "certificate of db.internal".to_owned();
        let message = "the callback gave no answer: TLS failed".to_owned();
        assert_eq!(
            no_answer(&SendError::Tls { detail }),
            failed(ErrorClass::ConnectionFailure, "tls_failure", message, true)
        );
    }
}
