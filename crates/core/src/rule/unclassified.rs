use serde::{Deserialize, Serialize};

use super::{Failure, RuleTable};
use crate::SourceName;

/// What is kept of a failure that no rule matched, so that a rule can be written.
///
/// It holds no personal data: of the message only its shape.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unclassified {
    /// The source that was asked.
    pub source: SourceName,
    /// What was being done, such as `fetch`.
    pub operation: String,
    /// The status, where there was an answer.
    pub status: Option<u16>,
    /// The source's word for the kind of error.
    pub error_type: Option<String>,
    /// The source's error code.
    pub error_code: Option<String>,
    /// The message without what differs from one failure to the next.
    pub shape: String,
}

impl Unclassified {
    /// Keeps what may be kept of a failure; `message` is what the source told people.
    pub fn new(failure: &Failure<'_>, message: &str) -> Self {
        Self {
            source: failure.source.clone(),
            operation: failure.operation.to_owned(),
            status: failure.status,
            error_type: failure.error_type.map(word),
            error_code: failure.error_code.map(word),
            shape: shape(message, LONGEST_SHAPE),
        }
    }

    /// Returns the rule that matches failures of this kind, as far as their shape can tell.
    pub fn known_by<'t>(&self, rules: &'t RuleTable) -> Option<&'t str> {
        let failure = Failure {
            source: &self.source,
            operation: &self.operation,
            status: self.status,
            error_type: self.error_type.as_deref(),
            error_code: self.error_code.as_deref(),
            error_code_reason: None,
            headers: &[],
            message: &self.shape,
        };
        rules.classify(&failure).rule
    }

    /// Returns the error code, where nothing of it is masked so that a rule can name it.
    pub fn named_code(&self) -> Option<&str> {
        self.error_code.as_deref().filter(|code| is_word(code))
    }

    /// Returns a regular expression that finds the messages of this kind; `None` without a message.
    pub fn pattern(&self) -> Option<String> {
        let mut pattern = String::new();
        let mut rest = self.shape.as_str();
        while let Some(first) = rest.chars().next() {
            let mask = MASKS.iter().find(|(mask, _)| rest.starts_with(mask));
            let (taken, written) = match mask {
                Some((mask, anything)) => (mask.len(), (*anything).to_owned()),
                None if first == ' ' => (1, r"\s+".to_owned()),
                None => {
                    let one = first.len_utf8();
                    (one, regex::escape(rest.get(..one).unwrap_or_default()))
                }
            };
            pattern.push_str(&written);
            rest = rest.get(taken..).unwrap_or_default();
        }
        (!pattern.is_empty()).then_some(pattern)
    }
}

/// Keeps a source's word for an error: one that is short and has few digits names nobody.
fn word(text: &str) -> String {
    if is_word(text) {
        text.to_owned()
    } else {
        shape(text, LONGEST_WORD)
    }
}

fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':');
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let is_short = (1..=LONGEST_WORD).contains(&text.len());
    is_short && digits <= MOST_DIGITS && text.bytes().all(fits)
}

/// Returns a text with digits, addresses, ids and quoted values masked, at most `longest`
/// characters of it.
fn shape(text: &str, longest: usize) -> String {
    let mut shape = String::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if shape.chars().count() >= longest {
            break;
        }
        if first == '"' {
            let (quoted, behind) = quotation(rest);
            let is_key = behind.trim_start().starts_with(':');
            shape.push_str(if is_key { quoted } else { "\"…\"" });
            rest = behind;
        } else if first.is_whitespace() {
            shape.push(' ');
            rest = rest.trim_start();
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '"');
            let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
            shape.push_str(&masked(word));
            rest = behind;
        }
    }
    shape.trim_end().chars().take(longest).collect()
}

/// Splits off a quotation, its marks included; without an end it is the whole text.
fn quotation(text: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return text.split_at(at.saturating_add(1)),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    (text, "")
}

fn masked(word: &str) -> String {
    if word.contains('@') {
        return "<address>".to_owned();
    }
    if word.contains("://") {
        return "<url>".to_owned();
    }
    let mut shape = String::new();
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    for piece in word.split_inclusive(|c: char| !is_part(c)) {
        let core = piece.trim_end_matches(|c: char| !is_part(c));
        let behind = piece.get(core.len()..).unwrap_or_default();
        let digits = core.chars().filter(char::is_ascii_digit).count();
        let letters = core.chars().filter(|c| c.is_alphabetic()).count();
        if digits > 0 && (letters == 0 || digits > 1) || core.chars().count() > LONGEST_WORD {
            shape.push('#');
        } else {
            shape.extend(core.chars().map(|c| if c.is_numeric() { '#' } else { c }));
        }
        shape.push_str(behind);
    }
    shape
}

/// How what differs is written in a shape, and what stands for it in a pattern.
const MASKS: [(&str, &str); 4] = [
    ("\"…\"", r#""[^"]*""#),
    ("<address>", r"\S+"),
    ("<url>", r"\S+"),
    ("#", r"\S+"),
];
/// Digits of a code; a customer's number has more.
const MOST_DIGITS: usize = 5;
const LONGEST_SHAPE: usize = 200;
const LONGEST_WORD: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_failure_suggests_a_pattern_that_knows_it_and_its_like() {
        let source: SourceName = "moon".parse().unwrap();
        let failure = |message, code| Failure {
            source: &source,
            operation: "fetch",
            status: Some(799),
            error_type: None,
            error_code: code,
            error_code_reason: None,
            headers: &[],
            message,
        };
        for (first, other) in [
            (
                "Account 4711 (blocked) of sam@x.com",
                "Account 99 (blocked)\n of ann@y.org",
            ),
            (r#"{"who": "Sam", "n": 17}"#, r#"{"who": "Ann", "n": 4}"#),
            (
                "see https://a.example/4 + more",
                "see https://b.example/77 + more",
            ),
        ] {
            let kept = Unclassified::new(&failure(first, None), first);
            let pattern = kept.pattern().unwrap();
            let rules = format!(
                r#"[{{"name": "new", "class": "item_error", "match": {{"message": {pattern:?}}}}}]"#
            );
            let rules = serde_json::from_str(&rules).unwrap();
            let table = RuleTable::shipped().with_first(rules).unwrap();

            assert_eq!(kept.known_by(&RuleTable::shipped()), None);
            assert_eq!(kept.known_by(&table), Some("new"), "{pattern}");
            for message in [first, other] {
                let hit = table.classify(&failure(message, None)).rule;
                assert_eq!(hit, Some("new"), "{pattern} in {message}");
            }
            let stranger = failure("something else", None);
            assert_eq!(table.classify(&stranger).rule, None);
        }
        for (code, kept_as, named) in [
            ("E4711", "E4711", true),
            ("com.x:NO_MOON", "com.x:NO_MOON", true),
            ("user-12345678", "#", false),
            ("sam@example.com", "<address>", false),
        ] {
            let kept = Unclassified::new(&failure("", Some(code)), "");
            assert_eq!(kept.error_code.as_deref(), Some(kept_as));
            assert_eq!(kept.named_code().is_some(), named, "{code}");
            assert_eq!(kept.pattern(), None);
        }
    }

    #[test]
    fn what_differs_or_tells_of_a_person_is_masked() {
        for (text, wanted) in [
            (
                "Account 4711 of sam@example.com is blocked",
                "Account # of <address> is blocked",
            ),
            ("limit 5/min, retry in 30s", "limit #/min, retry in #"),
            (
                "{\"name\": \"Sam \\\"S\\\" Smith\", \"code\": 7}",
                "{\"name\": \"…\", \"code\": #}",
            ),
            (
                "item 3f2a-99bb_1c and  see https://bank.example/u/sam",
                "item # and see <url>",
            ),
            ("broken \"quotation of Sam", "broken \"…\""),
            ("", ""),
        ] {
            assert_eq!(shape(text, LONGEST_SHAPE), wanted);
        }
        let long = "ä b c".repeat(500);
        assert_eq!(shape(&long, LONGEST_SHAPE).chars().count(), LONGEST_SHAPE);
    }
}
