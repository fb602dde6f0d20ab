//! Steps of connections as columns.

use uuid::Uuid;
use wellspring_core::Connection;
use wellspring_engine::{Before, CommitError, ConnectionWrite};

use super::alert::Alerts;
use super::fetch::{Fetches, Interactions};
use super::item::{Cursors, Documents, Records};
use super::secret::Secrets;
use super::{Call, unwritable};
use crate::postgres::session::Param;
use crate::row::ConnectionRow;

/// Steps of different connections.
#[derive(Default)]
pub(super) struct Connections<'a> {
    made: Columns<'a>,
    changed: Columns<'a>,
    deleted: (Vec<Uuid>, Vec<i32>),
    fetches: Fetches,
    interactions: Interactions<'a>,
    secrets: Secrets<'a>,
    documents: Documents<'a>,
    records: Records<'a>,
    cursors: Cursors<'a>,
    alerts: Alerts<'a>,
}

#[derive(Default)]
struct Columns<'a> {
    id: Vec<Uuid>,
    before: Vec<i32>,
    account: Vec<Uuid>,
    tenant: Vec<Uuid>,
    due: Vec<Option<i64>>,
    lane: Vec<Option<i64>>,
    version: Vec<i32>,
    shard: Vec<i16>,
    state: Vec<i16>,
    source: Vec<&'a str>,
    body: Vec<String>,
}

impl<'a> Connections<'a> {
    pub(super) fn push(&mut self, write: &'a ConnectionWrite) -> Result<(), CommitError> {
        let id = write.id.uuid();
        self.documents.push(&write.documents)?;
        self.alerts.push(&write.alerts);
        let next = match (write.before, &write.next) {
            (Before::New, Some(next)) => {
                self.made.push(0, next)?;
                next
            }
            (Before::Live(version), Some(next)) => {
                self.changed.push(version, next)?;
                next
            }
            (Before::Live(version), None) => {
                self.deleted.0.push(id);
                self.deleted.1.push(version.cast_signed());
                return Ok(());
            }
            (Before::Finished(_), _) | (Before::New, None) => {
                return Err(CommitError::Stale(write.id.into()));
            }
        };
        self.fetches.push(write, next)?;
        self.interactions.push(id, &write.interactions)?;
        self.secrets.push(id, &write.secrets);
        self.records.push(id, &write.records);
        self.cursors.push(id, &write.cursors);
        Ok(())
    }

    /// Adds the statements; those without rows are left out.
    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        let all = [self.made.insert(), self.changed.update()];
        calls.extend(all.into_iter().filter_map(Call::unless_empty));
        self.fetches.calls(calls);
        self.interactions.calls(calls);
        self.secrets.calls(calls);
        self.documents.calls(calls);
        self.records.calls(calls);
        self.cursors.calls(calls);
        self.alerts.calls(calls);
        self.delete(calls);
    }

    /// Removes connections with all that is theirs but documents, which stay until the account goes.
    fn delete<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        let (ids, versions) = &self.deleted;
        if ids.is_empty() {
            return;
        }
        calls.push(Call {
            sql: "DELETE FROM connections c USING unnest($1::uuid[], $2::int4[]) \
                  AS u (id, before) WHERE c.id = u.id AND c.version = u.before",
            params: vec![ids, versions],
            expected: Some(ids.len()),
        });
        for sql in [
            "DELETE FROM secrets WHERE connection = ANY($1)",
            "DELETE FROM interactions WHERE connection = ANY($1)",
            "DELETE FROM stream_cursors WHERE connection = ANY($1)",
            "DELETE FROM records WHERE connection = ANY($1)",
            "DELETE FROM fetch_attempts WHERE fetch_id IN \
             (SELECT id FROM fetches WHERE connection = ANY($1))",
            "DELETE FROM fetches WHERE connection = ANY($1)",
        ] {
            calls.push(Call::any(sql, vec![ids]));
        }
    }
}

impl<'a> Columns<'a> {
    fn push(&mut self, before: u32, next: &'a Connection) -> Result<(), CommitError> {
        let row = ConnectionRow::of(next).map_err(|error| unwritable(&error))?;
        self.id.push(next.id.uuid());
        self.before.push(before.cast_signed());
        self.account.push(next.account.uuid());
        self.tenant.push(next.tenant.uuid());
        self.due.push(row.due);
        self.lane.push(row.lane);
        self.version.push(row.version.cast_signed());
        self.shard.push(next.id.shard().0.into());
        self.state.push(row.state.into());
        self.source.push(next.source.as_str());
        self.body.push(row.body);
        Ok(())
    }

    fn insert(&self) -> Call<'_> {
        let params: Vec<Param<'_>> = vec![
            &self.id,
            &self.account,
            &self.tenant,
            &self.due,
            &self.lane,
            &self.version,
            &self.shard,
            &self.state,
            &self.source,
            &self.body,
        ];
        Call {
            sql: "INSERT INTO connections \
                  (id, account, tenant, due, lane, version, shard, state, source, body) \
                  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int8[], \
                  $5::int8[], $6::int4[], $7::int2[], $8::int2[], $9::text[], $10::text[]) \
                  ON CONFLICT DO NOTHING",
            params,
            expected: Some(self.id.len()),
        }
    }

    fn update(&self) -> Call<'_> {
        Call {
            sql: "UPDATE connections c SET due = u.due, lane = u.lane, version = u.version, \
                  state = u.state, body = u.body \
                  FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::int8[], $5::int4[], \
                  $6::int2[], $7::text[]) AS u (id, before, due, lane, version, state, body) \
                  WHERE c.id = u.id AND c.version = u.before",
            params: vec![
                &self.id,
                &self.before,
                &self.due,
                &self.lane,
                &self.version,
                &self.state,
                &self.body,
            ],
            expected: Some(self.id.len()),
        }
    }
}
