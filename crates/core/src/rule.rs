//! The rule table: data that maps a failure to a class and an action; the first match wins.

use regex::Regex;
use serde::Deserialize;
use thiserror::Error;

use crate::{ErrorClass, SourceName};

/// What is known of one failed exchange with a source.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// The source that was asked.
    pub source: &'a SourceName,
    /// What was being done, such as `fetch`.
    pub operation: &'a str,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The source's word for the kind of error; `transport` or `body` where the exchange itself failed.
    pub error_type: Option<&'a str>,
    /// The source's error code, or what failed in the exchange, such as `timeout`.
    pub error_code: Option<&'a str>,
    /// The answer's headers, names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The source's message.
    pub message: &'a str,
}

/// What a rule looks at; an absent part matches everything.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matcher {
    /// Only this source.
    pub source: Option<SourceName>,
    /// Only this operation.
    pub operation: Option<String>,
    /// Only this status, or, as two numbers, this inclusive range.
    pub status: Option<StatusRange>,
    /// Only this error type.
    pub error_type: Option<String>,
    /// Only this error code.
    pub error_code: Option<String>,
    /// Only where the answer has this header.
    pub header: Option<String>,
    /// Only where this regular expression is found in the message.
    pub message: Option<String>,
}

/// One status or an inclusive range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum StatusRange {
    /// Exactly this one.
    One(u16),
    /// From the first to the second, both included.
    Range(u16, u16),
}

/// What to do besides what the class says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing beyond the class.
    #[default]
    Default,
    /// The access is revoked and the credentials are purged.
    Revoke,
    /// Nothing is tried until the source sends an event.
    WaitForEvent,
    /// The page loop starts again from its first cursor.
    RestartStream,
    /// The window that is asked for is narrowed.
    NarrowWindow,
    /// The source cannot do this at all.
    Unsupported,
    /// The person acknowledges a notice.
    Notice,
}

/// One row of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What the row is called in logs and statistics.
    pub name: String,
    /// What it looks at.
    #[serde(rename = "match", default)]
    pub matcher: Matcher,
    /// What it says.
    pub class: ErrorClass,
    /// What it does besides.
    #[serde(default)]
    pub action: Action,
}

/// Why a rule was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rule `{rule}`: the message pattern is not a regular expression: {reason}")]
pub struct RuleError {
    /// The rule's name.
    pub rule: String,
    /// What the parser says.
    pub reason: String,
}

/// What the table says of one failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified<'t> {
    /// The class.
    pub class: ErrorClass,
    /// The action besides.
    pub action: Action,
    /// The rule that fired; `None` when none matched.
    pub rule: Option<&'t str>,
}

/// The rules in the order in which they are tried.
#[derive(Debug, Clone)]
pub struct RuleTable {
    rules: Vec<(Rule, Option<Regex>)>,
}

impl RuleTable {
    /// Returns the table that ships: HTTP in general and the exchange itself.
    pub fn shipped() -> Self {
        Self {
            rules: shipped()
                .into_iter()
                .map(|(rule, regex)| (rule, regex.and_then(|r| Regex::new(r).ok())))
                .collect(),
        }
    }

    /// Puts `rules` before those already in the table.
    ///
    /// # Errors
    ///
    /// When a message pattern does not parse; the table is as it was.
    pub fn with_first(mut self, rules: Vec<Rule>) -> Result<Self, RuleError> {
        let mut compiled = Vec::with_capacity(rules.len());
        for rule in rules {
            let regex = rule.matcher.message.as_deref().map(Regex::new).transpose();
            let regex = regex.map_err(|error| RuleError {
                rule: rule.name.clone(),
                reason: error.to_string(),
            })?;
            compiled.push((rule, regex));
        }
        self.rules.splice(0..0, compiled);
        Ok(self)
    }

    /// Returns what the first matching rule says, or `unknown_error`.
    pub fn classify(&self, failure: &Failure<'_>) -> Classified<'_> {
        let hit = self
            .rules
            .iter()
            .find(|(rule, regex)| matches(&rule.matcher, regex.as_ref(), failure));
        hit.map_or(
            Classified {
                class: ErrorClass::UnknownError,
                action: Action::Default,
                rule: None,
            },
            |(rule, _)| Classified {
                class: rule.class,
                action: rule.action,
                rule: Some(&rule.name),
            },
        )
    }
}

fn matches(matcher: &Matcher, message: Option<&Regex>, failure: &Failure<'_>) -> bool {
    let status = |range: &StatusRange| match (*range, failure.status) {
        (StatusRange::One(wanted), Some(status)) => wanted == status,
        (StatusRange::Range(from, to), Some(status)) => (from..=to).contains(&status),
        (StatusRange::One(_) | StatusRange::Range(..), None) => false,
    };
    matcher
        .source
        .as_ref()
        .is_none_or(|source| source == failure.source)
        && matcher
            .operation
            .as_deref()
            .is_none_or(|operation| operation == failure.operation)
        && matcher.status.as_ref().is_none_or(status)
        && matcher.error_type.is_none_or_eq(failure.error_type)
        && matcher.error_code.is_none_or_eq(failure.error_code)
        && matcher
            .header
            .as_deref()
            .is_none_or(|name| failure.headers.iter().any(|(have, _)| *have == name))
        && message.is_none_or(|regex| regex.is_match(failure.message))
}

trait NoneOrEq {
    fn is_none_or_eq(&self, have: Option<&str>) -> bool;
}

impl NoneOrEq for Option<String> {
    fn is_none_or_eq(&self, have: Option<&str>) -> bool {
        self.as_deref().is_none_or(|wanted| have == Some(wanted))
    }
}

fn shipped() -> Vec<(Rule, Option<&'static str>)> {
    let transport = |name: &str, code: Option<&str>, class| {
        let matcher = Matcher {
            error_type: Some("transport".to_owned()),
            error_code: code.map(str::to_owned),
            ..Matcher::default()
        };
        (
            Rule {
                name: name.to_owned(),
                matcher,
                class,
                action: Action::Default,
            },
            None,
        )
    };
    let status = |name: &str, from, to, class| {
        let matcher = Matcher {
            status: Some(StatusRange::Range(from, to)),
            ..Matcher::default()
        };
        (
            Rule {
                name: name.to_owned(),
                matcher,
                class,
                action: Action::Default,
            },
            None,
        )
    };
    let maintenance = "(?i)maintenance|wartung|scheduled downtime";
    let in_maintenance = Matcher {
        status: Some(StatusRange::One(503)),
        message: Some(maintenance.to_owned()),
        ..Matcher::default()
    };
    let body = Matcher {
        error_type: Some("body".to_owned()),
        ..Matcher::default()
    };
    vec![
        transport(
            "address refused",
            Some("address_refused"),
            ErrorClass::InvalidRequest,
        ),
        transport(
            "body too large",
            Some("body_too_large"),
            ErrorClass::InstitutionError,
        ),
        transport("exchange failed", None, ErrorClass::ConnectionFailure),
        (
            Rule {
                name: "body unusable".to_owned(),
                matcher: body,
                class: ErrorClass::InstitutionError,
                action: Action::Default,
            },
            None,
        ),
        status("throttled", 429, 429, ErrorClass::RateLimitExceeded),
        (
            Rule {
                name: "maintenance".to_owned(),
                matcher: in_maintenance,
                class: ErrorClass::BankMaintenance,
                action: Action::Default,
            },
            Some(maintenance),
        ),
        status("server error", 500, 599, ErrorClass::ConnectionFailure),
        status("request timeout", 408, 408, ErrorClass::ConnectionFailure),
        status("unauthorized", 401, 401, ErrorClass::AuthenticationError),
        status("forbidden", 403, 403, ErrorClass::AuthenticationError),
        status("not found", 404, 404, ErrorClass::ProductNotAvailable),
        status("gone", 410, 410, ErrorClass::ProductNotAvailable),
        status("client error", 400, 499, ErrorClass::InvalidRequest),
        status("redirect", 300, 399, ErrorClass::InvalidRequest),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure<'a>(source: &'a SourceName, status: Option<u16>, message: &'a str) -> Failure<'a> {
        Failure {
            source,
            operation: "fetch",
            status,
            error_type: None,
            error_code: None,
            headers: &[],
            message,
        }
    }

    #[test]
    fn shipped_rules_map_http_and_the_exchange_itself() {
        let table = RuleTable::shipped();
        let gas: SourceName = "gas".parse().unwrap();
        let class = |status, message| table.classify(&failure(&gas, Some(status), message)).class;

        assert_eq!(class(500, "#fail"), ErrorClass::ConnectionFailure);
        assert_eq!(
            class(503, "Scheduled maintenance"),
            ErrorClass::BankMaintenance
        );
        assert_eq!(class(503, ""), ErrorClass::ConnectionFailure);
        assert_eq!(class(429, ""), ErrorClass::RateLimitExceeded);
        for (status, expected) in [
            (400, ErrorClass::InvalidRequest),
            (401, ErrorClass::AuthenticationError),
            (403, ErrorClass::AuthenticationError),
            (404, ErrorClass::ProductNotAvailable),
            (410, ErrorClass::ProductNotAvailable),
        ] {
            assert_eq!(class(status, ""), expected);
            assert_eq!(expected.disposition(), crate::Disposition::Stop);
        }
        let timeout = Failure {
            error_type: Some("transport"),
            error_code: Some("timeout"),
            ..failure(&gas, None, "")
        };
        assert_eq!(
            table.classify(&timeout).class,
            ErrorClass::ConnectionFailure
        );
        let not_json = Failure {
            error_type: Some("body"),
            error_code: Some("body_not_json"),
            ..failure(&gas, Some(200), "")
        };
        assert_eq!(
            table.classify(&not_json).class,
            ErrorClass::InstitutionError
        );
        assert_eq!(table.classify(&failure(&gas, None, "")).rule, None);
    }

    #[test]
    fn added_rules_come_first_and_a_bad_pattern_is_named() {
        let gas: SourceName = "gas".parse().unwrap();
        let rule = |message: &str| Rule {
            name: "quota".to_owned(),
            matcher: Matcher {
                source: Some(gas.clone()),
                message: Some(message.to_owned()),
                ..Matcher::default()
            },
            class: ErrorClass::RateLimitExceeded,
            action: Action::WaitForEvent,
        };
        let table = RuleTable::shipped()
            .with_first(vec![rule("daily .* exceeded")])
            .unwrap();

        let hit = table.classify(&failure(&gas, Some(400), "daily quota exceeded"));
        assert_eq!(
            (hit.class, hit.action, hit.rule),
            (
                ErrorClass::RateLimitExceeded,
                Action::WaitForEvent,
                Some("quota")
            )
        );
        let other: SourceName = "internet".parse().unwrap();
        assert_eq!(
            table
                .classify(&failure(&other, Some(400), "daily quota exceeded"))
                .class,
            ErrorClass::InvalidRequest
        );
        assert_eq!(
            RuleTable::shipped()
                .with_first(vec![rule("(")])
                .unwrap_err()
                .rule,
            "quota"
        );
    }
}
