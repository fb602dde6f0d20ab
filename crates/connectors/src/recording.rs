//! A recorded response, from a file, and what the rules say of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{MessageFormatter, Options, UserMessageFormatter};
use thiserror::Error;
use wellspring_core::{
    Action, ErrorClass, ErrorModel, Failure, RuleTable, SourceName, Unclassified, Until,
};

use crate::Native;
use crate::failure::{Answer, BODY_NOT_JSON, Body, unclassified};

/// What a source answered once, or that it did not.
///
/// Written as YAML with the keys below, or as the text of an HTTP answer as `curl -i` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// Whose words the answer uses, where the source does not say.
    #[serde(default)]
    pub errors: Option<ErrorModel>,
    /// What was being done.
    #[serde(default = "fetch")]
    pub operation: String,
    /// The status of the answer.
    #[serde(default)]
    pub status: Option<u16>,
    /// What kept the answer away instead, such as `timeout`.
    #[serde(default)]
    pub no_answer: Option<String>,
    /// The headers of the answer.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body of the answer.
    #[serde(default)]
    pub body: String,
    /// What is wrong with an answer whose status is good, such as `document_truncated`; without it
    /// such an answer is one that is no JSON.
    #[serde(default)]
    pub unusable: Option<String>,
    /// What the rules should say of it, where it is a test.
    #[serde(default)]
    pub expect: Option<Expected>,
}

/// What the rules should say of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The rule that fires.
    pub rule: String,
    /// Its class.
    pub class: ErrorClass,
    /// Its action.
    #[serde(default)]
    pub action: Action,
    /// When the source takes calls again by the rule.
    #[serde(default)]
    pub until: Option<Until>,
}

/// What the rules say of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The rule that fired; `None` when none matched.
    pub rule: Option<String>,
    /// The class.
    pub class: ErrorClass,
    /// What follows besides.
    pub action: Action,
    /// When the source takes calls again, where its answer does not say.
    pub until: Option<Until>,
    /// What people are told, where the rule says something.
    pub say: Option<String>,
    /// What would be kept where no rule matched.
    pub unclassified: Option<Unclassified>,
}

/// Why a text is no recording.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{reason}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct RecordingError {
    /// Where, counted from 1.
    pub line: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// When it is neither form, or tells of no failure.
    pub fn parse(text: &str) -> Result<Self, RecordingError> {
        let recording = if text.starts_with("HTTP/") {
            from_http(text)?
        } else {
            from_yaml(text)?
        };
        match (recording.status, &recording.no_answer) {
            (None, None) => Err(wrong(
                "`status` is missing, or `no_answer` if there was none",
            )),
            (Some(_), Some(_)) => Err(wrong(
                "there is a `status` and `no_answer`; keep one of them",
            )),
            (Some(status), None) if !(100..=999).contains(&status) => Err(wrong(format!(
                "`status` {status} is none of HTTP, which are 100 to 999"
            ))),
            (Some(_) | None, _) if recording.unusable.is_some() && !recording.is_success() => {
                Err(wrong("`unusable` is for an answer whose `status` is good"))
            }
            (Some(_), None) if recording.unusable.is_none() && recording.is_good() => Err(wrong(
                "this answer is no failure: its status is good and its body is JSON",
            )),
            (Some(_), None) | (None, Some(_)) => Ok(recording),
        }
    }

    fn is_good(&self) -> bool {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&self.body).is_ok();
        self.is_success() && is_json
    }

    fn is_success(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }

    /// Asks the rules; where a connector has words of its own for refusals it reads them.
    pub fn classify(
        &self,
        source: &SourceName,
        rules: &RuleTable,
        native: Option<&dyn Native>,
    ) -> Verdict {
        let lower: Vec<(String, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
            .collect();
        let headers: Vec<(&str, &str)> = lower
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let (classified, unclassified) = match self.status {
            Some(status) => {
                let answer = Answer {
                    operation: &self.operation,
                    status,
                    headers: &headers,
                    body: self.body.as_bytes(),
                };
                let unusable = self.unusable.as_deref().unwrap_or(BODY_NOT_JSON);
                let words = native.map(|native| native.words(answer.body));
                let words = words.unwrap_or_default();
                let types = if self.is_success() {
                    (Some("body"), Some(unusable))
                } else {
                    (words.error_type.as_deref(), words.error_code.as_deref())
                };
                answer.classify(source, rules, types, &Body::read(answer.body))
            }
            None => {
                let failure = Failure {
                    source,
                    operation: &self.operation,
                    status: None,
                    error_type: Some("transport"),
                    error_code: self.no_answer.as_deref(),
                    error_code_reason: None,
                    headers: &[],
                    message: "",
                };
                let classified = rules.classify(&failure);
                let kept = unclassified(&classified, &failure, "");
                (classified, kept)
            }
        };
        Verdict {
            rule: classified.rule.map(str::to_owned),
            class: classified.class,
            action: classified.action,
            until: classified.until.cloned(),
            say: classified.say.map(str::to_owned),
            unclassified: unclassified.map(|kept| *kept),
        }
    }
}

fn from_yaml(text: &str) -> Result<Recording, RecordingError> {
    let options: Options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| RecordingError {
        line: error.location().map(|location| location.line()),
        reason: UserMessageFormatter.format_message(&error).into_owned(),
    })
}

/// Reads what `curl -i` prints; of several answers, such as redirects, the last counts.
fn from_http(text: &str) -> Result<Recording, RecordingError> {
    let text = text.replace("\r\n", "\n");
    let mut rest = text.as_str();
    let mut line = 1;
    loop {
        let (head, body) = rest
            .split_once("\n\n")
            .unwrap_or_else(|| (rest.trim_end(), ""));
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let status = first
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok());
        let Some(status) = status else {
            let reason = "must be like `HTTP/1.1 503 Service Unavailable`".to_owned();
            return Err(RecordingError {
                line: Some(line),
                reason,
            });
        };
        let mut headers = BTreeMap::new();
        for (offset, header) in (1..).zip(lines) {
            let Some((name, value)) = header.split_once(':') else {
                let reason = "must be a header, `Name: value`, or an empty line before the body";
                return Err(RecordingError {
                    line: Some(line + offset),
                    reason: reason.to_owned(),
                });
            };
            headers.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        if body.starts_with("HTTP/") {
            line += u64::try_from(head.lines().count()).unwrap_or_default() + 1;
            rest = body;
            continue;
        }
        return Ok(Recording {
            errors: None,
            operation: fetch(),
            status: Some(status),
            no_answer: None,
            headers,
            body: body.to_owned(),
            unusable: None,
            expect: None,
        });
    }
}

fn wrong(reason: impl Into<String>) -> RecordingError {
    RecordingError {
        line: None,
        reason: reason.into(),
    }
}

fn fetch() -> String {
    "fetch".to_owned()
}

#[cfg(test)]
mod tests;
