//! Steps of accounts as columns.

use std::borrow::Cow;

use uuid::Uuid;
use wellspring_core::Account;
use wellspring_engine::{AccountWrite, Before, CommitError};

use super::Call;
use crate::postgres::columns::text;
use crate::row::erasing_columns;

/// Steps of different accounts.
#[derive(Default)]
pub(super) struct Accounts<'a> {
    made: Columns<'a>,
    changed: Columns<'a>,
    erased: (Vec<Uuid>, Vec<i32>),
}

#[derive(Default)]
struct Columns<'a> {
    id: Vec<Uuid>,
    before: Vec<i32>,
    tenant: Vec<Uuid>,
    created_at: Vec<i64>,
    erasing_at: Vec<Option<i64>>,
    version: Vec<i32>,
    external_id: Vec<Option<Cow<'a, str>>>,
    erasing_by: Vec<Option<Vec<u8>>>,
}

impl<'a> Accounts<'a> {
    pub(super) fn push(&mut self, write: &'a AccountWrite) -> Result<(), CommitError> {
        match (write.before, &write.next) {
            (Before::New, Some(next)) => self.made.push(0, next),
            (Before::Live(version), Some(next)) => self.changed.push(version, next),
            (Before::Live(version), None) => {
                self.erased.0.push(write.id.uuid());
                self.erased.1.push(version.cast_signed());
            }
            (Before::Finished(_), _) | (Before::New, None) => {
                return Err(CommitError::Stale(write.id.into()));
            }
        }
        Ok(())
    }

    /// Adds the statements; those without rows are left out.
    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        let all = [self.made.insert(), self.changed.update()];
        calls.extend(all.into_iter().filter_map(Call::unless_empty));
        self.erase(calls);
    }

    /// Removes accounts with all that is left of them, of connections as well, should there be any.
    fn erase<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        let (ids, versions) = &self.erased;
        if ids.is_empty() {
            return;
        }
        calls.push(Call {
            sql: "DELETE FROM accounts a USING unnest($1::uuid[], $2::int4[]) AS u (id, before) \
                  WHERE a.id = u.id AND a.version = u.before",
            params: vec![ids, versions],
            expected: Some(ids.len()),
        });
        for sql in [
            "DELETE FROM secrets WHERE connection IN \
             (SELECT id FROM connections WHERE account = ANY($1))",
            "DELETE FROM interactions WHERE connection IN \
             (SELECT id FROM connections WHERE account = ANY($1))",
            "DELETE FROM stream_cursors WHERE connection IN \
             (SELECT id FROM connections WHERE account = ANY($1))",
            "DELETE FROM records WHERE connection IN \
             (SELECT id FROM connections WHERE account = ANY($1))",
            "DELETE FROM fetch_attempts WHERE fetch_id IN (SELECT f.id FROM connections c \
             JOIN fetches f ON f.connection = c.id WHERE c.account = ANY($1))",
            "DELETE FROM fetches WHERE connection IN \
             (SELECT id FROM connections WHERE account = ANY($1))",
            "DELETE FROM connections WHERE account = ANY($1)",
            "DELETE FROM tokens WHERE account = ANY($1)",
            "DELETE FROM people WHERE account = ANY($1)",
            "DELETE FROM notices WHERE account = ANY($1)",
            "DELETE FROM notifications WHERE account = ANY($1)",
            "DELETE FROM notification_issues WHERE account = ANY($1)",
            "DELETE FROM notification_heads WHERE account = ANY($1)",
            "DELETE FROM maintenance_told WHERE account = ANY($1)",
            "DELETE FROM allowances WHERE account = ANY($1)",
            "DELETE FROM alerts WHERE account = ANY($1)",
            "WITH gone AS (DELETE FROM documents WHERE account = ANY($1) RETURNING id) \
             INSERT INTO blob_garbage SELECT id FROM gone ON CONFLICT DO NOTHING",
        ] {
            calls.push(Call::any(sql, vec![ids]));
        }
    }
}

impl<'a> Columns<'a> {
    fn push(&mut self, before: u32, next: &'a Account) {
        let (erasing_at, erasing_by) = erasing_columns(next);
        self.id.push(next.id.uuid());
        self.before.push(before.cast_signed());
        self.tenant.push(next.tenant.uuid());
        self.created_at.push(next.created_at.as_millis());
        self.erasing_at.push(erasing_at);
        self.version.push(next.version.cast_signed());
        self.external_id.push(next.external_id.as_deref().map(text));
        self.erasing_by.push(erasing_by);
    }

    fn insert(&self) -> Call<'_> {
        Call {
            sql: "INSERT INTO accounts \
                  (id, tenant, created_at, erasing_at, version, external_id, erasing_by) \
                  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int8[], $4::int8[], \
                  $5::int4[], $6::text[], $7::bytea[]) ON CONFLICT DO NOTHING",
            params: vec![
                &self.id,
                &self.tenant,
                &self.created_at,
                &self.erasing_at,
                &self.version,
                &self.external_id,
                &self.erasing_by,
            ],
            expected: Some(self.id.len()),
        }
    }

    fn update(&self) -> Call<'_> {
        Call {
            sql: "UPDATE accounts a SET erasing_at = u.erasing_at, version = u.version, \
                  external_id = u.external_id, erasing_by = u.erasing_by \
                  FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::int4[], $5::text[], \
                  $6::bytea[]) AS u (id, before, erasing_at, version, external_id, erasing_by) \
                  WHERE a.id = u.id AND a.version = u.before",
            params: vec![
                &self.id,
                &self.before,
                &self.erasing_at,
                &self.version,
                &self.external_id,
                &self.erasing_by,
            ],
            expected: Some(self.id.len()),
        }
    }
}
