//! What fetches leave: their rows, their attempts, and what they asked.

use uuid::Uuid;
use wellspring_core::connection::InteractionWrite;
use wellspring_core::reliability::FetchTally;
use wellspring_core::{Connection, Stored, Timestamp};
use wellspring_engine::{CommitError, ConnectionWrite};

use super::{Call, unwritable};
use crate::row::{error_text, fetch_body, millis, question_text, tally_columns};

/// Fetches and their attempts.
#[derive(Default)]
pub(super) struct Fetches {
    id: Vec<Uuid>,
    connection: Vec<Uuid>,
    tenant: Vec<Uuid>,
    ended_at: Vec<Option<i64>>,
    body: Vec<String>,
    attempts: Attempts,
    tallies: Tallies,
}

/// What is added to the statistics.
#[derive(Default)]
struct Tallies {
    connection: Vec<Uuid>,
    tenant: Vec<Uuid>,
    sums: [Vec<i64>; 5],
    day: Vec<i32>,
    status: Vec<i16>,
    bucket: Vec<i16>,
    source: Vec<String>,
}

#[derive(Default)]
struct Attempts {
    fetch: Vec<Uuid>,
    at: Vec<i64>,
    duration_ms: Vec<i64>,
    number: Vec<i16>,
    error: Vec<Option<String>>,
    documents: Vec<i32>,
    records: Vec<i32>,
    next_at: Vec<Option<i64>>,
}

/// What becomes of interactions.
#[derive(Default)]
pub(super) struct Interactions<'a> {
    opened: Opened,
    closed: Closings<'a>,
}

#[derive(Default)]
struct Opened {
    id: Vec<Uuid>,
    connection: Vec<Uuid>,
    created_at: Vec<i64>,
    expires_at: Vec<Option<i64>>,
    question: Vec<String>,
}

#[derive(Default)]
struct Closings<'a> {
    id: Vec<Uuid>,
    closed_at: Vec<i64>,
    reason: Vec<i16>,
    hash: Vec<Option<&'a [u8]>>,
}

impl Fetches {
    pub(super) fn push(
        &mut self,
        write: &ConnectionWrite,
        next: &Connection,
    ) -> Result<(), CommitError> {
        if let Some(fetch) = &write.fetch {
            self.id.push(fetch.id.uuid());
            self.connection.push(write.id.uuid());
            self.tenant.push(next.tenant.uuid());
            self.ended_at.push(fetch.ended_at.map(Timestamp::as_millis));
            let body = fetch_body(fetch).map_err(|error| unwritable(&error))?;
            self.body.push(body);
            if let Some(tally) = FetchTally::of(fetch) {
                self.tallies.push(next, &tally);
            }
        }
        if let Some(attempt) = &write.attempt {
            let error = error_text(attempt.error.as_ref());
            let Attempts {
                fetch,
                at,
                duration_ms,
                number,
                error: errors,
                documents,
                records,
                next_at,
            } = &mut self.attempts;
            errors.push(error.map_err(|error| unwritable(&error))?);
            fetch.push(attempt.fetch.uuid());
            at.push(attempt.at.as_millis());
            duration_ms.push(millis(attempt.duration));
            number.push(attempt.number.cast_signed());
            documents.push(attempt.documents.cast_signed());
            records.push(attempt.records.cast_signed());
            next_at.push(attempt.next_at.map(Timestamp::as_millis));
        }
        Ok(())
    }

    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if !self.id.is_empty() {
            let sql = "INSERT INTO fetches (id, connection, tenant, ended_at, body) \
                       SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int8[], \
                       $5::text[]) ON CONFLICT (id) \
                       DO UPDATE SET ended_at = excluded.ended_at, body = excluded.body";
            calls.push(Call::any(
                sql,
                vec![
                    &self.id,
                    &self.connection,
                    &self.tenant,
                    &self.ended_at,
                    &self.body,
                ],
            ));
        }
        let attempts = &self.attempts;
        if !attempts.fetch.is_empty() {
            let sql = "INSERT INTO fetch_attempts \
                       (fetch_id, at, duration_ms, number, error, documents, records, next_at) \
                       SELECT * FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int2[], \
                       $5::text[], $6::int4[], $7::int4[], $8::int8[]) ON CONFLICT DO NOTHING";
            calls.push(Call::any(
                sql,
                vec![
                    &attempts.fetch,
                    &attempts.at,
                    &attempts.duration_ms,
                    &attempts.number,
                    &attempts.error,
                    &attempts.documents,
                    &attempts.records,
                    &attempts.next_at,
                ],
            ));
        }
        self.tallies.calls(calls);
    }
}

impl Tallies {
    fn push(&mut self, connection: &Connection, tally: &FetchTally) {
        let ((day, status, bucket), sums) = tally_columns(tally);
        self.connection.push(connection.id.uuid());
        self.tenant.push(connection.tenant.uuid());
        for (column, sum) in self.sums.iter_mut().zip(sums) {
            column.push(sum);
        }
        self.day.push(day);
        self.status.push(status.into());
        self.bucket.push(bucket.cast_signed());
        self.source.push(connection.source.as_str().to_owned());
    }

    /// Of one round no two are of the same connection, so that no row is met twice.
    fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if self.connection.is_empty() {
            return;
        }
        let sql = "INSERT INTO fetch_statistics AS s (connection, tenant, fetches, attempts, \
                   records, documents, duration_ms, day, status, bucket, source) \
                   SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int8[], $4::int8[], \
                   $5::int8[], $6::int8[], $7::int8[], $8::int4[], $9::int2[], $10::int2[], \
                   $11::text[]) ON CONFLICT (connection, day, status, bucket) DO UPDATE SET \
                   fetches = s.fetches + excluded.fetches, \
                   attempts = s.attempts + excluded.attempts, \
                   records = s.records + excluded.records, \
                   documents = s.documents + excluded.documents, \
                   duration_ms = s.duration_ms + excluded.duration_ms";
        let [fetches, attempts, records, documents, duration_ms] = &self.sums;
        calls.push(Call::any(
            sql,
            vec![
                &self.connection,
                &self.tenant,
                fetches,
                attempts,
                records,
                documents,
                duration_ms,
                &self.day,
                &self.status,
                &self.bucket,
                &self.source,
            ],
        ));
    }
}

impl<'a> Interactions<'a> {
    pub(super) fn push(
        &mut self,
        connection: Uuid,
        writes: &'a [InteractionWrite],
    ) -> Result<(), CommitError> {
        for write in writes {
            match write {
                InteractionWrite::Open {
                    id,
                    question,
                    at,
                    expires_at,
                } => {
                    let question = question_text(question).map_err(|error| unwritable(&error))?;
                    self.opened.id.push(id.uuid());
                    self.opened.connection.push(connection);
                    self.opened.created_at.push(at.as_millis());
                    let expires_at = expires_at.map(Timestamp::as_millis);
                    self.opened.expires_at.push(expires_at);
                    self.opened.question.push(question);
                }
                InteractionWrite::Close {
                    id,
                    reason,
                    at,
                    hash,
                } => {
                    self.closed.id.push(id.uuid());
                    self.closed.closed_at.push(at.as_millis());
                    self.closed.reason.push(reason.code().into());
                    self.closed
                        .hash
                        .push(hash.as_ref().map(<[u8; 32]>::as_slice));
                }
            }
        }
        Ok(())
    }

    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        let Self { opened, closed } = self;
        if !opened.id.is_empty() {
            let sql = "INSERT INTO interactions \
                       (id, connection, created_at, expires_at, question) \
                       SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int8[], $4::int8[], \
                       $5::text[]) ON CONFLICT DO NOTHING";
            calls.push(Call::any(
                sql,
                vec![
                    &opened.id,
                    &opened.connection,
                    &opened.created_at,
                    &opened.expires_at,
                    &opened.question,
                ],
            ));
        }
        if !closed.id.is_empty() {
            let sql = "UPDATE interactions i \
                       SET closed_at = u.closed_at, reason = u.reason, hash = u.hash \
                       FROM unnest($1::uuid[], $2::int8[], $3::int2[], $4::bytea[]) \
                       AS u (id, closed_at, reason, hash) WHERE i.id = u.id";
            calls.push(Call::any(
                sql,
                vec![&closed.id, &closed.closed_at, &closed.reason, &closed.hash],
            ));
        }
    }
}
