use serde::Deserialize;
use serde_json::Value;

/// What the body of a refusal says of itself, in the forms that many sources share:
/// `error_type`, `error_code`, `error_code_reason` and `error_message`, at the top or under `error`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) error_type: Option<String>,
    pub(crate) error_code: Option<String>,
    pub(crate) error_code_reason: Option<String>,
    pub(crate) error_message: Option<String>,
    /// What it tells people, in other common forms.
    other: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Form {
    error_type: Value,
    error_code: Value,
    error_code_reason: Value,
    error_message: Value,
    message: Value,
    detail: Value,
    error_description: Value,
    error: Value,
}

impl Body {
    /// Reads a body; whatever is not in such a form says nothing.
    pub(crate) fn read(body: &[u8]) -> Self {
        if body.len() > LARGEST || !body.trim_ascii_start().starts_with(b"{") {
            return Self::default();
        }
        let Ok(form) = serde_json::from_slice::<Form>(body) else {
            return Self::default();
        };
        let inner = match &form.error {
            Value::Object(_) => serde_json::from_value::<Form>(form.error.clone()).ok(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => None,
        };
        let Form {
            error_type,
            error_code,
            error_code_reason,
            error_message,
            message,
            detail,
            error_description,
            error,
        } = inner.unwrap_or(form);
        let error_code = text(error_code).or_else(|| {
            // OAuth puts its code there, and one word is no sentence.
            let word = error.as_str()?;
            let is_word = word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            (is_word && !word.is_empty()).then(|| word.to_owned())
        });
        Self {
            // These two are said of the exchange itself, by nobody but us.
            error_type: text(error_type).filter(|kind| kind != "transport" && kind != "body"),
            error_code,
            error_code_reason: text(error_code_reason),
            error_message: text(error_message),
            other: text(message)
                .or_else(|| text(detail))
                .or_else(|| text(error_description))
                .or_else(|| text(error)),
        }
    }

    /// Returns what it tells people.
    pub(crate) fn told(&self) -> Option<&str> {
        self.error_message.as_deref().or(self.other.as_deref())
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Errors are short: what is larger is data.
const LARGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::Body;

    #[test]
    fn common_forms_are_read_and_the_exchange_cannot_be_feigned() {
        let body = Body::read(br#"{"error_type": "ITEM_ERROR", "error_code": "ITEM_LOCKED", "error_code_reason": null, "error_message": "locked"}"#);
        assert_eq!(body.error_type.as_deref(), Some("ITEM_ERROR"));
        assert_eq!(body.error_code.as_deref(), Some("ITEM_LOCKED"));
        assert_eq!(
            (body.error_code_reason.as_deref(), body.told()),
            (None, Some("locked"))
        );

        let body = Body::read(br#"{"error": {"error_code": 42, "message": "no"}}"#);
        assert_eq!(
            (body.error_code.as_deref(), body.told()),
            (Some("42"), Some("no"))
        );

        let body = Body::read(br#"{"error": "invalid_grant", "error_description": "expired"}"#);
        assert_eq!(
            (body.error_code.as_deref(), body.told()),
            (Some("invalid_grant"), Some("expired"))
        );

        assert_eq!(
            Body::read(br#"{"error_type": "transport"}"#).error_type,
            None
        );
        assert_eq!(Body::read(b"#fail"), Body::default());
        assert_eq!(Body::read(b"[1]"), Body::default());
    }
}
