//! Steps of sources.

use rusqlite::{Transaction, params};
use wellspring_core::{Incident, Stored, Timestamp};
use wellspring_engine::{Before, SourceWrite};

use super::{alert, no_text};
use crate::row::source_body;

/// Applies one step of a source; returns whether the row was at the version it assumes.
pub(super) fn apply(transaction: &Transaction<'_>, step: &SourceWrite) -> rusqlite::Result<bool> {
    let body = source_body(&step.next).map_err(no_text)?;
    let (id, version) = (step.id.as_bytes(), step.next.version);
    let held = match step.before {
        Before::New => {
            let sql = "INSERT INTO sources (id, version, body) VALUES (?1, ?2, ?3)";
            let params = params![id, version, body];
            transaction.prepare_cached(sql)?.execute(params)?
        }
        Before::Live(before) => {
            let sql = "UPDATE sources SET version = ?3, body = ?4 WHERE id = ?1 AND version = ?2";
            let params = params![id, before, version, body];
            transaction.prepare_cached(sql)?.execute(params)?
        }
        Before::Finished(_) => 0,
    };
    if held != 1 {
        return Ok(false);
    }
    for incident in &step.incidents {
        keep(transaction, incident)?;
    }
    alert::apply(transaction, &step.alerts)?;
    Ok(true)
}

fn keep(transaction: &Transaction<'_>, incident: &Incident) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO incidents \
               (id, source, kind, detected_by, started_at, expected_end, ended_at, reason) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    transaction.prepare_cached(sql)?.execute(params![
        incident.id.as_bytes(),
        incident.source.as_str(),
        incident.kind.code(),
        incident.detected_by.code(),
        incident.started_at.as_millis(),
        incident.expected_end.map(Timestamp::as_millis),
        incident.ended_at.map(Timestamp::as_millis),
        incident.reason
    ])?;
    Ok(())
}
