//! Steps of collections as columns.

use std::borrow::Cow;

use uuid::Uuid;
use wellspring_core::{Collection, Stored, Timestamp};
use wellspring_engine::{Before, CollectionWrite, CommitError, OutcomeChange};

use super::Call;
use crate::postgres::columns::text;
use crate::postgres::session::Param;
use crate::row::{AttemptRow, Hot};

/// Steps of different collections.
#[derive(Default)]
pub(super) struct Collections<'a> {
    accepted: Accepted<'a>,
    entering: HotColumns,
    staying: HotColumns,
    leaving: Versions,
    outcomes: Outcomes<'a>,
    payloads: (Vec<Uuid>, Vec<&'a [u8]>),
    attempts: Attempts<'a>,
    erased: (Vec<Uuid>, Vec<Option<i32>>),
}

#[derive(Default)]
struct Accepted<'a> {
    id: Vec<Uuid>,
    tenant: Vec<Uuid>,
    created_at: Vec<i64>,
    version: Vec<i32>,
    message: Vec<i16>,
    source: Vec<&'a str>,
    callback_url: Vec<Cow<'a, str>>,
}

#[derive(Default)]
struct Versions {
    id: Vec<Uuid>,
    version: Vec<i32>,
}

#[derive(Default)]
struct HotColumns {
    before: Versions,
    due: Vec<i64>,
    lane: Vec<i64>,
    since: Vec<i64>,
    version: Vec<i32>,
    state: Vec<i16>,
    retries: Vec<i16>,
    waits: Vec<i16>,
    message: Vec<i16>,
}

#[derive(Default)]
struct Outcomes<'a> {
    id: Vec<Uuid>,
    before: Vec<Option<i32>>,
    version: Vec<i32>,
    message: Vec<i16>,
    collected_at: Vec<Option<i64>>,
    finished_at: Vec<Option<i64>>,
    failed_stage: Vec<Option<i16>>,
    error_class: Vec<Option<i16>>,
    error_code: Vec<Option<Cow<'a, str>>>,
    error_message: Vec<Option<Cow<'a, str>>>,
}

#[derive(Default)]
struct Attempts<'a> {
    id: Vec<Uuid>,
    at: Vec<i64>,
    duration_ms: Vec<i64>,
    version: Vec<i32>,
    stage: Vec<i16>,
    class: Vec<Option<i16>>,
    code: Vec<Option<Cow<'a, str>>>,
    message: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Collections<'a> {
    pub(super) fn push(&mut self, write: &'a CollectionWrite) -> Result<(), CommitError> {
        let id = write.id.uuid();
        let Some(next) = &write.next else {
            return self.erase(write);
        };
        let hot = Hot::of(next);
        let mut finished = None;
        match (write.before, &hot) {
            (Before::New, Some(hot)) => {
                self.accepted.push(next);
                self.entering.push(id, 0, hot);
            }
            (Before::Live(version), Some(hot)) => self.staying.push(id, version, hot),
            (Before::Live(version), None) => self.leaving.push(id, version),
            (Before::Finished(version), Some(hot)) => {
                self.entering.push(id, 0, hot);
                finished = Some(version.cast_signed());
            }
            (Before::New | Before::Finished(_), None) => {
                return Err(CommitError::Stale(write.id.into()));
            }
        }
        self.outcomes.push(write, next, finished);
        if let Some(payload) = &write.payload {
            self.payloads.0.push(id);
            self.payloads.1.push(payload);
        }
        if let Some(attempt) = &write.attempt {
            self.attempts
                .push(id, next.version, &AttemptRow::of(attempt));
        }
        Ok(())
    }

    fn erase(&mut self, write: &CollectionWrite) -> Result<(), CommitError> {
        let id = write.id.uuid();
        let before = match write.before {
            Before::Live(version) => {
                self.leaving.push(id, version);
                None
            }
            Before::Finished(version) => Some(version.cast_signed()),
            Before::New => return Err(CommitError::Stale(write.id.into())),
        };
        self.erased.0.push(id);
        self.erased.1.push(before);
        Ok(())
    }

    /// Adds the statements; those without rows are left out.
    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        let all = [
            self.accepted.call(),
            self.entering.insert(),
            self.staying.update(),
            self.leaving.delete(),
            self.outcomes.call(),
            Call {
                sql: "INSERT INTO payloads (id, body) \
                      SELECT * FROM unnest($1::uuid[], $2::bytea[]) \
                      ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                params: vec![&self.payloads.0, &self.payloads.1],
                expected: Some(self.payloads.0.len()),
            },
            self.attempts.call(),
            Call {
                sql: "DELETE FROM collections c USING unnest($1::uuid[], $2::int4[]) \
                      AS u (id, before) \
                      WHERE c.id = u.id AND (u.before IS NULL OR c.version = u.before)",
                params: vec![&self.erased.0, &self.erased.1],
                expected: Some(self.erased.0.len()),
            },
        ];
        calls.extend(all.into_iter().filter_map(Call::unless_empty));
        if !self.erased.0.is_empty() {
            for sql in [
                "DELETE FROM payloads WHERE id = ANY($1)",
                "DELETE FROM attempts WHERE id = ANY($1)",
            ] {
                calls.push(Call {
                    sql,
                    params: vec![&self.erased.0],
                    expected: None,
                });
            }
        }
    }
}

impl<'a> Accepted<'a> {
    fn push(&mut self, next: &'a Collection) {
        self.id.push(next.id.uuid());
        self.tenant.push(next.tenant.uuid());
        self.created_at.push(next.created_at.as_millis());
        self.version.push(next.version.cast_signed());
        self.message.push(next.message.cast_signed());
        self.source.push(next.source.as_str());
        self.callback_url.push(text(&next.callback_url));
    }

    fn call(&self) -> Call<'_> {
        Call {
            sql: "INSERT INTO collections \
                  (id, tenant, created_at, version, message, source, callback_url) \
                  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int8[], $4::int4[], $5::int2[], \
                  $6::text[], $7::text[]) ON CONFLICT DO NOTHING",
            params: vec![
                &self.id,
                &self.tenant,
                &self.created_at,
                &self.version,
                &self.message,
                &self.source,
                &self.callback_url,
            ],
            expected: Some(self.id.len()),
        }
    }
}

impl Versions {
    fn push(&mut self, id: Uuid, version: u32) {
        self.id.push(id);
        self.version.push(version.cast_signed());
    }

    fn delete(&self) -> Call<'_> {
        Call {
            sql: "DELETE FROM hot h USING unnest($1::uuid[], $2::int4[]) AS u (id, before) \
                  WHERE h.id = u.id AND h.version = u.before",
            params: vec![&self.id, &self.version],
            expected: Some(self.id.len()),
        }
    }
}

impl HotColumns {
    fn push(&mut self, id: Uuid, before: u32, hot: &Hot) {
        self.before.push(id, before);
        self.due.push(hot.due.as_millis());
        self.lane.push(hot.lane.0.cast_signed());
        self.since.push(hot.since.as_millis());
        self.version.push(hot.version.cast_signed());
        self.state.push(i16::from(hot.state));
        self.retries.push(hot.retries.cast_signed());
        self.waits.push(hot.waits.cast_signed());
        self.message.push(hot.message.cast_signed());
    }

    fn insert(&self) -> Call<'_> {
        Call {
            sql: "INSERT INTO hot (id, due, lane, since, version, state, retries, waits, message) \
                  SELECT * FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::int4[], \
                  $6::int2[], $7::int2[], $8::int2[], $9::int2[]) ON CONFLICT DO NOTHING",
            params: self.params(),
            expected: Some(self.due.len()),
        }
    }

    fn update(&self) -> Call<'_> {
        let mut params = self.params();
        params.push(&self.before.version);
        Call {
            sql: "UPDATE hot h SET due = u.due, lane = u.lane, since = u.since, \
                  version = u.version, state = u.state, retries = u.retries, waits = u.waits, \
                  message = u.message \
                  FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::int4[], \
                  $6::int2[], $7::int2[], $8::int2[], $9::int2[], $10::int4[]) \
                  AS u (id, due, lane, since, version, state, retries, waits, message, before) \
                  WHERE h.id = u.id AND h.version = u.before",
            params,
            expected: Some(self.due.len()),
        }
    }

    fn params(&self) -> Vec<Param<'_>> {
        vec![
            &self.before.id,
            &self.due,
            &self.lane,
            &self.since,
            &self.version,
            &self.state,
            &self.retries,
            &self.waits,
            &self.message,
        ]
    }
}

impl<'a> Outcomes<'a> {
    fn push(&mut self, write: &'a CollectionWrite, next: &Collection, before: Option<i32>) {
        let (collected_at, finished_at, failure) = match write.outcome() {
            OutcomeChange::Keep => return,
            OutcomeChange::Clear => (None, None, None),
            OutcomeChange::Delivered { collected_at, at } => (Some(collected_at), Some(at), None),
            OutcomeChange::Failed {
                stage,
                collected_at,
                at,
                error,
            } => (collected_at, Some(at), Some((stage, error))),
        };
        self.id.push(write.id.uuid());
        self.before.push(before);
        self.version.push(next.version.cast_signed());
        self.message.push(next.message.cast_signed());
        self.collected_at
            .push(collected_at.map(Timestamp::as_millis));
        self.finished_at.push(finished_at.map(Timestamp::as_millis));
        self.failed_stage
            .push(failure.map(|(stage, _)| stage.code().into()));
        self.error_class
            .push(failure.map(|(_, error)| error.class.code().into()));
        self.error_code
            .push(failure.map(|(_, error)| text(&error.code)));
        self.error_message
            .push(failure.map(|(_, error)| text(&error.message)));
    }

    fn call(&self) -> Call<'_> {
        Call {
            sql: "UPDATE collections c SET version = u.version, message = u.message, \
                  collected_at = coalesce(c.collected_at, u.collected_at), \
                  finished_at = u.finished_at, failed_stage = u.failed_stage, \
                  error_class = u.error_class, error_code = u.error_code, \
                  error_message = u.error_message \
                  FROM unnest($1::uuid[], $2::int4[], $3::int4[], $4::int2[], $5::int8[], \
                  $6::int8[], $7::int2[], $8::int2[], $9::text[], $10::text[]) \
                  AS u (id, before, version, message, collected_at, finished_at, failed_stage, \
                  error_class, error_code, error_message) \
                  WHERE c.id = u.id AND (u.before IS NULL OR c.version = u.before)",
            params: vec![
                &self.id,
                &self.before,
                &self.version,
                &self.message,
                &self.collected_at,
                &self.finished_at,
                &self.failed_stage,
                &self.error_class,
                &self.error_code,
                &self.error_message,
            ],
            expected: Some(self.id.len()),
        }
    }
}

impl<'a> Attempts<'a> {
    fn push(&mut self, id: Uuid, version: u32, row: &AttemptRow<'a>) {
        self.id.push(id);
        self.at.push(row.at);
        self.duration_ms.push(row.duration_ms);
        self.version.push(version.cast_signed());
        self.stage.push(row.stage.into());
        self.class.push(row.class.map(i16::from));
        self.code.push(row.code.map(text));
        self.message.push(row.message.map(text));
    }

    fn call(&self) -> Call<'_> {
        Call {
            sql: "INSERT INTO attempts (id, at, duration_ms, version, stage, class, code, message) \
                  SELECT * FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int4[], $5::int2[], \
                  $6::int2[], $7::text[], $8::text[]) ON CONFLICT DO NOTHING",
            params: vec![
                &self.id,
                &self.at,
                &self.duration_ms,
                &self.version,
                &self.stage,
                &self.class,
                &self.code,
                &self.message,
            ],
            expected: Some(self.id.len()),
        }
    }
}
