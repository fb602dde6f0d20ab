use super::{Action, Matcher, Rule};
use crate::ErrorClass::{
    self, AuthenticationError, BankMaintenance, ConnectionFailure, InstitutionError,
    InvalidRequest, ItemError, ProductNotAvailable, RateLimitExceeded,
};
use crate::interaction::Code;

/// Returns the rules for Plaid's errors: by code and its reason, by code, then by type.
///
/// Codes are told apart by themselves; types only catch codes that are not listed. The HTTP status
/// says nothing, and neither do messages, which Plaid may change at any time.
pub(super) fn rules() -> Vec<Rule> {
    let reasons = REASONS.iter().map(|(code, reason, class, action, say)| {
        let matcher = Matcher {
            error_code: Some((*code).to_owned()),
            error_code_reason: Some((*reason).to_owned()),
            ..Matcher::default()
        };
        rule(&format!("{code} {reason}"), matcher, *class, (*action, say))
    });
    let codes = CODES.iter().map(|(code, class, action, say)| {
        let matcher = Matcher {
            error_code: Some((*code).to_owned()),
            ..Matcher::default()
        };
        rule(code, matcher, *class, (*action, say))
    });
    let types = TYPES.iter().map(|(kind, class, action, say)| {
        let matcher = Matcher {
            error_type: Some((*kind).to_owned()),
            ..Matcher::default()
        };
        rule(&format!("type {kind}"), matcher, *class, (*action, say))
    });
    reasons.chain(codes).chain(types).collect()
}

fn rule(name: &str, matcher: Matcher, class: ErrorClass, told: (Action, &str)) -> Rule {
    Rule {
        name: format!("plaid: {name}"),
        matcher,
        class,
        action: told.0,
        until: None,
        say: Some(told.1.to_owned()),
    }
}

type ByReason = (&'static str, &'static str, ErrorClass, Action, &'static str);
type ByWord = (&'static str, ErrorClass, Action, &'static str);

const REASONS: &[ByReason] = &[
    (
        "ITEM_LOGIN_REQUIRED",
        "OAUTH_USER_REVOKED",
        AuthenticationError,
        Action::Revoke,
        "The consent was withdrawn at the bank; connect it again",
    ),
    (
        "ITEM_LOGIN_REQUIRED",
        "OAUTH_CONSENT_EXPIRED",
        AuthenticationError,
        Action::Default,
        "The consent given to the bank has expired; give it again",
    ),
    (
        "ITEM_LOGIN_REQUIRED",
        "OAUTH_INVALID_TOKEN",
        AuthenticationError,
        Action::Default,
        "The bank no longer accepts the access it gave; log in again",
    ),
];

const CODES: &[ByWord] = &[
    (
        "ITEM_LOGIN_REQUIRED",
        AuthenticationError,
        Action::Default,
        "The bank wants you to log in again",
    ),
    (
        "INVALID_CREDENTIALS",
        AuthenticationError,
        Action::Default,
        "The bank does not accept the login",
    ),
    (
        "INVALID_MFA",
        AuthenticationError,
        Action::Default,
        "The bank did not accept the answer to its question",
    ),
    (
        "INVALID_OTP",
        AuthenticationError,
        Action::Default,
        "The bank did not accept the one-time code",
    ),
    (
        "INSUFFICIENT_CREDENTIALS",
        AuthenticationError,
        Action::Default,
        "The login at the bank was not completed",
    ),
    (
        "PASSWORD_RESET_REQUIRED",
        AuthenticationError,
        Action::Default,
        "The bank wants a new password; set it there, then log in again",
    ),
    (
        "INVALID_UPDATED_USERNAME",
        AuthenticationError,
        Action::Default,
        "The new user name belongs to another login; use the one the connection was made with",
    ),
    (
        "ACCESS_NOT_GRANTED",
        AuthenticationError,
        Action::Default,
        "The bank was not allowed to share what is needed; agree to it again",
    ),
    (
        "ADDITIONAL_CONSENT_REQUIRED",
        AuthenticationError,
        Action::Default,
        "The bank needs your agreement to share more data",
    ),
    (
        "ITEM_LOCKED",
        ItemError,
        Action::Notice(Code::LockedOut),
        "The bank has locked the account; unlock it there",
    ),
    (
        "USER_SETUP_REQUIRED",
        ItemError,
        Action::Notice(Code::SetUpAccount),
        "Something is to be set up or accepted at the bank first",
    ),
    (
        "MANUAL_VERIFICATION_REQUIRED",
        ItemError,
        Action::Notice(Code::UserActionRequired),
        "The bank wants the account verified there by hand",
    ),
    (
        "USER_INPUT_TIMEOUT",
        ItemError,
        Action::Notice(Code::Retry),
        "The bank did not get its answer in time; try again",
    ),
    (
        "USER_PERMISSION_REVOKED",
        AuthenticationError,
        Action::Revoke,
        "The permission was withdrawn; connect the bank again",
    ),
    (
        "ITEM_NOT_FOUND",
        AuthenticationError,
        Action::Revoke,
        "The connection no longer exists at the provider; connect the bank again",
    ),
    (
        "ITEM_CONCURRENTLY_DELETED",
        AuthenticationError,
        Action::Revoke,
        "The connection was deleted at the provider; connect the bank again",
    ),
    (
        "INVALID_ACCESS_TOKEN",
        AuthenticationError,
        Action::Revoke,
        "The access to the bank is no longer known at the provider; connect it again",
    ),
    (
        "INSTITUTION_DOWN",
        InstitutionError,
        Action::Default,
        "The bank is down",
    ),
    (
        "INSTITUTION_NOT_RESPONDING",
        InstitutionError,
        Action::Default,
        "The bank does not respond",
    ),
    (
        "INSTITUTION_NOT_AVAILABLE",
        InstitutionError,
        Action::Default,
        "The bank is not available",
    ),
    (
        "PLANNED_MAINTENANCE",
        BankMaintenance,
        Action::Default,
        "The provider is in planned maintenance",
    ),
    (
        "INTERNAL_SERVER_ERROR",
        ConnectionFailure,
        Action::Default,
        "The provider had an internal error",
    ),
    (
        "TRANSACTIONS_SYNC_LIMIT",
        RateLimitExceeded,
        Action::Default,
        "The provider says that transactions are asked for too often",
    ),
    (
        "TRANSACTIONS_LIMIT",
        RateLimitExceeded,
        Action::Default,
        "The provider says that transactions are asked for too often",
    ),
    (
        "ACCOUNTS_LIMIT",
        RateLimitExceeded,
        Action::Default,
        "The provider says that accounts are asked for too often",
    ),
    (
        "BALANCE_LIMIT",
        RateLimitExceeded,
        Action::Default,
        "The provider says that balances are asked for too often",
    ),
    (
        "ITEM_GET_LIMIT",
        RateLimitExceeded,
        Action::Default,
        "The provider says that the connection is asked for too often",
    ),
    (
        "INSTITUTION_RATE_LIMIT",
        RateLimitExceeded,
        Action::Default,
        "The bank is asked too often",
    ),
    (
        "RATE_LIMIT",
        RateLimitExceeded,
        Action::Default,
        "The provider is asked too often",
    ),
    (
        "CREDITS_EXHAUSTED",
        InvalidRequest,
        Action::Default,
        "The credits with the provider are used up",
    ),
    (
        "PRODUCT_NOT_READY",
        ProductNotAvailable,
        Action::WaitForEvent,
        "The provider is still preparing the data and will say when it is there",
    ),
    (
        "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION",
        InstitutionError,
        Action::RestartStream,
        "The data changed at the provider while it was read",
    ),
    (
        "INSTITUTION_NO_LONGER_SUPPORTED",
        ProductNotAvailable,
        Action::Unsupported,
        "The bank is no longer supported",
    ),
    (
        "PRODUCTS_NOT_SUPPORTED",
        ProductNotAvailable,
        Action::Unsupported,
        "The bank does not offer the data that is wanted",
    ),
    (
        "ITEM_NOT_SUPPORTED",
        ProductNotAvailable,
        Action::Unsupported,
        "This kind of account is not supported at the bank",
    ),
    (
        "MFA_NOT_SUPPORTED",
        ProductNotAvailable,
        Action::Unsupported,
        "The way in which the bank secures the login is not supported",
    ),
    (
        "NO_ACCOUNTS",
        ProductNotAvailable,
        Action::Unsupported,
        "The login has no accounts that can be read",
    ),
    (
        "INVALID_API_KEYS",
        InvalidRequest,
        Action::Default,
        "The provider does not accept the keys of this service",
    ),
    (
        "MISSING_FIELDS",
        InvalidRequest,
        Action::Default,
        "The provider misses something in the request",
    ),
];

const TYPES: &[ByWord] = &[
    (
        "RATE_LIMIT_EXCEEDED",
        RateLimitExceeded,
        Action::Default,
        "The provider is asked too often",
    ),
    (
        "INSTITUTION_ERROR",
        InstitutionError,
        Action::Default,
        "The bank reports an error",
    ),
    (
        "ITEM_ERROR",
        ItemError,
        Action::Default,
        "The connection to the bank reports an error",
    ),
    (
        "API_ERROR",
        ConnectionFailure,
        Action::Default,
        "The provider reports an error",
    ),
    (
        "INVALID_REQUEST",
        InvalidRequest,
        Action::Default,
        "The provider does not accept the request",
    ),
    (
        "INVALID_INPUT",
        InvalidRequest,
        Action::Default,
        "The provider does not accept what was sent",
    ),
    (
        "INVALID_RESULT",
        InstitutionError,
        Action::Default,
        "The provider has no usable data at the moment",
    ),
    (
        "OAUTH_ERROR",
        InvalidRequest,
        Action::Default,
        "The provider does not accept the way back from the bank",
    ),
    (
        "RECAPTCHA_ERROR",
        ItemError,
        Action::Notice(Code::UserActionRequired),
        "The provider wants to see that a person is there",
    ),
    (
        "SANDBOX_ERROR",
        InvalidRequest,
        Action::Default,
        "The provider's sandbox does not accept the request",
    ),
    (
        "PARTNER_ERROR",
        InvalidRequest,
        Action::Default,
        "The provider's partner interface does not accept the request",
    ),
    (
        "TRANSACTIONS_ERROR",
        InstitutionError,
        Action::Default,
        "The provider could not read the transactions",
    ),
];
