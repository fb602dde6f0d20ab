//! The facts of a log entry as they are stored.
//!
//! There are several entries for each collection, and most of an entry would be names and
//! written-out times: one letter for each name and plain numbers take half the space.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use wellspring_core::{Body, ErrorClass, Facts, SourceName, Stage, Stored, Timestamp};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Compact {
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    provider: Option<SourceName>,
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    retries: Option<u16>,
    #[serde(rename = "n", skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<i64>,
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    stage: Option<u8>,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    class: Option<u8>,
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
}

/// Returns the text that is stored.
pub(crate) fn stored(facts: &Facts) -> Result<String, serde_json::Error> {
    match facts {
        Facts::Collection(body) => compact(body),
        Facts::State(_)
        | Facts::Access(_)
        | Facts::Interaction(_)
        | Facts::Document(_)
        | Facts::Alert(_)
        | Facts::Incident(_)
        | Facts::Source { .. } => Ok(format!("{PLAIN}{}", serde_json::to_string(facts)?)),
        Facts::Nothing {} => Ok(String::new()),
    }
}

fn compact(body: &Body) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Compact {
        provider: body.provider.clone(),
        retries: body.retries,
        next_attempt_at: body.next_attempt_at.map(Timestamp::as_millis),
        stage: body.stage.map(Stored::code),
        class: body.class.map(Stored::code),
        code: body.code.clone(),
        duration_ms: body
            .duration_ms
            .map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// Returns what readers of the log see of a stored text; `None` if it is none of ours.
pub(crate) fn shown(text: &str) -> Option<Box<RawValue>> {
    if text.is_empty() {
        return RawValue::from_string("{}".to_owned()).ok();
    }
    if let Some(plain) = text.strip_prefix(PLAIN) {
        return RawValue::from_string(plain.to_owned()).ok();
    }
    let facts: Compact = serde_json::from_str(text).ok()?;
    let stage = facts.stage.map(Stage::from_code);
    let class = facts.class.map(ErrorClass::from_code);
    if stage == Some(None) || class == Some(None) {
        return None;
    }
    let body = Body {
        provider: facts.provider,
        retries: facts.retries,
        next_attempt_at: facts.next_attempt_at.map(Timestamp::from_millis),
        stage: stage.flatten(),
        class: class.flatten(),
        code: facts.code,
        duration_ms: facts.duration_ms.map(Duration::from_millis),
    };
    to_raw_value(&body).ok()
}

/// Begins a text that is shown as it is stored: what happens to connections is seldom compared
/// with what happens to collections.
const PLAIN: char = '=';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_facts_show_what_was_said() {
        let body = Body {
            provider: Some("gas".parse().unwrap()),
            retries: Some(3),
            next_attempt_at: Some(Timestamp::from_millis(1_795_000_000_120)),
            stage: Some(Stage::Deliver),
            class: Some(ErrorClass::UnknownError),
            code: Some("http_500".to_owned()),
            duration_ms: Some(Duration::from_millis(17)),
        };
        for body in [body, Body::default()] {
            let text = stored(&Facts::Collection(body.clone())).unwrap();
            assert_eq!(
                shown(&text).unwrap().get(),
                serde_json::to_string(&body).unwrap()
            );
        }
        assert!(
            shown("{\"c\":99}").is_none() && shown("{\"z\":1}").is_none() && shown("=").is_none()
        );
    }
}
