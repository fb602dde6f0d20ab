//! The closed set of things that go wrong at a source.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::RetryPolicy;

/// What a failure at a source means; every failure is mapped to exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Network errors, timeouts, plain 5xx.
    ConnectionFailure,
    /// The source is in maintenance.
    BankMaintenance,
    /// The source throttles.
    RateLimitExceeded,
    /// The institution behind the source is at fault.
    InstitutionError,
    /// This one link to the source is at fault.
    ItemError,
    /// The credentials or the consent no longer work.
    AuthenticationError,
    /// The source does not have what was asked for.
    ProductNotAvailable,
    /// Our request was wrong.
    InvalidRequest,
    /// We failed.
    InternalError,
    /// No rule matched.
    UnknownError,
}

/// What follows from an error class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Try again, and count it.
    Retry,
    /// Try again later without counting it: nobody failed.
    Wait,
    /// Stop: trying again changes nothing.
    Stop,
}

impl ErrorClass {
    /// Every class, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::ConnectionFailure,
        Self::BankMaintenance,
        Self::RateLimitExceeded,
        Self::InstitutionError,
        Self::ItemError,
        Self::AuthenticationError,
        Self::ProductNotAvailable,
        Self::InvalidRequest,
        Self::InternalError,
        Self::UnknownError,
    ];

    /// Returns the name used in configuration, API, tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionFailure => "connection_failure",
            Self::BankMaintenance => "bank_maintenance",
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::InstitutionError => "institution_error",
            Self::ItemError => "item_error",
            Self::AuthenticationError => "authentication_error",
            Self::ProductNotAvailable => "product_not_available",
            Self::InvalidRequest => "invalid_request",
            Self::InternalError => "internal_error",
            Self::UnknownError => "unknown_error",
        }
    }

    /// Returns what follows from a failure of this class.
    pub const fn disposition(self) -> Disposition {
        match self {
            Self::ConnectionFailure
            | Self::InstitutionError
            | Self::ItemError
            | Self::UnknownError => Disposition::Retry,
            Self::BankMaintenance | Self::RateLimitExceeded => Disposition::Wait,
            Self::AuthenticationError
            | Self::ProductNotAvailable
            | Self::InvalidRequest
            | Self::InternalError => Disposition::Stop,
        }
    }

    /// Returns whether the connection is neither at fault nor unfit for its next scheduled fetch:
    /// our own faults, and what the source does not have.
    pub const fn spares_the_connection(self) -> bool {
        match self {
            Self::ProductNotAvailable | Self::InvalidRequest | Self::InternalError => true,
            Self::ConnectionFailure
            | Self::BankMaintenance
            | Self::RateLimitExceeded
            | Self::InstitutionError
            | Self::ItemError
            | Self::AuthenticationError
            | Self::UnknownError => false,
        }
    }

    /// Returns how attempts inside one fetch are retried; `None` where they are not.
    pub const fn policy(self) -> Option<RetryPolicy> {
        let (max_retries, base, cap, factor, jitter) = match self {
            Self::ConnectionFailure => (5, 1, 60, 2.0, true),
            Self::BankMaintenance => (10, 300, 3_600, 2.0, true),
            Self::RateLimitExceeded => (3, 60, 300, 1.5, false),
            Self::InstitutionError => (3, 30, 300, 2.0, true),
            Self::ItemError => (2, 60, 600, 2.0, true),
            Self::UnknownError => (3, 30, 600, 2.0, true),
            Self::AuthenticationError
            | Self::ProductNotAvailable
            | Self::InvalidRequest
            | Self::InternalError => return None,
        };
        Some(RetryPolicy {
            base: Duration::from_secs(base),
            factor,
            cap: Duration::from_secs(cap),
            max_retries,
            jitter,
        })
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|class| class.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is not an error class"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_only_retried_classes_have_a_policy() {
        for class in ErrorClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
            assert_eq!(
                class.policy().is_none(),
                class.disposition() == Disposition::Stop
            );
        }
        assert!("broken".parse::<ErrorClass>().is_err());
    }
}
