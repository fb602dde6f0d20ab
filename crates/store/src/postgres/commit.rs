//! One batch in one transaction and two round trips: all its statements, then the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;
use uuid::Uuid;
use wellspring_core::Shard;
use wellspring_core::budget::Spent;
use wellspring_engine::{Batch, Before, CommitError, Entry, KeyRow, Write};

use super::budget;
use super::dispatch::Dispatch;
use super::pool::Pool;
use super::round::{Call, Unclassified, rounds};
use super::session::{Fault, Param, Session};
use crate::row::{LogRow, aggregate_parts};

/// Commits the batch; after `Ok` it is synced to disk.
pub(super) async fn commit(
    writer: &Pool,
    batch: &Batch,
    deadline: Duration,
) -> Result<Spent, CommitError> {
    let prepared = timeout(deadline, prepare(writer, batch)).await;
    let late = |_late| CommitError::NotCommitted("the database does not answer".to_owned());
    // Until here a lost connection undoes everything.
    let (session, spent) = prepared.map_err(late)??;
    match timeout(deadline, session.batch("COMMIT")).await {
        Ok(Ok(())) => {
            session.keep();
            Ok(spent)
        }
        Ok(Err(fault)) if fault.is_undone() => Err(fault.not_committed()),
        Ok(Err(fault)) => Err(CommitError::Unknown(fault.to_string())),
        Err(_late) => Err(CommitError::Unknown(
            "the database does not answer".to_owned(),
        )),
    }
}

/// Does everything but the commit.
async fn prepare<'a>(
    writer: &'a Pool,
    batch: &Batch,
) -> Result<(super::pool::Lent<'a>, Spent), CommitError> {
    let rounds = rounds(&batch.writes)?;
    let shards = Shards::of(batch)?;
    let keys = Keys::of(&batch.keys);
    let entries = Entries::of(&batch.entries)?;
    let unclassified = Unclassified::of(&batch.unclassified)?;
    let dispatch = Dispatch::of(&batch.dispatch)?;
    let (node, number) = (batch.incarnation.uuid(), batch.number.cast_signed());

    let mut calls = vec![Call {
        // The lock of this row is the fence, see `lease`.
        sql: "UPDATE nodes SET last_batch = $2 WHERE incarnation = $1",
        params: vec![&node, &number],
        expected: Some(1),
    }];
    calls.extend(shards.call(&node).unless_empty());
    let fences = calls.len();
    calls.extend(keys.call().unless_empty());
    let before_steps = calls.len();
    for round in &rounds {
        round.calls(&mut calls);
    }
    let steps = before_steps..calls.len();
    calls.extend(entries.call().unless_empty());
    unclassified.calls(&mut calls);
    dispatch.calls(&mut calls);
    if !batch.consumed.is_empty() {
        calls.push(Call {
            sql: "DELETE FROM inbox WHERE number = ANY($1)",
            params: vec![&batch.consumed],
            expected: None,
        });
    }

    let session = writer.get().await.map_err(|fault| fault.not_committed())?;
    let Some(failed) = run(&session, &calls).await? else {
        // Last of all, so that others wait for the locks no longer than has to be.
        let spent = budget::spend(&session, &batch.spends).await;
        return Ok((session, spent.map_err(|fault| fault.not_committed())?));
    };
    session
        .batch("ROLLBACK")
        .await
        .map_err(|fault| fault.not_committed())?;
    let error = if failed < fences {
        CommitError::Fenced
    } else if failed < before_steps {
        taken(&session, &batch.keys).await?
    } else if steps.contains(&failed) {
        stale(&session, &batch.writes).await?
    } else {
        CommitError::Fenced
    };
    session.keep();
    Err(error)
}

/// Sends all statements at once; returns the place of the first that did not do what it should.
async fn run(session: &Session, calls: &[Call<'_>]) -> Result<Option<usize>, CommitError> {
    let not_committed = |fault: Fault| fault.not_committed();
    let mut statements = Vec::with_capacity(calls.len());
    for call in calls {
        statements.push(session.statement(call.sql).await.map_err(not_committed)?);
    }
    let client = session.client();
    // Futures of the client send when they are polled first, which happens in their order.
    let mut sent: Vec<BoxFuture<'_, Result<u64, tokio_postgres::Error>>> = vec![Box::pin(async {
        client.batch_execute("BEGIN").await.map(|()| 0)
    })];
    for (call, statement) in calls.iter().zip(&statements) {
        sent.push(Box::pin(client.execute(statement, &call.params)));
    }
    let mut outcomes = join_all(sent).await.into_iter();
    if let Some(Err(error)) = outcomes.next() {
        return Err(not_committed(Fault::Postgres(error)));
    }
    for (place, (outcome, call)) in outcomes.zip(calls).enumerate() {
        let changed = outcome.map_err(|error| not_committed(Fault::Postgres(error)))?;
        if call
            .expected
            .is_some_and(|expected| u64::try_from(expected) != Ok(changed))
        {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Looks for the keys that are in use; a second use in the same batch is one as well.
async fn taken(session: &Session, keys: &[KeyRow]) -> Result<CommitError, CommitError> {
    let columns = Keys::of(keys);
    let sql = "SELECT k.tenant, k.key FROM unnest($1::uuid[], $2::bytea[]) AS u (tenant, key) \
               JOIN idempotency_keys k ON k.tenant = u.tenant AND k.key = u.key";
    let rows = session.query(sql, &[&columns.tenant, &columns.key]).await;
    let rows = rows.map_err(|fault| fault.not_committed())?;
    let mut used = BTreeSet::new();
    for row in &rows {
        let read = || Ok((row.try_get::<_, Uuid>(0)?, row.try_get::<_, Vec<u8>>(1)?));
        used.insert(read().map_err(|error| Fault::Postgres(error).not_committed())?);
    }
    let places = keys.iter().enumerate();
    let places = places.filter(|(_, key)| !used.insert((key.tenant.uuid(), key.key.to_vec())));
    let places: Vec<usize> = places.map(|(place, _)| place).collect();
    if places.is_empty() {
        // Whoever used it has been undone meanwhile.
        return Ok(CommitError::NotCommitted(
            "an idempotency key was in use for a moment".to_owned(),
        ));
    }
    Ok(CommitError::KeysTaken(places))
}

/// Looks for the first aggregate that is not what its step assumed.
async fn stale(session: &Session, writes: &[Write]) -> Result<CommitError, CommitError> {
    let mut seen = BTreeSet::new();
    let first: Vec<&Write> = writes
        .iter()
        .filter(|write| seen.insert(write.id()))
        .collect();
    let (mut ids, mut kinds) = (Vec::new(), Vec::new());
    let (mut stages, mut versions) = (Vec::new(), Vec::new());
    for write in &first {
        let (kind, id) = aggregate_parts(write.id());
        let (stage, version) = match write.before() {
            Before::New => (0_i16, 0),
            Before::Live(version) => (1, version),
            Before::Finished(version) => (2, version),
        };
        ids.push(Uuid::from_bytes(id));
        kinds.push(i16::from(kind));
        stages.push(stage);
        versions.push(version.cast_signed());
    }
    // Of accounts and connections there is one row, of collections there may be two.
    let sql = "SELECT u.place FROM unnest($1::uuid[], $2::int2[], $3::int2[], $4::int4[]) \
               WITH ORDINALITY AS u (id, kind, stage, version, place) \
               LEFT JOIN collections c ON c.id = u.id AND u.kind = 1 \
               LEFT JOIN hot h ON h.id = u.id AND u.kind = 1 \
               LEFT JOIN accounts a ON a.id = u.id AND u.kind = 2 \
               LEFT JOIN connections l ON l.id = u.id AND u.kind = 3 \
               LEFT JOIN sources s ON s.id = u.id AND u.kind = 4 \
               WHERE CASE WHEN u.kind = 1 THEN CASE u.stage \
               WHEN 0 THEN c.id IS NOT NULL OR h.id IS NOT NULL \
               WHEN 1 THEN c.id IS NULL OR h.version IS DISTINCT FROM u.version \
               ELSE h.id IS NOT NULL OR c.version IS DISTINCT FROM u.version END \
               ELSE coalesce(a.version, l.version, s.version, 0) <> u.version END \
               ORDER BY u.place LIMIT 1";
    let params: [Param<'_>; 4] = [&ids, &kinds, &stages, &versions];
    let row = session.query_opt(sql, &params).await;
    let row = row.map_err(|fault| fault.not_committed())?;
    let place = row.and_then(|row| row.try_get::<_, i64>(0).ok());
    let place = place.and_then(|place| usize::try_from(place - 1).ok());
    let found = place.and_then(|place| first.get(place).copied());
    // A later step of the same aggregate has no row to be compared with.
    let found = found.or_else(|| writes.last());
    Ok(found.map_or(CommitError::Fenced, |write| CommitError::Stale(write.id())))
}

/// The shards that a batch touches, as columns.
#[derive(Default)]
struct Shards {
    shard: Vec<i16>,
    epoch: Vec<i64>,
    first_seq: Vec<Option<i64>>,
    next_seq: Vec<Option<i64>>,
    dispatched: Vec<Option<i64>>,
}

impl Shards {
    fn of(batch: &Batch) -> Result<Self, CommitError> {
        let mut ranges: BTreeMap<Shard, (u64, u64)> = BTreeMap::new();
        for entry in &batch.entries {
            let range = ranges.entry(entry.shard).or_insert((entry.seq, entry.seq));
            *range = (range.0.min(entry.seq), range.1.max(entry.seq));
        }
        let cursors: BTreeMap<Shard, u64> = batch.dispatch.cursors.iter().copied().collect();
        let mut columns = Self::default();
        if !is_fenced(batch) {
            return Err(CommitError::Fenced);
        }
        for (shard, epoch) in &batch.epochs {
            let range = ranges.get(shard);
            columns.shard.push(i16::from(shard.0));
            columns.epoch.push(epoch.cast_signed());
            columns
                .first_seq
                .push(range.map(|range| range.0.cast_signed()));
            columns
                .next_seq
                .push(range.map(|range| range.1.cast_signed() + 1));
            columns
                .dispatched
                .push(cursors.get(shard).map(|seen| seen.cast_signed()));
        }
        Ok(columns)
    }

    /// Whoever has another idea of the log's end is not its owner either.
    fn call<'a>(&'a self, node: &'a Uuid) -> Call<'a> {
        Call {
            sql: "UPDATE shards s SET next_seq = coalesce(u.next_seq, s.next_seq), \
                  dispatched = coalesce(u.dispatched, s.dispatched) \
                  FROM unnest($2::int2[], $3::int8[], $4::int8[], $5::int8[], $6::int8[]) \
                  AS u (shard, epoch, first_seq, next_seq, dispatched) \
                  WHERE s.shard = u.shard AND s.owner = $1 AND s.epoch = u.epoch \
                  AND s.next_seq <= coalesce(u.first_seq, s.next_seq)",
            params: vec![
                node,
                &self.shard,
                &self.epoch,
                &self.first_seq,
                &self.next_seq,
                &self.dispatched,
            ],
            expected: Some(self.shard.len()),
        }
    }
}

/// Returns whether all that is dispatched is of shards whose epochs the batch asserts.
fn is_fenced(batch: &Batch) -> bool {
    let assumed: BTreeSet<Shard> = batch.epochs.iter().map(|(shard, _)| *shard).collect();
    let writes = &batch.dispatch;
    let cursors = writes.cursors.iter().map(|(shard, _)| *shard);
    cursors
        .chain(writes.positions.iter().map(|position| position.shard))
        .chain(writes.caught_up.iter().map(|(_, shard)| *shard))
        .chain(writes.deliveries.iter().map(|row| row.shard))
        .chain(writes.attempts.iter().map(|attempt| attempt.shard))
        .all(|shard| assumed.contains(&shard))
}

/// Idempotency keys as columns.
#[derive(Default)]
struct Keys<'a> {
    tenant: Vec<Uuid>,
    key: Vec<&'a [u8]>,
    fingerprint: Vec<&'a [u8]>,
    id: Vec<Uuid>,
    at: Vec<i64>,
    kind: Vec<i16>,
}

impl<'a> Keys<'a> {
    fn of(keys: &'a [KeyRow]) -> Self {
        // In one order, so that two nodes with the same keys do not wait for each other.
        let mut sorted: Vec<&KeyRow> = keys.iter().collect();
        sorted.sort_by_key(|key| (key.tenant, key.key));
        let mut columns = Self::default();
        for key in sorted {
            columns.tenant.push(key.tenant.uuid());
            columns.key.push(&key.key);
            columns.fingerprint.push(&key.fingerprint);
            let (kind, id) = aggregate_parts(key.id);
            columns.id.push(Uuid::from_bytes(id));
            columns.at.push(key.at.as_millis());
            columns.kind.push(kind.into());
        }
        columns
    }

    fn call(&self) -> Call<'_> {
        Call {
            sql: "INSERT INTO idempotency_keys (tenant, key, fingerprint, id, at, kind) \
                  SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::uuid[], \
                  $5::int8[], $6::int2[]) \
                  ON CONFLICT DO NOTHING",
            params: vec![
                &self.tenant,
                &self.key,
                &self.fingerprint,
                &self.id,
                &self.at,
                &self.kind,
            ],
            expected: Some(self.key.len()),
        }
    }
}

/// Entries of the log as columns.
#[derive(Default)]
struct Entries {
    seq: Vec<i64>,
    at: Vec<i64>,
    tenant: Vec<Uuid>,
    shard: Vec<i16>,
    verb: Vec<i16>,
    property: Vec<i16>,
    event: Vec<i16>,
    cause: Vec<i16>,
    subject: Vec<Vec<u8>>,
    actor: Vec<Vec<u8>>,
    body: Vec<String>,
}

impl Entries {
    fn of(entries: &[Entry]) -> Result<Self, CommitError> {
        let mut columns = Self::default();
        for entry in entries {
            let row = LogRow::of(entry);
            let row = row.map_err(|error| CommitError::NotCommitted(error.to_string()))?;
            columns.seq.push(row.seq.cast_signed());
            columns.at.push(row.at);
            columns.tenant.push(row.tenant.uuid());
            columns.shard.push(row.shard.0.into());
            columns.verb.push(row.verb.into());
            columns.property.push(row.property.into());
            columns.event.push(row.event.into());
            columns.cause.push(row.cause.into());
            columns.subject.push(row.subject);
            columns.actor.push(row.actor);
            columns.body.push(row.body);
        }
        Ok(columns)
    }

    fn call(&self) -> Call<'_> {
        let params: Vec<Param<'_>> = vec![
            &self.seq,
            &self.at,
            &self.tenant,
            &self.shard,
            &self.verb,
            &self.property,
            &self.event,
            &self.cause,
            &self.subject,
            &self.actor,
            &self.body,
        ];
        Call {
            sql: "INSERT INTO log (seq, at, tenant, shard, verb, property, event, cause, subject, \
                  actor, body) SELECT * FROM unnest($1::int8[], $2::int8[], $3::uuid[], $4::int2[], \
                  $5::int2[], $6::int2[], $7::int2[], $8::int2[], $9::bytea[], $10::bytea[], \
                  $11::text[]) ON CONFLICT DO NOTHING",
            params,
            expected: Some(self.seq.len()),
        }
    }
}
