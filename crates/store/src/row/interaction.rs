//! Questions and what became of them.

use std::time::Duration;

use wellspring_core::interaction::{Closed, Question};
use wellspring_core::{InteractionId, Stored, Timestamp};
use wellspring_engine::StoreError;

use super::{inconsistent, text};

/// How long a closed interaction is kept, by which late and second answers are told apart.
pub(crate) const KEEP_INTERACTIONS: Duration = Duration::from_secs(30 * 86_400);

/// Returns the text form of a question.
pub(crate) fn question_text(question: &Question) -> Result<String, serde_json::Error> {
    text(question)
}

/// Rebuilds a question from its text form.
pub(crate) fn question(id: InteractionId, text: &str) -> Result<Question, StoreError> {
    serde_json::from_str(text).map_err(|_error| inconsistent("interactions", "question", &id))
}

/// Rebuilds from its columns why and when an interaction was closed.
pub(crate) fn closed(
    id: InteractionId,
    reason: Option<u8>,
    at: Option<i64>,
) -> Result<Option<(Closed, Timestamp)>, StoreError> {
    match (reason, at) {
        (None, None) => Ok(None),
        (Some(reason), Some(at)) => {
            let reason = Closed::from_code(reason)
                .ok_or_else(|| inconsistent("interactions", "reason", &id))?;
            Ok(Some((reason, Timestamp::from_millis(at))))
        }
        (Some(_), None) | (None, Some(_)) => Err(inconsistent("interactions", "closed_at", &id)),
    }
}
