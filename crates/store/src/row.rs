//! Rows as every store keeps them: which columns there are, and what is text of one column.

use std::time::Duration;

use wellspring_core::{AccountId, AnyId, CollectionId, ConnectionId, Error, SourceId, Timestamp};
use wellspring_engine::{Aggregate, InboxRow, StoreError};

mod account;
mod alert;
mod budget;
mod collection;
mod connection;
mod delivery;
mod directory;
mod document;
mod fetch;
mod interaction;
mod log;
mod notice;
mod source;
mod tally;
mod unclassified;

pub(crate) use account::{account, erasing_columns};
pub(crate) use alert::{AlertRow, KEEP_ALERTS, alert};
pub(crate) use budget::{KEEP_BUDGET_USE, KEEP_BUDGETS, ledger, quiet_from};
pub(crate) use collection::{
    AttemptRow, Cold, Finished, Hot, NOTIFYING, attempt_view, shortest_of_a_collection,
    stored_error,
};
pub(crate) use connection::{ConnectionRow, connection, live_account, live_connection};
pub(crate) use delivery::{delivery_attempt, delivery_status};
pub(crate) use directory::{
    KEEP_TOKENS, disabled, disabled_code, patterns, patterns_text, settings_text,
    subscription_kind, subscription_kind_code, token_kind, token_source, with_settings,
};
pub(crate) use document::{document, document_body};
pub(crate) use fetch::{fetch, fetch_attempt, fetch_body};
pub(crate) use interaction::{KEEP_INTERACTIONS, closed, question, question_text};
pub(crate) use log::{LogRow, document_of};
pub(crate) use notice::{
    REMEMBERED, body, body_text, channel_code, goes_on, heard, is_held, kind_code, mark,
};
pub(crate) use source::{IncidentRow, KEEP_INCIDENTS, incident, source, source_body};
pub(crate) use tally::{KEEP_STATISTICS, TallyPlace, TallySums, tally, tally_columns};
pub(crate) use unclassified::{
    KEEP_UNCLASSIFIED, UnclassifiedRow, unclassified, unclassified_body,
};

/// Rebuilds a command from the inbox.
pub(crate) fn inbox_row(number: i64, request: &str) -> Result<InboxRow, StoreError> {
    let inconsistent = |_| StoreError::Inconsistent {
        table: "inbox",
        column: "request",
        row: number.to_string(),
    };
    Ok(InboxRow {
        number,
        request: serde_json::from_str(request).map_err(inconsistent)?,
    })
}

/// Returns the number of an aggregate's kind and its id, as they are stored.
pub(crate) const fn aggregate_parts(aggregate: Aggregate) -> (u8, AnyId) {
    match aggregate {
        Aggregate::Collection(id) => (COLLECTION, *id.as_bytes()),
        Aggregate::Account(id) => (ACCOUNT, *id.as_bytes()),
        Aggregate::Connection(id) => (CONNECTION, *id.as_bytes()),
        Aggregate::Source(id) => (SOURCE, *id.as_bytes()),
    }
}

/// Returns the aggregate of [`aggregate_parts`]; `None` if it is none of ours.
pub(crate) const fn aggregate(kind: u8, id: AnyId) -> Option<Aggregate> {
    match kind {
        COLLECTION => Some(Aggregate::Collection(CollectionId::from_bytes(id))),
        ACCOUNT => Some(Aggregate::Account(AccountId::from_bytes(id))),
        CONNECTION => Some(Aggregate::Connection(ConnectionId::from_bytes(id))),
        SOURCE => Some(Aggregate::Source(SourceId::from_bytes(id))),
        _ => None,
    }
}

/// Returns the moment of a UUIDv7.
pub(crate) fn made_at(id: &AnyId) -> Option<Timestamp> {
    let (millis, _) = id.split_first_chunk::<6>()?;
    let fold = |millis: i64, byte: &u8| (millis << 8) | i64::from(*byte);
    Some(Timestamp::from_millis(millis.iter().fold(0, fold)))
}

/// Returns the text form of an error that there may be.
pub(crate) fn error_text(error: Option<&Error>) -> Result<Option<String>, serde_json::Error> {
    error.map(text).transpose()
}

/// Returns a time span in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn error_of(
    text: Option<&str>,
    table: &'static str,
    row: &impl ToString,
) -> Result<Option<Error>, StoreError> {
    let error = text.map(serde_json::from_str).transpose();
    error.map_err(|_error| inconsistent(table, "error", row))
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn text<T: serde::Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(value)
}

fn inconsistent(table: &'static str, column: &'static str, row: &impl ToString) -> StoreError {
    StoreError::Inconsistent {
        table,
        column,
        row: row.to_string(),
    }
}

const COLLECTION: u8 = 1;
const ACCOUNT: u8 = 2;
const CONNECTION: u8 = 3;
const SOURCE: u8 = 4;
