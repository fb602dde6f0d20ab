//! Sources and their incidents.

use std::time::Duration;

use wellspring_core::source::{Detected, Source};
use wellspring_core::{Incident, IncidentId, IncidentKind, SourceId, Stored, Timestamp};
use wellspring_engine::StoreError;

use super::{inconsistent, text};

/// Returns the text of a source.
pub(crate) fn source_body(source: &Source) -> Result<String, serde_json::Error> {
    text(source)
}

/// Rebuilds a source from its text.
pub(crate) fn source(id: SourceId, body: &str) -> Result<Source, StoreError> {
    serde_json::from_str(body).map_err(|_error| inconsistent("sources", "body", &id))
}

/// The columns of an incident as the databases hold them.
#[derive(Debug)]
pub(crate) struct IncidentRow {
    pub(crate) id: [u8; 16],
    pub(crate) source: String,
    pub(crate) kind: u8,
    pub(crate) detected_by: u8,
    pub(crate) started_at: i64,
    pub(crate) expected_end: Option<i64>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) reason: Option<String>,
}

/// Rebuilds an incident from its columns.
pub(crate) fn incident(row: IncidentRow) -> Result<Incident, StoreError> {
    let id = IncidentId::from_bytes(row.id);
    let broken = |column| inconsistent("incidents", column, &id);
    Ok(Incident {
        id,
        source: row.source.parse().map_err(|_error| broken("source"))?,
        kind: IncidentKind::from_code(row.kind).ok_or_else(|| broken("kind"))?,
        detected_by: Detected::from_code(row.detected_by).ok_or_else(|| broken("detected_by"))?,
        started_at: Timestamp::from_millis(row.started_at),
        expected_end: row.expected_end.map(Timestamp::from_millis),
        ended_at: row.ended_at.map(Timestamp::from_millis),
        reason: row.reason,
    })
}

/// How long an incident is kept once it has ended.
pub(crate) const KEEP_INCIDENTS: Duration = Duration::from_secs(730 * 86_400);
