//! From what went wrong to a class, a code and a sentence.

use std::borrow::Cow;

use http::StatusCode;
use http::header::RETRY_AFTER;
use wellspring_core::{
    Action, Classified, Error, ErrorClass, Failure, RuleTable, SourceName, Timestamp, Unclassified,
    budget, retry_after,
};
use wellspring_outbound::{Response, SendError};

use crate::SourceConfig;

mod body;

pub(crate) use body::Body;

/// Why a call brought nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// Class, code and message; nothing of it is the source's own text.
    pub error: Error,
    /// What the rule wants besides what the class says.
    pub action: Action,
    /// The source's own word for when to come back.
    pub retry_at: Option<Timestamp>,
    /// The status of the answer, where there was one.
    pub status: Option<u16>,
    /// The rule that gave the class.
    pub rule: Option<Box<str>>,
    /// What the client said, for operators only.
    pub detail: Option<Box<str>>,
    /// What is kept of it where no rule matched.
    pub unclassified: Option<Box<Unclassified>>,
}

/// What a refusal says of itself, as far as the connector could read it.
///
/// The rules look at it; the failure holds the code and the sentence and nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// The source's word for the kind of error.
    pub error_type: Option<&'a str>,
    /// The source's error code.
    pub error_code: Option<&'a str>,
    /// What the failure is called and what people are told, instead of the status.
    pub told: Option<Told>,
}

/// The code of an error and its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The stable code.
    pub code: &'static str,
    /// One sentence, fit for a person.
    pub message: &'static str,
}

impl Failed {
    /// Makes a failure of which no call is the cause, so that no rule is asked.
    pub fn new(class: ErrorClass, code: &str, message: impl Into<String>) -> Self {
        Self {
            error: Error {
                class,
                code: code.to_owned(),
                message: message.into(),
            },
            action: Action::Default,
            retry_at: None,
            status: None,
            rule: None,
            detail: None,
            unclassified: None,
        }
    }

    /// Classifies an exchange that brought no complete answer.
    pub(crate) fn no_answer(source: &SourceConfig, operation: &str, error: &SendError) -> Self {
        let detail = error.to_string();
        let failure = Failure {
            source: &source.name,
            operation,
            status: None,
            error_type: Some("transport"),
            error_code: Some(error.code()),
            error_code_reason: None,
            headers: &[],
            message: &detail,
        };
        let classified = source.rules.classify(&failure);
        let failed = Self {
            action: classified.action,
            rule: classified.rule.map(Box::from),
            unclassified: unclassified(&classified, &failure, error.code()),
            ..Self::new(classified.class, error.code(), sentence(error))
        };
        Self {
            detail: Some(detail.into()),
            ..failed
        }
    }

    /// Classifies an answer that refuses.
    pub(crate) fn refused(
        source: &SourceConfig,
        operation: &str,
        response: &Response,
        now: Timestamp,
        said: &Said<'_>,
    ) -> Self {
        let status = response.status;
        let told = match said.told {
            Some(told) => (told.code.to_owned(), told.message.to_owned(), false),
            None => {
                let code = format!("http_{}", status.as_u16());
                let message = format!("the source answered {}", named(status));
                (code, message, true)
            }
        };
        let types = (said.error_type, said.error_code);
        Self::answered(source, operation, response, now, types, told)
    }

    /// Classifies an answer whose status is good and whose body is not.
    ///
    /// `lack` says what is wrong with it, such as `without JSON`.
    pub(crate) fn unusable(
        source: &SourceConfig,
        operation: &str,
        response: &Response,
        now: Timestamp,
        (code, lack): (&'static str, &str),
    ) -> Self {
        let message = format!("the source answered {} {lack}", named(response.status));
        let types = (Some("body"), Some(code));
        let told = (code.to_owned(), message, false);
        Self::answered(source, operation, response, now, types, told)
    }

    fn answered(
        source: &SourceConfig,
        operation: &str,
        response: &Response,
        now: Timestamp,
        (error_type, error_code): (Option<&str>, Option<&str>),
        (code, message, may_rule_tell): (String, String, bool),
    ) -> Self {
        let headers: Vec<(&str, &str)> = response
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()))
            .collect();
        let answer = Answer {
            operation,
            status: response.status.as_u16(),
            headers: &headers,
            body: &response.body,
        };
        let said = Body::read(&response.body);
        let (classified, unclassified) =
            answer.classify(&source.name, &source.rules, (error_type, error_code), &said);
        let known = may_rule_tell.then_some((classified.code, classified.say));
        let (code, message) = match known {
            Some((known, say)) => (
                known.map_or(code, str::to_ascii_lowercase),
                say.map_or(message, str::to_owned),
            ),
            None => (code, message),
        };
        let mut retry_at = response
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, now));
        if classified.class == ErrorClass::RateLimitExceeded {
            retry_at = retry_at.or_else(|| budget::free_at(&headers, now));
        }
        retry_at = retry_at.or_else(|| classified.until.and_then(|until| until.moment(now)));
        Self {
            action: classified.action,
            retry_at,
            status: Some(response.status.as_u16()),
            rule: classified.rule.map(Box::from),
            unclassified,
            ..Self::new(classified.class, &code, message)
        }
    }
}

/// An answer that is not what was wanted, as rules look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) operation: &'a str,
    pub(crate) status: u16,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// Asks the rules; what the connector has read of the answer wins over what the body says of
    /// itself in the common form.
    pub(crate) fn classify<'t>(
        &self,
        source: &SourceName,
        rules: &'t RuleTable,
        (error_type, error_code): (Option<&str>, Option<&str>),
        said: &Body,
    ) -> (Classified<'t>, Option<Box<Unclassified>>) {
        let is_read = error_type.is_some() || error_code.is_some();
        let own = |word: &'_ Option<String>| word.clone().filter(|_| !is_read);
        let (kind, code) = (own(&said.error_type), own(&said.error_code));
        let reason = own(&said.error_code_reason);
        let start = start_of(self.body);
        let message = match &said.error_message {
            Some(message) if kind.is_some() || code.is_some() => message,
            Some(_) | None => start.as_ref(),
        };
        let failure = Failure {
            source,
            operation: self.operation,
            status: Some(self.status),
            error_type: error_type.or(kind.as_deref()),
            error_code: error_code.or(code.as_deref()),
            error_code_reason: reason.as_deref(),
            headers: self.headers,
            message,
        };
        let classified = rules.classify(&failure);
        let told = said.told().unwrap_or(&start);
        (classified, unclassified(&classified, &failure, told))
    }
}

pub(crate) fn unclassified(
    classified: &Classified<'_>,
    failure: &Failure<'_>,
    message: &str,
) -> Option<Box<Unclassified>> {
    let is_unknown = classified.rule.is_none();
    is_unknown.then(|| Box::new(Unclassified::new(failure, message)))
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

/// Returns as much of a body as rules are tried on.
fn start_of(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body.get(..MATCHED_BODY).unwrap_or(body))
}

/// The code of an answer that should have been JSON.
pub(crate) const BODY_NOT_JSON: &str = "body_not_json";
const MATCHED_BODY: usize = 2 * 1024;

#[cfg(test)]
mod tests;
