//! Sources and their incidents.

use rusqlite::{Connection, Row, params};
use wellspring_core::source::Source;
use wellspring_core::{Incident, IncidentId, SourceId, Stored};
use wellspring_engine::{IncidentFilter, StoreError};

use super::{decoded, decoded_one};
use crate::row::{self, IncidentRow};

pub(super) fn load(connection: &Connection, id: SourceId) -> Result<Option<Source>, StoreError> {
    let sql = "SELECT id, body FROM sources WHERE id = ?1";
    decoded_one(connection, sql, [id.as_bytes()], source)
}

pub(super) fn sources(connection: &Connection) -> Result<Vec<Source>, StoreError> {
    decoded(
        connection,
        "SELECT id, body FROM sources ORDER BY id",
        [],
        source,
    )
}

pub(super) fn incidents(
    connection: &Connection,
    filter: &IncidentFilter,
    before: Option<IncidentId>,
    limit: usize,
) -> Result<Vec<Incident>, StoreError> {
    let state = match filter.open {
        None => "",
        Some(true) => "AND ended_at IS NULL",
        Some(false) => "AND ended_at IS NOT NULL",
    };
    let of = filter.source.as_ref().map_or("", |_| "AND source = ?4");
    let sql = format!(
        "SELECT id, source, kind, detected_by, started_at, expected_end, ended_at, reason \
         FROM incidents WHERE id < ?1 AND kind = coalesce(?3, kind) AND ?4 IS ?4 {of} {state} \
         ORDER BY id DESC LIMIT ?2"
    );
    let params = params![
        before.map_or([255; 16], |id| *id.as_bytes()),
        limit,
        filter.kind.map(Stored::code),
        filter.source.as_ref().map(|source| source.as_str())
    ];
    decoded(connection, &sql, params, |row| {
        Ok(row::incident(IncidentRow {
            id: row.get(0)?,
            source: row.get(1)?,
            kind: row.get(2)?,
            detected_by: row.get(3)?,
            started_at: row.get(4)?,
            expected_end: row.get(5)?,
            ended_at: row.get(6)?,
            reason: row.get(7)?,
        }))
    })
}

fn source(row: &Row<'_>) -> rusqlite::Result<Result<Source, StoreError>> {
    let body: String = row.get(1)?;
    Ok(row::source(SourceId::from_bytes(row.get(0)?), &body))
}
