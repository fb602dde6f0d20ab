//! What may be set of a connection, as bodies bring it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use wellspring_core::connection::Patch;
use wellspring_core::interaction::CredentialField;
use wellspring_core::schedule::{Schedule, SlowPlan};
use wellspring_core::{OnQuestionExpired, Sealed};
use wellspring_vault::Vault;
use zeroize::Zeroizing;

use crate::api::accounts::is_name;
use crate::body::{Fields, pointer};
use crate::problem::Fault;

/// Takes out what may be set from the beginning; the inner nothing stands for `null`.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) label: Option<Option<String>>,
    pub(super) schedule: Option<Option<Schedule>>,
    pub(super) slow_plan: Option<Option<SlowPlan>>,
    pub(super) on_question_expired: Option<Option<OnQuestionExpired>>,
    pub(super) start_date: Option<Option<String>>,
}

impl Set {
    pub(super) fn take(fields: &mut Fields, faults: &mut Vec<Fault>) -> Self {
        let label = fields.take("label", faults);
        let schedule = fields.take("schedule", faults);
        let slow_plan = fields.take("slow_plan", faults);
        let on_question_expired = fields.take("on_question_expired", faults);
        let start_date = fields.take("start_date", faults);
        Self {
            label: nullable(label, |value| label_of(value, faults)),
            schedule: nullable(schedule, |value| decoded("schedule", value, faults)),
            slow_plan: nullable(slow_plan, |value| slow_plan_of(value, faults)),
            on_question_expired: nullable(on_question_expired, |value| expiry_of(value, faults)),
            start_date: nullable(start_date, |value| date_of(value, faults)),
        }
    }

    /// Returns it as a change; what has no nothing of its own goes back to `schedule` or to its default.
    pub(super) fn patch(self, schedule: impl FnOnce() -> Option<Schedule>) -> Patch {
        Patch {
            label: self.label,
            schedule: match self.schedule {
                Some(None) => schedule(),
                Some(Some(schedule)) => Some(schedule),
                None => None,
            },
            slow_plan: self.slow_plan,
            on_question_expired: self.on_question_expired.map(Option::unwrap_or_default),
            start_date: self.start_date,
            enabled: None,
            paused: None,
        }
    }
}

/// Takes out what is on or off.
pub(super) fn switch(fields: &mut Fields, name: &str, faults: &mut Vec<Fault>) -> Option<bool> {
    match fields.take(name, faults)? {
        Value::Bool(on) => Some(on),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            faults.push(Fault::at(pointer("", name), "must be true or false"));
            None
        }
    }
}

/// Login data that fit their source, as they are sealed: a JSON object, one text for each field.
pub(super) struct Credentials(Zeroizing<Vec<u8>>);

impl Credentials {
    /// Checks login data against what the source wants; `at` is their place in the body.
    pub(super) fn read(
        given: Value,
        wanted: &[CredentialField],
        at: &str,
        faults: &mut Vec<Fault>,
    ) -> Option<Self> {
        let before = faults.len();
        let Value::Object(mut given) = given else {
            faults.push(Fault::at(
                at,
                "must be an object with a text for each field",
            ));
            return None;
        };
        let mut values = BTreeMap::new();
        for field in wanted {
            let place = pointer(at, &field.id);
            match text(&mut given, &field.id) {
                Ok(Some(value)) if value.len() > LONGEST_VALUE => {
                    faults.push(Fault::at(place, "is longer than 4 KiB"));
                }
                Ok(Some(value)) if value.is_empty() && !field.optional => {
                    faults.push(Fault::at(place, "is empty"));
                }
                Ok(Some(value)) => drop(values.insert(field.id.as_str(), value)),
                Ok(None) if field.optional => {}
                Ok(None) => faults.push(Fault::at(place, "is required")),
                Err(NoText) => faults.push(Fault::at(place, "must be a string")),
            }
        }
        let unknown = given.keys().take(MOST_UNKNOWN);
        faults.extend(
            unknown.map(|name| Fault::at(pointer(at, name), "is not a field of this source")),
        );
        if faults.len() > before {
            return None;
        }
        let json = serde_json::to_vec(&values).expect("texts always serialize");
        Some(Self(Zeroizing::new(json)))
    }

    pub(super) fn seal(&self, vault: &Vault, context: &[u8]) -> Sealed {
        Sealed::new(vault.seal(context, &self.0))
    }
}

struct NoText;

/// Takes a text out, so that nothing is left of it behind.
fn text(given: &mut Map<String, Value>, name: &str) -> Result<Option<Zeroizing<String>>, NoText> {
    match given.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(Zeroizing::new(text))),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Err(NoText),
    }
}

/// Reads a value that may be `null`; one with a fault is as good as absent.
fn nullable<T>(value: Option<Value>, read: impl FnOnce(Value) -> Option<T>) -> Option<Option<T>> {
    let value = value?;
    if value.is_null() {
        Some(None)
    } else {
        read(value).map(Some)
    }
}

fn decoded<T: DeserializeOwned>(name: &str, value: Value, faults: &mut Vec<Fault>) -> Option<T> {
    match serde_json::from_value(value) {
        Ok(read) => Some(read),
        Err(error) => {
            faults.push(Fault::at(pointer("", name), error.to_string()));
            None
        }
    }
}

fn label_of(value: Value, faults: &mut Vec<Fault>) -> Option<String> {
    let label = text_of(value).filter(|label| is_name(label, LONGEST_LABEL));
    if label.is_none() {
        let detail = "must be null or 1 to 200 characters without control characters";
        faults.push(Fault::at("/label", detail));
    }
    label
}

fn slow_plan_of(value: Value, faults: &mut Vec<Fault>) -> Option<SlowPlan> {
    let Value::Array(_) = value else {
        let detail = r#"must be null or a list of durations such as ["2h", "24h"]"#;
        faults.push(Fault::at("/slow_plan", detail));
        return None;
    };
    decoded("slow_plan", value, faults)
}

fn expiry_of(value: Value, faults: &mut Vec<Fault>) -> Option<OnQuestionExpired> {
    let read = serde_json::from_value(value).ok();
    if read.is_none() {
        let detail = "must be `retry` or `fall_back`";
        faults.push(Fault::at("/on_question_expired", detail));
    }
    read
}

fn date_of(value: Value, faults: &mut Vec<Fault>) -> Option<String> {
    let date = text_of(value).filter(|text| is_date(text));
    if date.is_none() {
        let detail = "must be null or a day such as 2026-11-21";
        faults.push(Fault::at("/start_date", detail));
    }
    date
}

fn text_of(value: Value) -> Option<String> {
    if let Value::String(text) = value {
        Some(text)
    } else {
        None
    }
}

/// Returns whether the text is a day, `YYYY-MM-DD`.
pub(crate) fn is_date(text: &str) -> bool {
    let plain = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    plain && text.parse::<jiff::civil::Date>().is_ok()
}

const LONGEST_LABEL: usize = 200;
const LONGEST_VALUE: usize = 4 << 10;
const MOST_UNKNOWN: usize = 20;
