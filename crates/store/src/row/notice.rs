//! Messages to people, each a text of one column.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wellspring_core::AccountId;
use wellspring_core::notification::Channel;
use wellspring_engine::{
    IncidentTelling, IncidentWrite, Notice, NoticeStatus, NotificationFilter, PhoneMark, StoreError,
};

use super::inconsistent;

/// Returns the text form of a row's body.
pub(crate) fn body_text<T: Serialize>(body: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(body)
}

/// Rebuilds a row's body from its text form.
pub(crate) fn body<T: DeserializeOwned>(
    table: &'static str,
    row: &impl ToString,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_error| inconsistent(table, "body", row))
}

/// Returns whether a step of telling of an incident goes on from what is kept of it.
pub(crate) fn goes_on(kept: Option<&str>, step: &IncidentWrite) -> bool {
    let kept = kept.map(serde_json::from_str::<IncidentTelling>);
    match kept.transpose() {
        Ok(kept) => kept.map(|kept| kept.stage) == step.from,
        Err(_unreadable) => false,
    }
}

/// Returns whether a message waits: it is held back, or was tried and is to be tried again.
pub(crate) const fn is_held(notice: &Notice) -> bool {
    matches!(notice.status, NoticeStatus::Planned) && (notice.gathers || notice.attempts > 0)
}

/// Rebuilds a mark from its column.
pub(crate) fn mark(
    account: AccountId,
    bytes: Option<Vec<u8>>,
) -> Result<Option<PhoneMark>, StoreError> {
    let mark = bytes.map(PhoneMark::try_from).transpose();
    mark.map_err(|_bytes| inconsistent("people", "phone", &account))
}

/// Returns what is kept of a number that says that it wants no SMS, or wants them again; nothing
/// where there is nothing to keep.
pub(crate) fn heard(
    kept: Option<(bool, Vec<PhoneMark>)>,
    by: Option<PhoneMark>,
    stopped: bool,
) -> Option<(bool, Vec<PhoneMark>)> {
    let (was, mut messages) = match kept {
        Some(kept) => kept,
        None if stopped => (false, Vec::new()),
        None => return None,
    };
    if by.is_some_and(|by| messages.contains(&by)) {
        return Some((was, messages));
    }
    messages.extend(by);
    messages.drain(..messages.len().saturating_sub(REMEMBERED));
    Some((stopped, messages))
}

/// How many messages of a number are remembered: a gateway repeats one within minutes.
pub(crate) const REMEMBERED: usize = 16;

/// Returns the number of the kind that is wanted, 0 for any.
pub(crate) fn kind_code(filter: &NotificationFilter) -> u8 {
    filter.kind.map_or(0, wellspring_core::Stored::code)
}

/// Returns the number of a channel.
pub(crate) fn channel_code(channel: Channel) -> u8 {
    wellspring_core::Stored::code(channel)
}
