//! Path patterns: `VERB /segment/*/a|b/**`.

mod index;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::Verb;

pub use index::PatternIndex;

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// There is no space between a verb and a path.
    #[error("a pattern is a verb and a path, such as `UPDATED /collections/*/status/*`")]
    Shape,
    /// The verb is none of the known ones.
    #[error("{0}")]
    Verb(String),
    /// The path does not begin with `/`.
    #[error("a path begins with `/`")]
    Path,
    /// A segment is empty.
    #[error("segment {0} is empty")]
    EmptySegment(usize),
    /// An alternative of a segment is empty.
    #[error("segment {0} has an empty alternative")]
    EmptyAlternative(usize),
    /// `*` or `**` stands where it cannot.
    #[error("segment {0}: `*` stands alone, and `**` only as the last segment")]
    Wildcard(usize),
    /// The pattern is longer than is useful.
    #[error("a pattern has at most 1,024 characters")]
    TooLong,
}

/// Which changes a reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    verb: Option<Verb>,
    segments: Vec<Segment>,
    /// Whether it ends in `**`: at least one segment more.
    rest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Any,
    OneOf(Vec<String>),
}

impl Pattern {
    /// Returns whether a change of `verb` at `path` is wanted.
    pub fn matches(&self, verb: Verb, path: &str) -> bool {
        if self.verb.is_some_and(|wanted| wanted != verb) {
            return false;
        }
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let mut have = path.split('/');
        for segment in &self.segments {
            let Some(text) = have.next() else {
                return false;
            };
            let fits = match segment {
                Segment::Any => !text.is_empty(),
                Segment::OneOf(alternatives) => {
                    alternatives.iter().any(|alternative| alternative == text)
                }
            };
            if !fits {
                return false;
            }
        }
        have.next().is_some() == self.rest
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > 1_024 {
            return Err(PatternError::TooLong);
        }
        let (verb, path) = text
            .trim()
            .split_once(char::is_whitespace)
            .ok_or(PatternError::Shape)?;
        let verb = match verb {
            "*" => None,
            named => Some(named.parse().map_err(PatternError::Verb)?),
        };
        let path = path
            .trim_start()
            .strip_prefix('/')
            .ok_or(PatternError::Path)?;
        let mut segments = Vec::new();
        let mut rest = false;
        for (at, part) in path.split('/').enumerate() {
            let number = at.saturating_add(1);
            if rest {
                return Err(PatternError::Wildcard(number.saturating_sub(1)));
            }
            match part {
                "" => return Err(PatternError::EmptySegment(number)),
                "*" => segments.push(Segment::Any),
                "**" => rest = true,
                _ if part.contains('*') => return Err(PatternError::Wildcard(number)),
                _ => {
                    let alternatives: Vec<String> = part.split('|').map(str::to_owned).collect();
                    if alternatives.iter().any(String::is_empty) {
                        return Err(PatternError::EmptyAlternative(number));
                    }
                    segments.push(Segment::OneOf(alternatives));
                }
            }
        }
        Ok(Self {
            verb,
            segments,
            rest,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb.map_or("*", Verb::as_str))?;
        f.write_str(" ")?;
        for segment in &self.segments {
            match segment {
                Segment::Any => f.write_str("/*")?,
                Segment::OneOf(alternatives) => write!(f, "/{}", alternatives.join("|"))?,
            }
        }
        if self.rest {
            f.write_str("/**")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, verb: Verb, path: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(verb, path)
    }

    #[test]
    fn wildcards_alternatives_and_depth() {
        let path = "/accounts/acct_1/connections/conn_2/state/waiting";
        assert!(matches(
            "UPDATED /accounts/*/connections/*/state/*",
            Verb::Updated,
            path
        ));
        assert!(matches(
            "update   /accounts/*/connections/*/state/*",
            Verb::Updated,
            path
        ));
        assert!(matches(
            "* /accounts/*/connections/*/state/error|waiting",
            Verb::Created,
            path
        ));
        assert!(matches("* /accounts/**", Verb::Updated, path));
        assert!(!matches(
            "* /accounts/*/connections/*/state/*/**",
            Verb::Updated,
            path
        ));
        assert!(!matches(
            "UPDATED /accounts/*/connections/*",
            Verb::Updated,
            path
        ));
        assert!(!matches("CREATED /accounts/**", Verb::Updated, path));
        assert!(!matches("* /accounts/**", Verb::Updated, "/accounts"));
    }

    #[test]
    fn what_is_wrong_with_a_pattern_is_named() {
        for (text, error) in [
            ("UPDATED", PatternError::Shape),
            ("UPDATED accounts", PatternError::Path),
            ("UPDATED /a//b", PatternError::EmptySegment(2)),
            ("UPDATED /a/b|", PatternError::EmptyAlternative(2)),
            ("UPDATED /**/b", PatternError::Wildcard(1)),
            ("UPDATED /a/b*", PatternError::Wildcard(2)),
        ] {
            assert_eq!(text.parse::<Pattern>().unwrap_err(), error, "{text}");
        }
        assert!(matches!(
            "MOVED /a".parse::<Pattern>(),
            Err(PatternError::Verb(_))
        ));
        assert_eq!(
            format!("* /{}", "a".repeat(2_000)).parse::<Pattern>(),
            Err(PatternError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_and_reads_back(text in "(\\*|UPDATED) /[a-z*|/]{0,30}", path in "/[a-z/]{0,20}") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                pattern.matches(Verb::Updated, &path);
                prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
            }
        }
    }
}
