//! Answers: whether they fit their question, and what they come to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::check::{MOST_PARTS, too_long, whole_value};
use super::{ButtonAction, Part, Question};

/// What a person answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// The version of the interaction that was on the screen.
    pub version: u32,
    /// A value for each part that takes one, in any order.
    pub parts: Vec<PartValue>,
}

/// The answer to one part.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartValue {
    /// The part's id.
    pub id: String,
    /// What was filled in or chosen; of a button that was clicked, its action.
    pub value: String,
}

/// One thing that is wrong with an answer.
///
/// It repeats nothing of the answer, so that it can be shown and logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnswerFault {
    /// A JSON pointer into the [`Response`].
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// An answer that fits its question.
#[derive(Clone, PartialEq, Eq)]
pub struct Validated {
    /// What is to be done with it; nothing at all when it is [`ButtonAction::Defer`].
    pub action: ButtonAction,
    /// The value of each part that takes one, defaults filled in; empty when the answer is put off.
    pub answers: BTreeMap<String, String>,
    /// Whether one of the values is a secret, so that they must be encrypted while they wait.
    pub sensitive: bool,
}

impl Question {
    /// Checks an answer to this question, which itself has passed [`Question::check`].
    ///
    /// The version is not looked at; it belongs to the interaction.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the answer.
    pub fn validate(&self, response: &Response) -> Result<Validated, Vec<AnswerFault>> {
        if response.parts.len() > MOST_PARTS {
            let detail = "an answer has at most 50 parts";
            return Err(vec![fault("/parts".to_owned(), detail)]);
        }
        let Given {
            values,
            clicked,
            mut faults,
        } = self.sort(response);
        let action = clicked.unwrap_or(ButtonAction::RespondAndContinue);
        let mut answers = BTreeMap::new();
        let mut sensitive = false;
        for part in self.parts.iter().filter(|part| part.is_input()) {
            if action == ButtonAction::Defer {
                break;
            }
            let value = match values.get(part.id()) {
                Some((index, value)) => {
                    if let Some(detail) = part.fault_of(value) {
                        faults.push(fault(format!("/parts/{index}/value"), detail));
                    }
                    *value
                }
                None => {
                    let Some(default) = part.default_value() else {
                        let detail = format!("part `{}` is missing", part.id());
                        faults.push(fault("/parts".to_owned(), detail));
                        continue;
                    };
                    default
                }
            };
            sensitive |= part.is_sensitive() && !value.is_empty();
            answers.insert(part.id().to_owned(), value.to_owned());
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Validated {
            action,
            answers,
            sensitive,
        })
    }

    /// Puts what was given to the parts of the question that it names.
    fn sort<'a>(&self, response: &'a Response) -> Given<'a> {
        let mut given = Given {
            values: BTreeMap::new(),
            clicked: None,
            faults: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for (index, PartValue { id, value }) in response.parts.iter().enumerate() {
            let at_id = || format!("/parts/{index}/id");
            let part = self.parts.iter().find(|part| part.id() == id);
            let detail = match part {
                None => Some("the question has no such part"),
                Some(_) if !seen.insert(id) => Some("this part is given twice"),
                Some(Part::Button { action, .. }) => {
                    if value != action.as_str() {
                        let detail = "the value of a button is its action";
                        let pointer = format!("/parts/{index}/value");
                        given.faults.push(fault(pointer, detail));
                        None
                    } else if given.clicked.is_some() {
                        Some("another button was clicked as well")
                    } else {
                        given.clicked = Some(*action);
                        None
                    }
                }
                Some(_) if self.code.is_notice() => Some("a notice is acknowledged with no parts"),
                Some(part) if part.is_input() => {
                    given.values.insert(id, (index, value));
                    None
                }
                Some(_) => Some("this part is only shown, it takes no value"),
            };
            if let Some(detail) = detail {
                given.faults.push(fault(at_id(), detail));
            }
        }
        given
    }
}

struct Given<'a> {
    /// By part: the place in the answer, and the value.
    values: BTreeMap<&'a str, (usize, &'a str)>,
    clicked: Option<ButtonAction>,
    faults: Vec<AnswerFault>,
}

impl Part {
    /// Returns what is wrong with `value` as an answer to this part, which is one that takes a value.
    pub(super) fn fault_of(&self, value: &str) -> Option<String> {
        if too_long(value) {
            return Some("the value has more than 4 KiB".to_owned());
        }
        match self {
            Self::TextInput {
                id: _,
                label: _,
                sensitive: _,
                default,
                pattern,
                max_length,
            } => {
                if value.is_empty() && default.is_none() {
                    return Some("the value is empty".to_owned());
                }
                if let Some(most) = max_length
                    && usize::try_from(*most).is_ok_and(|most| value.chars().count() > most)
                {
                    return Some(format!("the value has more than {most} characters"));
                }
                match pattern.as_deref().map(whole_value) {
                    Some(Ok(pattern)) if pattern.is_match(value) => None,
                    Some(_) => {
                        Some("the value does not have the form that is asked for".to_owned())
                    }
                    None => None,
                }
            }
            Self::Choices { choices, .. } => {
                let known = choices.iter().any(|choice| choice.id == value);
                (!known).then(|| "the value is none of the choices".to_owned())
            }
            Self::Date { .. } => {
                (!is_date(value)).then(|| "the value is not a day such as 2026-11-21".to_owned())
            }
            Self::Number {
                id: _,
                label: _,
                min,
                max,
            } => number_fault(value, *min, *max),
            Self::StaticText { .. }
            | Self::Image { .. }
            | Self::Link { .. }
            | Self::Button { .. }
            | Self::Redirect { .. } => Some("this part takes no value".to_owned()),
        }
    }

    /// Returns the answer that stands when none is given.
    fn default_value(&self) -> Option<&str> {
        match self {
            Self::TextInput { default, .. } | Self::Choices { default, .. } => default.as_deref(),
            Self::StaticText { .. }
            | Self::Date { .. }
            | Self::Number { .. }
            | Self::Image { .. }
            | Self::Link { .. }
            | Self::Button { .. }
            | Self::Redirect { .. } => None,
        }
    }
}

impl Validated {
    /// Returns bytes that are the same for the same answer, whatever the order of its parts.
    ///
    /// They hold the values: they are for a keyed hash and for nothing else.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Each text with its length, so that no two answers run into the same bytes.
        let mut put = |text: &str| {
            let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        put(self.action.as_str());
        for (id, value) in &self.answers {
            put(id);
            put(value);
        }
        bytes
    }
}

impl fmt::Debug for PartValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartValue")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Validated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validated")
            .field("action", &self.action)
            .field("answered", &self.answers.keys())
            .field("sensitive", &self.sensitive)
            .finish_non_exhaustive()
    }
}

fn fault(pointer: String, detail: impl Into<String>) -> AnswerFault {
    AnswerFault {
        pointer,
        detail: detail.into(),
    }
}

fn is_date(value: &str) -> bool {
    let bytes = value.as_bytes();
    let shape = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    shape && value.parse::<jiff::civil::Date>().is_ok()
}

fn number_fault(value: &str, min: Option<i64>, max: Option<i64>) -> Option<String> {
    let Some((floor, ceiling)) = whole_numbers_around(value) else {
        return Some("the value is not a number such as 12 or -0.5".to_owned());
    };
    if let Some(min) = min
        && floor < i128::from(min)
    {
        return Some(format!("the value is less than {min}"));
    }
    if let Some(max) = max
        && ceiling > i128::from(max)
    {
        return Some(format!("the value is greater than {max}"));
    }
    None
}

/// Returns the whole numbers next to a decimal one, below and above, without ever rounding it.
fn whole_numbers_around(value: &str) -> Option<(i128, i128)> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let negative = digits.len() != value.len();
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (digits, ""),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if value.len() > LONGEST_NUMBER
        || whole.is_empty()
        || !all_digits(whole)
        || !all_digits(fraction)
    {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let more = i128::from(fraction.bytes().any(|b| b != b'0'));
    let outer = whole.checked_add(more)?;
    Some(if negative {
        (outer.checked_neg()?, whole.checked_neg()?)
    } else {
        (whole, outer)
    })
}

/// Whole numbers of this length fit into 128 bits.
const LONGEST_NUMBER: usize = 38;
