use jiff::tz::TimeZone;

use super::{Action, Matcher, Rule, StatusRange, Until};
use crate::ErrorClass;

/// A rule as it is written down here.
pub(super) struct Shipped {
    name: &'static str,
    error_type: Option<&'static str>,
    error_code: Option<&'static str>,
    status: Option<(u16, u16)>,
    message: Option<&'static str>,
    class: ErrorClass,
    next_day: bool,
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
            until: self.next_day.then_some(Until::NextDay(TimeZone::UTC)),
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
        next_day: false,
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
        next_day: false,
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

/// A refusal that speaks of a quota of a day.
const fn daily(name: &'static str, wanted: u16, message: &'static str) -> Shipped {
    Shipped {
        next_day: true,
        ..worded(name, wanted, message, ErrorClass::RateLimitExceeded)
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
    daily(
        "daily quota",
        429,
        "(?i)daily|per day|a day|24 hours|24h|pro tag|täglich|accesses exceeded for consent",
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
    daily(
        "daily quota as forbidden",
        403,
        "(?is)(daily|per day|a day|24 hours|24h|pro tag|täglich).*(rate limit|quota|too many requests)\
         |(rate limit|quota|too many requests).*(daily|per day|a day|24 hours|24h|pro tag|täglich)",
    ),
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
