//! What a question must be before it is posed.

use std::collections::BTreeSet;
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::{Part, Question};

/// Why a question cannot be posed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// It has too many parts.
    #[error("a question has at most 50 parts, this one has {0}")]
    Parts(usize),
    /// Its title is too long.
    #[error("the title has more than 4 KiB")]
    Title,
    /// It could never be answered.
    #[error("it expires at once")]
    Expiry,
    /// The part at this place, counted from 1, has an id that is no name.
    #[error("part number {0}: an id has 1 to 100 bytes and no control characters")]
    Id(usize),
    /// A part is not as it must be.
    #[error("part `{id}`: {reason}")]
    Part {
        /// The part's id.
        id: String,
        /// What is wrong with it.
        reason: PartError,
    },
}

/// What is wrong with a part of a question.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartError {
    /// Another part has the same id.
    #[error("another part has the same id")]
    Twice,
    /// The question is a notice.
    #[error("a notice asks for nothing")]
    Notice,
    /// A text of it is too long; named by its key.
    #[error("`{0}` has more than 4 KiB")]
    Text(&'static str),
    /// There is nothing to choose from, or too much.
    #[error("there are 1 to 200 choices, not {0}")]
    Choices(usize),
    /// The choice at this place, counted from 1, has an id that is empty or was there before.
    #[error("choice number {0} has an id that is empty or was there before")]
    Choice(usize),
    /// The default is not an answer that would be accepted.
    #[error("the default is not accepted as an answer")]
    Default,
    /// A secret would be shown to whoever sees the question.
    #[error("a sensitive part has no default but the empty one")]
    SensitiveDefault,
    /// The pattern is no regular expression, or too large a one.
    #[error("the pattern does not compile: {0}")]
    Pattern(String),
    /// No value is short enough.
    #[error("`max_length` is 0")]
    MaxLength,
    /// No number lies in the range.
    #[error("`min` is greater than `max`")]
    Range,
    /// The media type is not that of an image.
    #[error("`media_type` is not one such as `image/png`")]
    MediaType,
    /// The image is not in base64.
    #[error("`data` is not base64 with padding")]
    Base64,
    /// The image is too large.
    #[error("the image has more than 256 KiB")]
    Image,
    /// The address is not one of the web.
    #[error("`url` is not an absolute http or https address without a user name")]
    Url,
}

impl Question {
    /// Checks that the question can be shown, stored and answered.
    ///
    /// # Errors
    ///
    /// Names the first part that is not as it must be, and why.
    pub fn check(&self) -> Result<(), QuestionError> {
        if self.parts.len() > MOST_PARTS {
            return Err(QuestionError::Parts(self.parts.len()));
        }
        if self.title.as_ref().is_some_and(|title| too_long(title)) {
            return Err(QuestionError::Title);
        }
        if self.expires_in == Some(Duration::ZERO) {
            return Err(QuestionError::Expiry);
        }
        let mut ids = BTreeSet::new();
        for (number, part) in (1..).zip(&self.parts) {
            let id = part.id();
            if id.is_empty() || id.len() > LONGEST_ID || id.chars().any(char::is_control) {
                return Err(QuestionError::Id(number));
            }
            let checked = if !ids.insert(id) {
                Err(PartError::Twice)
            } else if self.code.is_notice() && part.is_input() {
                Err(PartError::Notice)
            } else {
                part.check()
            };
            checked.map_err(|reason| QuestionError::Part {
                id: id.to_owned(),
                reason,
            })?;
        }
        Ok(())
    }
}

impl Part {
    fn check(&self) -> Result<(), PartError> {
        match self {
            Self::StaticText { id: _, text } => short("text", text),
            Self::TextInput {
                id: _,
                label,
                sensitive,
                default,
                pattern,
                max_length,
            } => {
                short("label", label)?;
                if *max_length == Some(0) {
                    return Err(PartError::MaxLength);
                }
                if let Some(pattern) = pattern {
                    short("pattern", pattern)?;
                    whole_value(pattern).map_err(PartError::Pattern)?;
                }
                let Some(default) = default else {
                    return Ok(());
                };
                if *sensitive && !default.is_empty() {
                    return Err(PartError::SensitiveDefault);
                }
                self.check_default(default)
            }
            Self::Choices {
                id: _,
                label,
                choices,
                default,
                widget: _,
            } => {
                short("label", label)?;
                if !(1..=MOST_CHOICES).contains(&choices.len()) {
                    return Err(PartError::Choices(choices.len()));
                }
                let mut ids = BTreeSet::new();
                for (number, choice) in (1..).zip(choices) {
                    short("choices", &choice.id)?;
                    short("choices", &choice.label)?;
                    if choice.id.is_empty() || !ids.insert(&choice.id) {
                        return Err(PartError::Choice(number));
                    }
                }
                default
                    .as_ref()
                    .map_or(Ok(()), |default| self.check_default(default))
            }
            Self::Date { id: _, label }
            | Self::Button {
                id: _,
                label,
                action: _,
            } => short("label", label),
            Self::Number {
                id: _,
                label,
                min,
                max,
            } => {
                short("label", label)?;
                let empty = min.zip(*max).is_some_and(|(min, max)| min > max);
                if empty { Err(PartError::Range) } else { Ok(()) }
            }
            Self::Image {
                id: _,
                label,
                media_type,
                data,
            } => {
                short("label", label)?;
                check_image(media_type, data)
            }
            Self::Link { id: _, text, url } => {
                short("text", text)?;
                check_url(url)
            }
            Self::Redirect { id: _, label, url } => {
                short("label", label)?;
                check_url(url)
            }
        }
    }

    fn check_default(&self, default: &str) -> Result<(), PartError> {
        self.fault_of(default)
            .map_or(Ok(()), |_fault| Err(PartError::Default))
    }
}

/// Returns the pattern as one that only matches a whole value.
pub(super) fn whole_value(pattern: &str) -> Result<Regex, String> {
    let compile = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(LARGEST_REGEX)
            .dfa_size_limit(LARGEST_REGEX)
            .build()
    };
    // Alone first: `a)|(b` is no pattern, but would become one between the anchors.
    compile(pattern)
        .and_then(|_alone| compile(&format!(r"\A(?:{pattern})\z")))
        .map_err(|error| {
            let text = error.to_string();
            // The last line says what is wrong, those before it draw where.
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        })
}

/// Returns whether a text has more bytes than a question or an answer may carry.
pub(super) const fn too_long(text: &str) -> bool {
    text.len() > LONGEST_TEXT
}

fn short(key: &'static str, text: &str) -> Result<(), PartError> {
    if too_long(text) {
        Err(PartError::Text(key))
    } else {
        Ok(())
    }
}

fn check_image(media_type: &str, data: &str) -> Result<(), PartError> {
    let named = media_type.strip_prefix("image/").is_some_and(|subtype| {
        (1..=50).contains(&subtype.len())
            && subtype
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-'))
    });
    if !named {
        return Err(PartError::MediaType);
    }
    let digits = data.trim_end_matches('=');
    let padding = data.len().saturating_sub(digits.len());
    let base64 = !digits.is_empty()
        && data.len().is_multiple_of(4)
        && padding <= 2
        && digits
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    if !base64 {
        return Err(PartError::Base64);
    }
    // Four digits are three bytes.
    if data.len() / 4 * 3 > LARGEST_IMAGE.saturating_add(padding) {
        return Err(PartError::Image);
    }
    Ok(())
}

/// Checks an address without a parser of addresses: its reader is a browser, which has one.
fn check_url(url: &str) -> Result<(), PartError> {
    short("url", url)?;
    let rest = url
        .split_once("://")
        .filter(|(scheme, _)| {
            scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
        })
        .map(|(_, rest)| rest);
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    // `https://bank.example@elsewhere.example` shows one name and leads to another.
    let well_formed = host.is_some_and(|host| {
        !host.is_empty() && !host.starts_with(':') && !host.contains(['@', '\\'])
    }) && !url.chars().any(|c| c.is_whitespace() || c.is_control());
    if well_formed {
        Ok(())
    } else {
        Err(PartError::Url)
    }
}

pub(super) const MOST_PARTS: usize = 50;
const MOST_CHOICES: usize = 200;
const LONGEST_ID: usize = 100;
const LONGEST_TEXT: usize = 4 * 1_024;
const LARGEST_IMAGE: usize = 256 * 1_024;
const LARGEST_REGEX: usize = 1_024 * 1_024;
