//! What the dispatcher keeps, as columns, and what it reads.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join3;
use tokio_postgres::Row;
use uuid::Uuid;
use wellspring_core::{Shard, Stored, SubscriptionId, TenantId, Timestamp};
use wellspring_engine::{
    CommitError, DeliveryAttempt, DeliveryRow, DispatchState, DispatchWrites, LogSlice, Position,
    StoreError, SubscriptionState,
};

use super::columns::{Fields, text};
use super::log;
use super::queries::count;
use super::round::Call;
use super::session::Session;
use crate::row::{delivery_status, disabled_code, error_text, millis};

/// What the dispatcher wants written.
#[derive(Default)]
pub(super) struct Dispatch<'a> {
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
    pub(super) fn of(writes: &'a DispatchWrites) -> Result<Self, CommitError> {
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
    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
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

/// The columns of a delivery, for [`delivery`].
macro_rules! delivery_columns {
    () => {
        "d.subscription, d.tenant, d.line, d.seq, d.created_at, d.next_attempt_at, d.ended_at, \
         d.shard, d.status, d.attempts, d.failures, d.message_id"
    };
}
pub(super) use delivery_columns;

/// Reads how far a shard is dispatched; rows of subscriptions that are gone are nobody's.
pub(super) async fn state(session: &Session, shard: Shard) -> Result<DispatchState, StoreError> {
    let number = i16::from(shard.0);
    let cursor = async {
        let sql = "SELECT dispatched FROM shards WHERE shard = $1";
        let row = session.query_opt(sql, &[&number]).await?;
        let cursor = row.map(|row| Fields::new("shards", &row).place("dispatched"));
        cursor.transpose().map(Option::unwrap_or_default)
    };
    let positions = async {
        let sql = "SELECT p.subscription, p.shard, p.seen, p.failing_since FROM positions p \
                   JOIN subscriptions s ON s.id = p.subscription \
                   WHERE p.shard = $1 ORDER BY p.shard, p.subscription";
        let rows = session.query(sql, &[&number]).await?;
        rows.iter().map(position).collect::<Result<Vec<_>, _>>()
    };
    let open = async {
        let sql = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM deliveries d JOIN subscriptions s ON s.id = d.subscription \
             WHERE d.shard = $1 AND d.status < 3 ORDER BY d.seq, d.subscription"
        );
        let rows = session.query(sql, &[&number]).await?;
        rows.iter().map(delivery).collect::<Result<Vec<_>, _>>()
    };
    let (cursor, positions, open) = try_join3(cursor, positions, open).await?;
    Ok(DispatchState {
        cursor,
        positions,
        open,
    })
}

/// Reads where a subscription stands in a shard.
pub(super) async fn subscription(
    session: &Session,
    subscription: SubscriptionId,
    shard: Shard,
) -> Result<SubscriptionState, StoreError> {
    let (number, id) = (i16::from(shard.0), subscription.uuid());
    let sql = "SELECT subscription, shard, seen, failing_since FROM positions \
               WHERE shard = $1 AND subscription = $2";
    let found = session.query_opt(sql, &[&number, &id]).await?;
    let sql = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM deliveries d JOIN subscriptions s ON s.id = d.subscription \
         WHERE d.shard = $1 AND d.subscription = $2 AND d.status < 3 ORDER BY d.seq"
    );
    let open = session.query(sql, &[&number, &id]).await?;
    Ok(SubscriptionState {
        position: found.as_ref().map(position).transpose()?,
        open: open.iter().map(delivery).collect::<Result<_, _>>()?,
    })
}

/// Reads a stretch of a shard's log, with its end and its floor as of the same moment.
pub(super) async fn slice(
    session: &Session,
    shard: Shard,
    after: u64,
    tenant: Option<TenantId>,
    (limit, stretch): (usize, usize),
) -> Result<LogSlice, StoreError> {
    // Of one tenant's entries a bounded stretch is looked through, whose last row comes whosever
    // it is. One row comes in any case.
    let one = "SELECT s.next_seq, l.*, (SELECT f.seq FROM log_floors f \
               WHERE f.shard = s.shard AND f.tenant = $3) AS floor FROM shards s \
               LEFT JOIN LATERAL (SELECT * FROM (SELECT *, row_number() OVER (ORDER BY seq) \
               AS place FROM log WHERE log.shard = $1 AND log.seq > $2 ORDER BY seq LIMIT $4) \
               AS stretch WHERE tenant = $3 OR place = $4 ORDER BY seq LIMIT $5) l ON true \
               WHERE s.shard = $1 ORDER BY l.seq";
    let all = "SELECT s.next_seq, l.*, (SELECT max(f.seq) FROM log_floors f \
               WHERE f.shard = s.shard) AS floor FROM shards s \
               LEFT JOIN LATERAL (SELECT * FROM log WHERE log.shard = $1 AND log.seq > $2 \
               ORDER BY seq LIMIT $3) l ON true WHERE s.shard = $1 ORDER BY l.seq";
    let (number, from) = (i16::from(shard.0), after.cast_signed());
    let (limit_count, stretch_count) = (count(limit), count(stretch.max(limit)));
    let rows = match tenant {
        Some(tenant) => {
            let tenant = tenant.uuid();
            let params: [super::session::Param<'_>; 5] =
                [&number, &from, &tenant, &stretch_count, &limit_count];
            session.query(one, &params).await?
        }
        None => session.query(all, &[&number, &from, &limit_count]).await?,
    };
    let mut slice = LogSlice {
        entries: Vec::new(),
        seen: after,
        has_more: false,
        gap: false,
    };
    let (mut end, mut cut) = (0, false);
    for row in &rows {
        let fields = Fields::new("log", row);
        end = fields.place("next_seq")?.saturating_sub(1);
        let floor: Option<i64> = fields.get("floor")?;
        slice.gap = floor.is_some_and(|floor| floor.cast_unsigned() > after);
        if fields.get::<Option<i64>>("seq")?.is_none() {
            break;
        }
        let entry = log::row(row)?;
        slice.seen = entry.seq;
        if tenant.is_none_or(|tenant| tenant == entry.tenant) {
            slice.entries.push(entry.entry()?);
        }
        let at_end = tenant.is_some() && fields.get::<i64>("place")? == stretch_count;
        cut |= at_end;
    }
    cut |= slice.entries.len() >= limit;
    if !cut {
        slice.seen = after.max(end);
    }
    slice.has_more = slice.seen < end;
    Ok(slice)
}

fn position(row: &Row) -> Result<Position, StoreError> {
    let fields = Fields::new("positions", row);
    Ok(Position {
        subscription: SubscriptionId::from_bytes(fields.uuid("subscription")?),
        shard: fields.shard("shard")?,
        seen: fields.place("seen")?,
        failing_since: fields.timestamp_opt("failing_since")?,
    })
}

/// Reads a delivery.
pub(super) fn delivery(row: &Row) -> Result<DeliveryRow, StoreError> {
    let fields = Fields::new("deliveries", row);
    let subscription = SubscriptionId::from_bytes(fields.uuid("subscription")?);
    Ok(DeliveryRow {
        subscription,
        tenant: TenantId::from_bytes(fields.uuid("tenant")?),
        shard: fields.shard("shard")?,
        seq: fields.place("seq")?,
        line: fields.uuid("line")?,
        message_id: fields.get("message_id")?,
        status: delivery_status(subscription, fields.code("status")?)?,
        attempts: fields.small("attempts")?,
        failures: fields.small("failures")?,
        created_at: fields.timestamp("created_at")?,
        next_attempt_at: fields.timestamp_opt("next_attempt_at")?,
        ended_at: fields.timestamp_opt("ended_at")?,
    })
}
