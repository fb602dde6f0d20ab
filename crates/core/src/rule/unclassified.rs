use serde::{Deserialize, Serialize};

use super::Failure;
use crate::SourceName;

/// What is kept of a failure that no rule matched, so that a rule can be written.
///
/// It holds no personal data: of the message only its shape.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unclassified {
    /// The source that was asked.
    pub source: SourceName,
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
        let word = |word: &str| shape(word, LONGEST_WORD);
        Self {
            source: failure.source.clone(),
            status: failure.status,
            error_type: failure.error_type.map(word),
            error_code: failure.error_code.map(word),
            shape: shape(message, LONGEST_SHAPE),
        }
    }
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

const LONGEST_SHAPE: usize = 200;
const LONGEST_WORD: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

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
