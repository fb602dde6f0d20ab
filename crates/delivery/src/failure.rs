//! From what went wrong to what the engine is told.

use http::StatusCode;
use http::header::RETRY_AFTER;
use wellspring_core::{Error, ErrorClass, Timestamp, retry_after};
use wellspring_engine::{DeliverResult, SendFailure};
use wellspring_outbound::{Response, SendError, TargetError, TimeoutPhase};

/// Why a message was not taken.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure {
    error: Error,
    gone: bool,
    retry_at: Option<Timestamp>,
    /// Whether the target is at fault rather than the message, for a message that has a target of its own.
    down: bool,
    /// Whether no message would fare better, for a target that gets many.
    unreachable: bool,
}

/// Whom a message is for, in words.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Recipient {
    Callback,
    Endpoint,
}

impl Recipient {
    /// An answer that is not 2xx.
    pub(crate) fn refused(self, answer: &Response, now: Timestamp) -> Failure {
        let status = answer.status;
        let class = match status {
            StatusCode::GONE => ErrorClass::ProductNotAvailable,
            StatusCode::TOO_MANY_REQUESTS => ErrorClass::RateLimitExceeded,
            status if status.is_server_error() => ErrorClass::ConnectionFailure,
            _ => ErrorClass::InvalidRequest,
        };
        let number = status.as_u16();
        let reason = status.canonical_reason().unwrap_or_default();
        let message = format!("the {} answered {number} {reason}", self.name());
        let retry_at = answer.headers.get(RETRY_AFTER);
        Failure {
            gone: status == StatusCode::GONE,
            retry_at: retry_at
                .and_then(|value| value.to_str().ok())
                .and_then(|value| retry_after(value, now)),
            down: status.is_server_error(),
            ..Failure::new(class, &format!("http_{number}"), message.trim_end())
        }
    }

    /// No complete answer.
    pub(crate) fn no_answer(self, error: &SendError) -> Failure {
        let name = self.name();
        // The tenant need not know what a name resolves to here, nor the details of certificates.
        let message = match error {
            SendError::Refused { .. } => {
                let message = format!("the address of the {name} is refused");
                return Failure {
                    unreachable: true,
                    ..Failure::new(ErrorClass::InvalidRequest, error.code(), &message)
                };
            }
            SendError::Tls { .. } => format!("the {name} gave no answer: TLS failed"),
            SendError::Protocol { .. } => format!("the answer of the {name} is not valid HTTP"),
            SendError::Resolve
            | SendError::Connect { .. }
            | SendError::Timeout { .. }
            | SendError::Reset => format!("the {name} gave no answer: {error}"),
            SendError::Truncated | SendError::BodyTooLarge { .. } => {
                format!("the {name} gave no complete answer: {error}")
            }
        };
        Failure {
            down: true,
            unreachable: is_unreachable(error),
            ..Failure::new(ErrorClass::ConnectionFailure, error.code(), &message)
        }
    }

    /// A URL that was taken once and cannot be called any more.
    pub(crate) fn bad_url(self, error: &TargetError) -> Failure {
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
        let message = format!("the {} URL {error}", self.name());
        Failure {
            unreachable: true,
            ..Failure::new(ErrorClass::InvalidRequest, code, &message)
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Endpoint => "endpoint",
        }
    }
}

impl Failure {
    /// Something that is the fault neither of the message nor of its target.
    ///
    /// Nothing was sent, and no other message would have been.
    pub(crate) fn ours(code: &str, message: &str) -> Self {
        Self {
            unreachable: true,
            ..Self::new(ErrorClass::InternalError, code, message)
        }
    }

    /// Something of ours that is wrong with this message alone.
    pub(crate) fn of_message(code: &str, message: &str) -> Self {
        Self::new(ErrorClass::InternalError, code, message)
    }

    fn new(class: ErrorClass, code: &str, message: &str) -> Self {
        Self {
            error: Error {
                class,
                code: code.to_owned(),
                message: message.to_owned(),
            },
            gone: false,
            retry_at: None,
            down: false,
            unreachable: false,
        }
    }
}

impl From<Failure> for DeliverResult {
    fn from(failure: Failure) -> Self {
        Self::Failed {
            error: failure.error,
            gone: failure.gone,
            retry_at: failure.retry_at,
            down: failure.down,
        }
    }
}

impl From<Failure> for SendFailure {
    fn from(failure: Failure) -> Self {
        Self {
            error: failure.error,
            gone: failure.gone,
            retry_at: failure.retry_at,
            unreachable: failure.unreachable,
        }
    }
}

/// Returns whether every message would have met the same.
///
/// One that was reached and broke off may have done so over this very message, whose line must
/// then not be held up for ever.
const fn is_unreachable(error: &SendError) -> bool {
    match error {
        SendError::Refused { .. }
        | SendError::Resolve
        | SendError::Connect { .. }
        | SendError::Tls { .. } => true,
        SendError::Timeout { phase } => match phase {
            TimeoutPhase::Connect | TimeoutPhase::Headers => true,
            TimeoutPhase::Body => false,
        },
        SendError::Reset
        | SendError::Truncated
        | SendError::BodyTooLarge { .. }
        | SendError::Protocol { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_address_is_not_a_target_that_is_down_and_is_not_told() {
        let ip = [10, 1, 2, 3].into();
        let failure = Recipient::Callback.no_answer(&SendError::Refused { ip });

        assert_eq!(failure.error.class, ErrorClass::InvalidRequest);
        assert_eq!(failure.error.code, "address_refused");
        assert_eq!(
            failure.error.message,
            "the address of the callback is refused"
        );
        assert_eq!((failure.down, failure.unreachable), (false, true));
    }

    #[test]
    fn the_details_of_certificates_are_not_told() {
        let detail = "certificate of db.internal".to_owned();
        let failure = Recipient::Endpoint.no_answer(&SendError::Tls { detail });

        assert_eq!(failure.error.code, "tls_failure");
        assert_eq!(
            failure.error.message,
            "the endpoint gave no answer: TLS failed"
        );
        assert_eq!((failure.down, failure.unreachable), (true, true));
    }
}
