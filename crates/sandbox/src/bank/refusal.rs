use hyper::{Response, StatusCode};
use serde_json::json;

use crate::answer::{JSON, json_answer, set_retry_after};
use crate::serve::Body;

/// Why the bank does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    InvalidCredentials,
    AccountLocked,
    ConsentRefused,
    ConsentRevoked,
    SessionExpired,
    ChallengePending,
    Down,
    Maintenance,
    Throttled,
    QuotaSpent,
    DocumentUnavailable,
    NotFound,
    Unreadable,
    TooLarge,
    WindowTooLarge,
}

impl Refusal {
    /// Returns the answer, without a `Retry-After`.
    pub(crate) fn answer(self) -> Response<Body> {
        let (status, kind, code, message) = match self {
            Self::InvalidCredentials => (
                StatusCode::UNAUTHORIZED,
                AUTHENTICATION,
                "INVALID_CREDENTIALS",
                "User name or password is wrong",
            ),
            Self::AccountLocked => (
                StatusCode::FORBIDDEN,
                AUTHENTICATION,
                "ACCOUNT_LOCKED",
                "Too many wrong answers",
            ),
            Self::ConsentRefused => (
                StatusCode::FORBIDDEN,
                CONSENT,
                "CONSENT_REFUSED",
                "The account holder did not agree",
            ),
            Self::ConsentRevoked => (
                StatusCode::FORBIDDEN,
                CONSENT,
                "CONSENT_REVOKED",
                "The account holder has withdrawn the consent",
            ),
            Self::SessionExpired => (
                StatusCode::UNAUTHORIZED,
                SESSION,
                "SESSION_EXPIRED",
                "There is no such session any more",
            ),
            Self::ChallengePending => (
                StatusCode::CONFLICT,
                SESSION,
                "CHALLENGE_PENDING",
                "A question has to be answered first",
            ),
            Self::Down => (
                StatusCode::SERVICE_UNAVAILABLE,
                INSTITUTION,
                "INSTITUTION_DOWN",
                "The bank is not available",
            ),
            Self::Maintenance => (
                StatusCode::SERVICE_UNAVAILABLE,
                INSTITUTION,
                "MAINTENANCE",
                "Scheduled maintenance",
            ),
            Self::Throttled => (
                StatusCode::TOO_MANY_REQUESTS,
                "RATE_LIMIT",
                "TOO_MANY_REQUESTS",
                "Too many requests",
            ),
            Self::QuotaSpent => (
                StatusCode::TOO_MANY_REQUESTS,
                "RATE_LIMIT",
                "ACCESS_EXCEEDED",
                "Daily quota exceeded",
            ),
            Self::DocumentUnavailable => (
                StatusCode::INTERNAL_SERVER_ERROR,
                INSTITUTION,
                "DOCUMENT_UNAVAILABLE",
                "The document could not be put together",
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                REQUEST,
                "NOT_FOUND",
                "There is no such thing",
            ),
            Self::Unreadable => (
                StatusCode::BAD_REQUEST,
                REQUEST,
                "UNREADABLE",
                "The request could not be understood",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                REQUEST,
                "TOO_LARGE",
                "The request is too large",
            ),
            Self::WindowTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                REQUEST,
                "WINDOW_TOO_LARGE",
                "Fewer have to be asked for at once",
            ),
        };
        let body = json!({ "error": { "type": kind, "code": code, "message": message } });
        json_answer(status, JSON, &body)
    }

    /// Returns the answer with a `Retry-After`.
    pub(super) fn for_now(self, seconds: u64) -> Response<Body> {
        let mut answer = self.answer();
        set_retry_after(&mut answer, seconds);
        answer
    }
}

const AUTHENTICATION: &str = "AUTHENTICATION";
const CONSENT: &str = "CONSENT";
const INSTITUTION: &str = "INSTITUTION";
const REQUEST: &str = "REQUEST";
const SESSION: &str = "SESSION";
