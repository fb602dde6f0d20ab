//! The rule table: data that maps a failure to a class and an action; the first match wins.

mod action;
mod index;
mod model;
mod plaid;
mod shipped;
mod unclassified;
mod until;

use regex::{Regex, RegexSet, RegexSetBuilder, SetMatches};
use serde::Deserialize;
use thiserror::Error;

pub use action::Action;
pub use model::ErrorModel;
pub use unclassified::Unclassified;
pub use until::Until;

use crate::{ErrorClass, SourceName};
use index::Index;

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
    /// What the source gives as the reason of the code.
    pub error_code_reason: Option<&'a str>,
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
    /// Only this reason of the code.
    pub error_code_reason: Option<String>,
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
    /// When the source takes calls again, where its answer does not say; for classes that wait.
    #[serde(default)]
    pub until: Option<Until>,
    /// What people are told, instead of the status.
    #[serde(default)]
    pub say: Option<String>,
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
#[derive(Debug, Clone, Copy)]
pub struct Classified<'t> {
    /// The class.
    pub class: ErrorClass,
    /// The action besides.
    pub action: Action,
    /// When the source takes calls again, where its answer does not say.
    pub until: Option<&'t Until>,
    /// The rule that fired; `None` when none matched.
    pub rule: Option<&'t str>,
    /// What people are told, where the rule says something.
    pub say: Option<&'t str>,
    /// The error code that the rule names, which is thereby a known word and no data.
    pub code: Option<&'t str>,
}

/// The rules in the order in which they are tried.
///
/// The first match wins, however it is found: rules are looked up by code, type and status, and
/// only message patterns that may decide are run.
#[derive(Debug, Clone)]
pub struct RuleTable {
    rules: Vec<Row>,
    index: Index,
    /// All patterns at once, where there are many.
    patterns: Option<RegexSet>,
}

#[derive(Debug, Clone)]
struct Row {
    rule: Rule,
    pattern: Option<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    regex: Regex,
    /// Where it stands among all patterns.
    place: usize,
}

impl RuleTable {
    /// Returns the table that ships: HTTP in general and the exchange itself.
    pub fn shipped() -> Self {
        Self::of(ErrorModel::Http)
    }

    /// Returns the table that ships for sources of this error model: its own rules, then those for
    /// HTTP in general.
    pub fn of(model: ErrorModel) -> Self {
        let rows = model.rules().into_iter().map(|rule| {
            let regex = rule.matcher.message.as_deref().map(Regex::new);
            (rule, regex.and_then(Result::ok))
        });
        Self::build(rows.collect())
    }

    /// Puts `rules` before those already in the table.
    ///
    /// # Errors
    ///
    /// When a message pattern does not parse; the table is as it was.
    pub fn with_first(self, rules: Vec<Rule>) -> Result<Self, RuleError> {
        let mut rows = Vec::with_capacity(rules.len().saturating_add(self.rules.len()));
        for rule in rules {
            let regex = rule.matcher.message.as_deref().map(Regex::new).transpose();
            let regex = regex.map_err(|error| RuleError {
                rule: rule.name.clone(),
                reason: error.to_string(),
            })?;
            rows.push((rule, regex));
        }
        let old = self.rules.into_iter();
        rows.extend(old.map(|row| (row.rule, row.pattern.map(|pattern| pattern.regex))));
        Ok(Self::build(rows))
    }

    fn build(rows: Vec<(Rule, Option<Regex>)>) -> Self {
        let mut texts: Vec<String> = Vec::new();
        let rules: Vec<Row> = rows
            .into_iter()
            .map(|(rule, regex)| {
                let pattern = regex.map(|regex| {
                    let place = texts.len();
                    texts.push(regex.as_str().to_owned());
                    Pattern { regex, place }
                });
                Row { rule, pattern }
            })
            .collect();
        let patterns = (texts.len() > TRIED_SINGLY).then(|| {
            RegexSetBuilder::new(&texts)
                .size_limit(SET_SIZE)
                .dfa_size_limit(SET_CACHE)
                .build()
                .ok()
        });
        Self {
            index: Index::new(rules.iter().map(|row| &row.rule.matcher)),
            rules,
            patterns: patterns.flatten(),
        }
    }

    /// Iterates over the rules in the order in which they are tried.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|row| &row.rule)
    }

    /// Returns what the first matching rule says, or `unknown_error`.
    pub fn classify(&self, failure: &Failure<'_>) -> Classified<'_> {
        let mut matched = Matched::default();
        let hit = self
            .index
            .candidates(failure)
            .filter_map(|place| self.rules.get(place))
            .find(|row| {
                matches(&row.rule.matcher, failure)
                    && row
                        .pattern
                        .as_ref()
                        .is_none_or(|pattern| matched.is_found(self, pattern, failure.message))
            });
        hit.map_or(NOTHING_KNOWN, |Row { rule, .. }| Classified {
            class: rule.class,
            action: rule.action,
            until: rule.until.as_ref(),
            rule: Some(&rule.name),
            say: rule.say.as_deref(),
            code: rule.matcher.error_code.as_deref(),
        })
    }

    /// Returns what [`RuleTable::classify`] does by trying one rule after the other: what the
    /// look-up has to agree with.
    pub fn classify_in_order(&self, failure: &Failure<'_>) -> Option<&Rule> {
        let hit = self.rules.iter().find(|Row { rule, pattern }| {
            let found = |pattern: &Pattern| pattern.regex.is_match(failure.message);
            matches(&rule.matcher, failure) && pattern.as_ref().is_none_or(found)
        });
        hit.map(|row| &row.rule)
    }
}

/// Which patterns a message has, as far as anybody asked.
#[derive(Default)]
struct Matched {
    tried: usize,
    all: Option<SetMatches>,
}

impl Matched {
    fn is_found(&mut self, table: &RuleTable, pattern: &Pattern, message: &str) -> bool {
        let Some(patterns) = table
            .patterns
            .as_ref()
            .filter(|_| self.tried >= TRIED_SINGLY)
        else {
            self.tried = self.tried.saturating_add(1);
            return pattern.regex.is_match(message);
        };
        let all = self.all.get_or_insert_with(|| patterns.matches(message));
        all.matched(pattern.place)
    }
}

impl StatusRange {
    fn contains(self, status: u16) -> bool {
        match self {
            Self::One(wanted) => wanted == status,
            Self::Range(from, to) => (from..=to).contains(&status),
        }
    }
}

/// Returns whether all but the pattern matches.
fn matches(matcher: &Matcher, failure: &Failure<'_>) -> bool {
    fn is(wanted: Option<&str>, have: Option<&str>) -> bool {
        wanted.is_none_or(|wanted| have == Some(wanted))
    }
    let Matcher {
        source,
        operation,
        status,
        error_type,
        error_code,
        error_code_reason,
        header,
        message: _,
    } = matcher;
    source.as_ref().is_none_or(|name| name == failure.source)
        && is(operation.as_deref(), Some(failure.operation))
        && status.is_none_or(|range| failure.status.is_some_and(|have| range.contains(have)))
        && is(error_type.as_deref(), failure.error_type)
        && is(error_code.as_deref(), failure.error_code)
        && is(error_code_reason.as_deref(), failure.error_code_reason)
        && header
            .as_deref()
            .is_none_or(|name| failure.headers.iter().any(|(have, _)| *have == name))
}

const NOTHING_KNOWN: Classified<'_> = Classified {
    class: ErrorClass::UnknownError,
    action: Action::Default,
    until: None,
    rule: None,
    say: None,
    code: None,
};
/// How many patterns are tried one by one before all are tried at once.
const TRIED_SINGLY: usize = 4;
/// The most that all patterns of a table may take together, in bytes; with more they are tried singly.
const SET_SIZE: usize = 64 << 20;
/// What the search for all patterns may keep of its work, in bytes.
const SET_CACHE: usize = 32 << 20;

#[cfg(test)]
mod tests;
