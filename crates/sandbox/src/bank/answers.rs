use std::collections::BTreeMap;

use serde_json::Value;

/// What a person answered, by part; numbers and truth values count as what is written.
pub(super) struct Answers(BTreeMap<String, String>);

impl Answers {
    pub(super) fn new(answers: BTreeMap<String, Value>) -> Self {
        let written = |value| match value {
            Value::String(text) => text,
            Value::Null => String::new(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        Self(
            answers
                .into_iter()
                .map(|(part, value)| (part, written(value)))
                .collect(),
        )
    }

    /// Returns the answer to `part` without the space around it, empty where there is none.
    pub(super) fn to(&self, part: &str) -> &str {
        self.0.get(part).map_or("", |text| text.trim())
    }
}
