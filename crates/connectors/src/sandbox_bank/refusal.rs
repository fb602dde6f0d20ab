//! What the bank refuses, and how that is told.

use http::StatusCode;
use serde::Deserialize;
use wellspring_core::{Action, ErrorClass};
use wellspring_outbound::Response;

use crate::http::Http;
use crate::{Failed, Said, Session, Told, Words};

/// Classifies a refusal; what the bank writes in it is shown to nobody.
pub(super) fn refusal(http: &Http, operation: &str, response: &Response) -> Failed {
    let words = words(&response.body);
    let said = Said {
        error_type: words.error_type.as_deref(),
        error_code: words.error_code.as_deref(),
        told: words.error_code.as_deref().and_then(told),
    };
    http.refused(operation, response, &said)
}

/// Reads what a refusal of the bank calls itself.
pub(super) fn words(body: &[u8]) -> Words {
    let body = serde_json::from_slice::<Body>(body).unwrap_or_default();
    Words {
        error_type: body.error.kind,
        error_code: body.error.code,
    }
}

/// Returns whether the bank does not know the session any more.
pub(super) fn is_session_gone(failed: &Failed) -> bool {
    failed.error.code == SESSION_EXPIRED
}

/// Returns whether nothing else can be had either, or all of it is to be asked for once more, so
/// that the attempt ends with it.
pub(super) fn concerns_everything(session: &Session, failed: &Failed) -> bool {
    if session.may_begin_again(failed.action) {
        return true;
    }
    match failed.error.class {
        ErrorClass::BankMaintenance
        | ErrorClass::RateLimitExceeded
        | ErrorClass::AuthenticationError => true,
        ErrorClass::ConnectionFailure => {
            // An answer that broke off is the fault of what was asked for as likely as not.
            let gave_no_answer = failed.status.is_none() && failed.error.code != "body_truncated";
            gave_no_answer || is_session_gone(failed)
        }
        ErrorClass::InstitutionError
        | ErrorClass::ItemError
        | ErrorClass::ProductNotAvailable
        | ErrorClass::InvalidRequest
        | ErrorClass::InternalError
        | ErrorClass::UnknownError => failed.action == Action::Revoke,
    }
}

/// Returns whether logging out could reach anybody.
pub(super) fn is_reachable(failed: &Failed) -> bool {
    let answered = failed
        .status
        .is_some_and(|status| status != StatusCode::SERVICE_UNAVAILABLE.as_u16());
    answered && !is_session_gone(failed)
}

fn told(code: &str) -> Option<Told> {
    let (code, message) = match code {
        "INVALID_CREDENTIALS" => (
            "invalid_credentials",
            "The user name or the password is wrong",
        ),
        "ACCOUNT_LOCKED" => (
            "account_locked",
            "The bank has locked the login after too many wrong answers",
        ),
        "CONSENT_REFUSED" => ("consent_refused", "The consent was not given at the bank"),
        "CONSENT_REVOKED" => (
            "consent_revoked",
            "The consent was withdrawn at the bank; connect it again",
        ),
        "SESSION_EXPIRED" => (SESSION_EXPIRED, "The bank has ended the session"),
        "CHALLENGE_PENDING" => (
            "challenge_pending",
            "The bank waits for the answer to a question",
        ),
        "MAINTENANCE" => ("maintenance", "The bank is in maintenance"),
        "INSTITUTION_DOWN" => ("institution_down", "The bank is not available"),
        "TOO_MANY_REQUESTS" => ("too_many_requests", "The bank is asked too often"),
        "DOCUMENT_UNAVAILABLE" => (
            "document_unavailable",
            "The bank could not give out a document",
        ),
        "NOT_FOUND" => ("not_found", "The bank does not have what was asked for"),
        "UNREADABLE" => ("unreadable", "The bank did not understand the request"),
        "WINDOW_TOO_LARGE" => (
            "window_too_large",
            "The bank does not give out that much at once",
        ),
        "TOO_LARGE" => ("too_large", "The request was too large for the bank"),
        _ => return None,
    };
    Some(Told { code, message })
}

#[derive(Deserialize, Default)]
struct Body {
    #[serde(default)]
    error: Refused,
}

#[derive(Deserialize, Default)]
struct Refused {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    code: Option<String>,
}

const SESSION_EXPIRED: &str = "session_expired";
