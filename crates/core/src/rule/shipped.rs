use super::{Action, Matcher, Rule, StatusRange};
use crate::ErrorClass;

/// A rule as it is written down here.
pub(super) struct Shipped {
    name: &'static str,
    error_type: Option<&'static str>,
    error_code: Option<&'static str>,
    status: Option<(u16, u16)>,
    message: Option<&'static str>,
    class: ErrorClass,
}

impl Shipped {
    pub(super) fn rule(&self) -> Rule {
        Rule {
            name: self.name.to_owned(),
            matcher: Matcher {
                error_type: self.error_type.map(str::to_owned),
                error_code: self.error_code.map(str::to_owned),
                status: self.status.map(|(from, to)| StatusRange::Range(from, to)),
                message: self.message.map(str::to_owned),
                ..Matcher::default()
            },
            class: self.class,
            action: Action::Default,
            say: None,
        }
    }
}

const fn exchange(
    name: &'static str,
    (error_type, error_code): (&'static str, Option<&'static str>),
    class: ErrorClass,
) -> Shipped {
    Shipped {
        name,
        error_type: Some(error_type),
        error_code,
        status: None,
        message: None,
        class,
    }
}

const fn status(name: &'static str, from: u16, to: u16, class: ErrorClass) -> Shipped {
    Shipped {
        name,
        error_type: None,
        error_code: None,
        status: Some((from, to)),
        message: None,
        class,
    }
}

const fn worded(
    name: &'static str,
    wanted: u16,
    message: &'static str,
    class: ErrorClass,
) -> Shipped {
    Shipped {
        message: Some(message),
        ..status(name, wanted, wanted, class)
    }
}

/// The exchange itself, then the statuses of HTTP.
pub(super) const HTTP: &[Shipped] = &[
    exchange(
        "address refused",
        ("transport", Some("address_refused")),
        ErrorClass::InvalidRequest,
    ),
    exchange(
        "body too large",
        ("transport", Some("body_too_large")),
        ErrorClass::InstitutionError,
    ),
    exchange(
        "exchange failed",
        ("transport", None),
        ErrorClass::ConnectionFailure,
    ),
    exchange(
        "body unusable",
        ("body", None),
        ErrorClass::InstitutionError,
    ),
    status("throttled", 429, 429, ErrorClass::RateLimitExceeded),
    worded(
        "maintenance",
        503,
        "(?i)maintenance|wartung|scheduled downtime",
        ErrorClass::BankMaintenance,
    ),
    status("server error", 500, 599, ErrorClass::ConnectionFailure),
    status("request timeout", 408, 408, ErrorClass::ConnectionFailure),
    worded(
        "throttled as forbidden",
        403,
        "(?i)rate limit|quota|too many requests",
        ErrorClass::RateLimitExceeded,
    ),
    status("unauthorized", 401, 401, ErrorClass::AuthenticationError),
    status("forbidden", 403, 403, ErrorClass::AuthenticationError),
    status("not found", 404, 404, ErrorClass::ProductNotAvailable),
    status("gone", 410, 410, ErrorClass::ProductNotAvailable),
    status("client error", 400, 499, ErrorClass::InvalidRequest),
    status("redirect", 300, 399, ErrorClass::InvalidRequest),
];
