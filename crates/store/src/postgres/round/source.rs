//! Steps of sources as columns.

use std::borrow::Cow;

use uuid::Uuid;
use wellspring_core::source::Source;
use wellspring_core::{Incident, Stored, Timestamp};
use wellspring_engine::{Before, CommitError, SourceWrite};

use super::alert::Alerts;
use super::{Call, unwritable};
use crate::postgres::columns::text;
use crate::postgres::session::Param;
use crate::row::source_body;

/// Steps of different sources.
#[derive(Default)]
pub(super) struct Sources<'a> {
    made: Columns,
    changed: Columns,
    incidents: Incidents<'a>,
    alerts: Alerts<'a>,
}

#[derive(Default)]
struct Columns {
    id: Vec<Uuid>,
    before: Vec<i32>,
    version: Vec<i32>,
    body: Vec<String>,
}

#[derive(Default)]
struct Incidents<'a> {
    id: Vec<Uuid>,
    started_at: Vec<i64>,
    expected_end: Vec<Option<i64>>,
    ended_at: Vec<Option<i64>>,
    kind: Vec<i16>,
    detected_by: Vec<i16>,
    source: Vec<&'a str>,
    reason: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Sources<'a> {
    pub(super) fn push(&mut self, write: &'a SourceWrite) -> Result<(), CommitError> {
        match write.before {
            Before::New => self.made.push(0, &write.next)?,
            Before::Live(version) => self.changed.push(version, &write.next)?,
            Before::Finished(_) => return Err(CommitError::Stale(write.id.into())),
        }
        for incident in &write.incidents {
            self.incidents.push(incident);
        }
        self.alerts.push(&write.alerts);
        Ok(())
    }

    /// Adds the statements; those without rows are left out.
    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        let (made, changed) = (&self.made, &self.changed);
        let insert = Call {
            sql: "INSERT INTO sources (id, version, body) \
                  SELECT * FROM unnest($1::uuid[], $2::int4[], $3::text[]) ON CONFLICT DO NOTHING",
            params: vec![&made.id, &made.version, &made.body],
            expected: Some(made.id.len()),
        };
        let update = Call {
            sql: "UPDATE sources s SET version = u.version, body = u.body \
                  FROM unnest($1::uuid[], $2::int4[], $3::int4[], $4::text[]) \
                  AS u (id, before, version, body) WHERE s.id = u.id AND s.version = u.before",
            params: vec![
                &changed.id,
                &changed.before,
                &changed.version,
                &changed.body,
            ],
            expected: Some(changed.id.len()),
        };
        calls.extend([insert, update].into_iter().filter_map(Call::unless_empty));
        self.incidents.calls(calls);
        self.alerts.calls(calls);
    }
}

impl Columns {
    fn push(&mut self, before: u32, next: &Source) -> Result<(), CommitError> {
        let body = source_body(next).map_err(|error| unwritable(&error))?;
        self.id.push(next.id().uuid());
        self.before.push(before.cast_signed());
        self.version.push(next.version.cast_signed());
        self.body.push(text(&body).into_owned());
        Ok(())
    }
}

impl<'a> Incidents<'a> {
    fn push(&mut self, incident: &'a Incident) {
        self.id.push(incident.id.uuid());
        self.started_at.push(incident.started_at.as_millis());
        self.expected_end
            .push(incident.expected_end.map(Timestamp::as_millis));
        self.ended_at
            .push(incident.ended_at.map(Timestamp::as_millis));
        self.kind.push(incident.kind.code().into());
        self.detected_by.push(incident.detected_by.code().into());
        self.source.push(incident.source.as_str());
        self.reason.push(incident.reason.as_deref().map(text));
    }

    fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if self.id.is_empty() {
            return;
        }
        let params: Vec<Param<'_>> = vec![
            &self.id,
            &self.started_at,
            &self.expected_end,
            &self.ended_at,
            &self.kind,
            &self.detected_by,
            &self.source,
            &self.reason,
        ];
        let sql = "INSERT INTO incidents (id, started_at, expected_end, ended_at, kind, \
                   detected_by, source, reason) SELECT * FROM unnest($1::uuid[], $2::int8[], \
                   $3::int8[], $4::int8[], $5::int2[], $6::int2[], $7::text[], $8::text[]) \
                   ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, \
                   detected_by = excluded.detected_by, expected_end = excluded.expected_end, \
                   ended_at = excluded.ended_at, reason = excluded.reason";
        calls.push(Call::any(sql, params));
    }
}
