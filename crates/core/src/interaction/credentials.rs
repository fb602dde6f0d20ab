//! The question for the login data themselves.

use serde::{Deserialize, Serialize};

use super::{Code, Part, Question};

/// One of the login data that a connector needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialField {
    /// Names it within the credentials.
    pub id: String,
    /// What to fill in.
    pub label: String,
    /// Whether it is shown as dots; it is unless the connector says otherwise.
    #[serde(default = "yes")]
    pub sensitive: bool,
    /// Whether it may be left empty.
    #[serde(default)]
    pub optional: bool,
}

impl Question {
    /// Makes the question for a connector's credentials, without an end.
    ///
    /// What is optional has the empty text for a default.
    pub fn credentials(fields: &[CredentialField]) -> Self {
        let parts = fields
            .iter()
            .map(|field| Part::TextInput {
                id: field.id.clone(),
                label: field.label.clone(),
                sensitive: field.sensitive,
                default: field.optional.then(String::new),
                pattern: None,
                max_length: None,
            })
            .collect();
        Self {
            code: Code::Credentials,
            title: None,
            parts,
            expires_in: None,
        }
    }
}

const fn yes() -> bool {
    true
}
