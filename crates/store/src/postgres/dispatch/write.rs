//! What the dispatcher wants kept, as columns.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use wellspring_core::{Stored, Timestamp};
use wellspring_engine::{CommitError, DeliveryAttempt, DeliveryRow, DispatchWrites, Position};

use crate::postgres::columns::text;
use crate::postgres::round::Call;
use crate::row::{disabled_code, error_text, millis};

/// What the dispatcher wants written.
#[derive(Default)]
pub(in crate::postgres) struct Dispatch<'a> {
    /// Whose rows are written: they are locked, so that none is deleted meanwhile.
    subscriptions: Vec<Uuid>,
    positions: Positions,
    caught_up: (Vec<Uuid>, Vec<i16>),
    deliveries: Deliveries<'a>,
    attempts: Attempts<'a>,
    disabled: (Vec<Uuid>, Vec<i16>, Vec<i64>),
}

/// Positions; of one there may be only one in a statement, the last.
#[derive(Default)]
struct Positions {
    place: BTreeMap<(Uuid, i16), usize>,
    subscription: Vec<Uuid>,
    shard: Vec<i16>,
    seen: Vec<i64>,
    failing_since: Vec<Option<i64>>,
}

/// Deliveries; of one there may be only one in a statement, the last.
#[derive(Default)]
struct Deliveries<'a> {
    subscription: Vec<Uuid>,
    tenant: Vec<Uuid>,
    line: Vec<Uuid>,
    seq: Vec<i64>,
    created_at: Vec<i64>,
    next_attempt_at: Vec<Option<i64>>,
    ended_at: Vec<Option<i64>>,
    shard: Vec<i16>,
    status: Vec<i16>,
    attempts: Vec<i16>,
    failures: Vec<i16>,
    message_id: Vec<Cow<'a, str>>,
}

#[derive(Default)]
struct Attempts<'a> {
    subscription: Vec<Uuid>,
    seq: Vec<i64>,
    at: Vec<i64>,
    duration_ms: Vec<i64>,
    shard: Vec<i16>,
    number: Vec<i16>,
    http_status: Vec<Option<i16>>,
    snippet: Vec<Cow<'a, str>>,
    error: Vec<Option<String>>,
}

impl<'a> Dispatch<'a> {
    pub(in crate::postgres) fn of(writes: &'a DispatchWrites) -> Result<Self, CommitError> {
        let mut columns = Self::default();
        let mut subscriptions = BTreeSet::new();
        for position in &writes.positions {
            subscriptions.insert(position.subscription.uuid());
            columns.positions.push(position);
        }
        for (subscription, shard) in &writes.caught_up {
            columns.caught_up.0.push(subscription.uuid());
            columns.caught_up.1.push(shard.0.into());
        }
        let mut last = BTreeMap::new();
        for row in &writes.deliveries {
            subscriptions.insert(row.subscription.uuid());
            last.insert((row.shard, row.seq, row.subscription), row);
        }
        for row in last.into_values() {
            columns.deliveries.push(row);
        }
        for attempt in &writes.attempts {
            subscriptions.insert(attempt.subscription.uuid());
            columns.attempts.push(attempt)?;
        }
        let mut disabled: Vec<_> = writes.disabled.iter().collect();
        disabled.sort_by_key(|(id, _, _)| *id);
        for (id, reason, at) in disabled {
            columns.disabled.0.push(id.uuid());
            columns.disabled.1.push(disabled_code(*reason).into());
            columns.disabled.2.push(at.as_millis());
        }
        columns.subscriptions = subscriptions.into_iter().collect();
        Ok(columns)
    }

    /// Adds the statements; what concerns a subscription that is gone changes nothing.
    pub(in crate::postgres) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if !self.subscriptions.is_empty() {
            let sql = "SELECT id FROM subscriptions WHERE id = ANY($1) ORDER BY id FOR KEY SHARE";
            calls.push(Call::any(sql, vec![&self.subscriptions]));
        }
        self.positions.calls(calls);
        if !self.caught_up.0.is_empty() {
            let sql = "DELETE FROM positions p USING unnest($1::uuid[], $2::int2[]) \
                       AS u (subscription, shard) \
                       WHERE p.shard = u.shard AND p.subscription = u.subscription";
            calls.push(Call::any(sql, vec![&self.caught_up.0, &self.caught_up.1]));
        }
        self.deliveries.calls(calls);
        self.attempts.calls(calls);
        let (disabled, reasons, times) = &self.disabled;
        if !disabled.is_empty() {
            let sql = "UPDATE subscriptions s SET disabled_reason = u.reason, \
                       disabled_at = u.at, version = s.version + 1 \
                       FROM unnest($1::uuid[], $2::int2[], $3::int8[]) AS u (id, reason, at) \
                       WHERE s.id = u.id AND s.disabled_at IS NULL";
            calls.push(Call::any(sql, vec![disabled, reasons, times]));
        }
    }
}

impl Positions {
    fn push(&mut self, position: &Position) {
        let (id, shard) = (position.subscription.uuid(), i16::from(position.shard.0));
        let seen = position.seen.cast_signed();
        let failing_since = position.failing_since.map(Timestamp::as_millis);
        let last = self.seen.len();
        let place = *self.place.entry((id, shard)).or_insert(last);
        if let (Some(kept), Some(kept_failing)) =
            (self.seen.get_mut(place), self.failing_since.get_mut(place))
        {
            (*kept, *kept_failing) = (seen, failing_since);
            return;
        }
        self.subscription.push(id);
        self.shard.push(shard);
        self.seen.push(seen);
        self.failing_since.push(failing_since);
    }

    fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if self.seen.is_empty() {
            return;
        }
        let sql = "INSERT INTO positions (subscription, shard, seen, failing_since) \
                   SELECT u.* FROM unnest($1::uuid[], $2::int2[], $3::int8[], $4::int8[]) \
                   AS u (subscription, shard, seen, failing_since) \
                   JOIN subscriptions s ON s.id = u.subscription \
                   ON CONFLICT (shard, subscription) \
                   DO UPDATE SET seen = excluded.seen, failing_since = excluded.failing_since";
        calls.push(Call::any(
            sql,
            vec![
                &self.subscription,
                &self.shard,
                &self.seen,
                &self.failing_since,
            ],
        ));
    }
}

impl<'a> Deliveries<'a> {
    fn push(&mut self, row: &'a DeliveryRow) {
        self.subscription.push(row.subscription.uuid());
        self.tenant.push(row.tenant.uuid());
        self.line.push(Uuid::from_bytes(row.line));
        self.seq.push(row.seq.cast_signed());
        self.created_at.push(row.created_at.as_millis());
        let next_attempt_at = row.next_attempt_at.map(Timestamp::as_millis);
        self.next_attempt_at.push(next_attempt_at);
        self.ended_at.push(row.ended_at.map(Timestamp::as_millis));
        self.shard.push(row.shard.0.into());
        self.status.push(row.status.code().into());
        self.attempts.push(row.attempts.cast_signed());
        self.failures.push(row.failures.cast_signed());
        self.message_id.push(text(&row.message_id));
    }

    fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if self.seq.is_empty() {
            return;
        }
        let sql = "INSERT INTO deliveries (subscription, tenant, line, seq, created_at, \
                   next_attempt_at, ended_at, shard, status, attempts, failures, message_id) \
                   SELECT u.* FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int8[], \
                   $5::int8[], $6::int8[], $7::int8[], $8::int2[], $9::int2[], $10::int2[], \
                   $11::int2[], $12::text[]) AS u (subscription, tenant, line, seq, created_at, \
                   next_attempt_at, ended_at, shard, status, attempts, failures, message_id) \
                   JOIN subscriptions s ON s.id = u.subscription \
                   ON CONFLICT (shard, seq, subscription) DO UPDATE SET \
                   next_attempt_at = excluded.next_attempt_at, ended_at = excluded.ended_at, \
                   status = excluded.status, attempts = excluded.attempts, \
                   failures = excluded.failures";
        calls.push(Call::any(
            sql,
            vec![
                &self.subscription,
                &self.tenant,
                &self.line,
                &self.seq,
                &self.created_at,
                &self.next_attempt_at,
                &self.ended_at,
                &self.shard,
                &self.status,
                &self.attempts,
                &self.failures,
                &self.message_id,
            ],
        ));
    }
}

impl<'a> Attempts<'a> {
    fn push(&mut self, attempt: &'a DeliveryAttempt) -> Result<(), CommitError> {
        let error = error_text(attempt.error.as_ref());
        let error = error.map_err(|error| CommitError::NotCommitted(error.to_string()))?;
        self.subscription.push(attempt.subscription.uuid());
        self.seq.push(attempt.seq.cast_signed());
        self.at.push(attempt.at.as_millis());
        self.duration_ms.push(millis(attempt.duration));
        self.shard.push(attempt.shard.0.into());
        self.number.push(attempt.number.cast_signed());
        self.http_status.push(attempt.status.map(u16::cast_signed));
        self.snippet.push(text(&attempt.snippet));
        self.error.push(error);
        Ok(())
    }

    fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if self.seq.is_empty() {
            return;
        }
        let sql = "INSERT INTO delivery_attempts (subscription, seq, at, duration_ms, shard, \
                   number, http_status, snippet, error) \
                   SELECT u.* FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], \
                   $5::int2[], $6::int2[], $7::int2[], $8::text[], $9::text[]) \
                   AS u (subscription, seq, at, duration_ms, shard, number, http_status, \
                   snippet, error) \
                   JOIN subscriptions s ON s.id = u.subscription ON CONFLICT DO NOTHING";
        calls.push(Call::any(
            sql,
            vec![
                &self.subscription,
                &self.seq,
                &self.at,
                &self.duration_ms,
                &self.shard,
                &self.number,
                &self.http_status,
                &self.snippet,
                &self.error,
            ],
        ));
    }
}
