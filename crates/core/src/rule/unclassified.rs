use serde::{Deserialize, Serialize};

use super::{Failure, RuleTable};
use crate::SourceName;
use shape::{is_token, shape};

mod plain;
mod shape;

/// What is kept of a failure that no rule matched, so that a rule can be written.
///
/// Of the message it holds only the shape: what may tell of a person is masked, as far as a text
/// shows it. A name that is written small, as any word is, cannot be told from one.
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

/// Keeps a source's word for an error: one that is short, has few digits and is not written as a
/// name is names nobody.
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
    is_short
        && digits <= MOST_DIGITS
        && text.bytes().all(fits)
        && !is_token(text)
        && !is_named(text)
}

/// Returns whether a word is put together, or written, as a name is: `sam.smith`, `Sam`.
fn is_named(text: &str) -> bool {
    let parts = || text.split(|c: char| !c.is_ascii_alphanumeric());
    if parts().any(plain::is_plain) {
        return false;
    }
    let is_one_hump = |part: &str| {
        let mut letters = part.chars();
        letters.next().is_some_and(|c| c.is_ascii_uppercase())
            && part.len() > 1
            && letters.all(|c| c.is_ascii_lowercase())
    };
    text.contains(['.', '/', ':']) || parts().any(is_one_hump)
}

/// How what differs is written in a shape, and what stands for it in a pattern.
const MASKS: [(&str, &str); 6] = [
    ("\"…\"", r#""[^"]*""#),
    ("…", r"[\s\S]*?"),
    (shape::NAME, r"\S+(?:\s+\S+)*?"),
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
    use proptest::prelude::*;

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
                "„sam“ of Springfield may not",
                "„ann“ of Stratford Upon Avon may not",
            ),
            ("no 'sam smith' here", "no 'ann' here"),
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
            ("sam.smith", "<name>", false),
            ("Sam", "<name>", false),
            ("auth.token.expired", "auth.token.expired", true),
            ("AccessDenied", "AccessDenied", true),
            ("abcdefghijklmnopqrstuvwxyz", "#", false),
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
            (
                "Access Denied for Sam O'Brien and Dr. Müller-Lüdenscheidt.",
                "Access Denied for <name> and <name>. <name>.",
            ),
            ("user 'sam smith' doesn't exist", "user '…' doesn't exist"),
            ("„sam“ und ‘ann’, «bo» (`cy`)", "„…“ und ‘…’, «…» (`…`)"),
            (
                r#"{"error_code": "x", "Sam Smith": 1, "sam.smith": {"isOpen": true}}"#,
                r#"{"error_code": "…", "…": #, "…": {"isOpen": true}}"#,
            ),
            (
                "field sam.smith is locked, e.g. ITEM_LOCKED",
                "field <name> is locked, e.g. ITEM_LOCKED",
            ),
            (
                "the token abcdefghijklmnopqrstuvwxyz is bad",
                "the token # is bad",
            ),
            ("客户 张伟 not found", "<name> not found"),
            ("", ""),
        ] {
            assert_eq!(shape(text, LONGEST_SHAPE), wanted);
        }
        let long = "ä b c".repeat(500);
        assert_eq!(shape(&long, LONGEST_SHAPE).chars().count(), LONGEST_SHAPE);
    }

    proptest! {
        /// Whoever it is about, wherever they are named: nothing of them stays, and the kind is the same.
        #[test]
        fn nobody_is_known_again_by_what_is_kept(
            (one, other) in (person(), person()),
            place in 0..PLACES.len(),
        ) {
            let source: SourceName = "moon".parse().unwrap();
            let kept = |who: &Person| {
                let message = who.put_into(PLACES[place]);
                let failure = Failure {
                    source: &source,
                    operation: "fetch",
                    status: Some(799),
                    error_type: Some(&who.dotted),
                    error_code: Some(&who.address),
                    error_code_reason: None,
                    headers: &[],
                    message: &message,
                };
                Unclassified::new(&failure, &message)
            };
            let first = kept(&one);
            let text = format!("{first:?}").to_lowercase();
            for canary in [&one.first, &one.last, &one.token, &one.street] {
                prop_assert!(!text.contains(&canary.to_lowercase()), "{canary} in {text}");
            }
            prop_assert_eq!(&first, &kept(&other));
            let pattern = regex::Regex::new(&first.pattern().unwrap()).unwrap();
            prop_assert!(pattern.is_match(&other.put_into(PLACES[place])));
        }
    }

    #[derive(Debug)]
    struct Person {
        first: String,
        last: String,
        street: String,
        address: String,
        dotted: String,
        token: String,
    }

    fn person() -> impl Strategy<Value = Person> {
        // No word of errors has these letters together.
        let names = (
            "[A-Z]zq[a-z]{1,8}",
            "[A-Z]zq[a-z]{1,8}",
            "[A-Z]zq[a-z]{1,8}",
        );
        (names, "[a-z]{25,60}").prop_map(|((first, last, street), token)| Person {
            address: format!("{first}_{last}@{street}.example"),
            dotted: format!("{first}.{last}").to_lowercase(),
            first,
            last,
            street,
            token,
        })
    }

    impl Person {
        fn put_into(&self, place: &str) -> String {
            place
                .replace("FIRST", &self.first)
                .replace("LAST", &self.last)
                .replace("SMALL", &self.first.to_lowercase())
                .replace("STREET", &self.street)
                .replace("ADDRESS", &self.address)
                .replace("DOTTED", &self.dotted)
                .replace("TOKEN", &self.token)
        }
    }

    const PLACES: &[&str] = &[
        "FIRST LAST is not known",
        "customer FIRST LAST, 12 STREET, is locked",
        "Mr. LAST of STREET: no access",
        "LAST's account (FIRST) is gone",
        "user DOTTED or ADDRESS",
        "'SMALL' said “SMALL” said ‘SMALL’ said „SMALL“ said «SMALL» said `SMALL`",
        "token TOKEN, of FIRST!",
        r#"{"FIRST LAST": {"DOTTED": "SMALL", "ADDRESS": 1, "TOKEN": ["SMALL", "SMALL SMALL"]}}"#,
        r#"{"owner": "SMALL SMALL", "isLocked": true, "at": "STREET"}"#,
        "<html><title>FIRST LAST</title><p>STREET, FIRST-LAST</html>",
    ];
}
