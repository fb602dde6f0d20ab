//! Reads: for the driver, and for the API.

use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, params};
use wellspring_core::{
    Actor, Cause, CollectionId, CollectionStatus, Event, Shard, Stored, Subject, TenantId,
    Timestamp, Verb,
};
use wellspring_engine::{
    AttemptView, ChangeView, ChangesPage, CollectionPage, CollectionView, Cursor, CursorError,
    InboxRow, KeyRow, Loaded, Queries, StoreError,
};

use super::columns::{self, COLLECTION};
use super::{SqliteStore, unavailable};
use crate::row::{NOTIFYING, attempt_view};

impl Queries for SqliteStore {
    fn collection(
        &self,
        tenant: TenantId,
        id: CollectionId,
    ) -> BoxFuture<'_, Result<Option<CollectionView>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = format!(
                "SELECT {COLLECTION} FROM collections c LEFT JOIN hot h ON h.id = c.id WHERE c.id = ?1 AND c.tenant = ?2"
            );
            let mut statement = connection.prepare_cached(&sql).map_err(|error| unavailable(&error))?;
            let row = statement
                .query_row((id.as_bytes(), tenant.as_bytes()), columns::collection)
                .optional()
                .map_err(|error| unavailable(&error))?;
            let Some(row) = row else { return Ok(None) };
            let (cold, hot) = row?;
            cold.view(hot.as_ref(), attempts(connection, id)?).map(Some)
        }))
    }

    fn collections(
        &self,
        tenant: TenantId,
        status: Option<CollectionStatus>,
        before: Option<CollectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<CollectionPage, StoreError>> {
        Box::pin(self.read(move |connection| page(connection, tenant, status, before, limit)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        Box::pin(self.read(|connection| {
            let (life, next_seq) = log_state(connection)?;
            Ok(Cursor {
                life,
                seen: [(Shard(0), next_seq - 1)].into_iter().collect(),
            })
        }))
    }

    fn changes(
        &self,
        tenant: TenantId,
        cursor: Cursor,
        limit: usize,
    ) -> BoxFuture<'_, Result<ChangesPage, CursorError>> {
        Box::pin(async move {
            let page = self
                .read(move |connection| Ok(changes(connection, tenant, &cursor, limit)))
                .await;
            page.unwrap_or_else(|error| Err(CursorError::Store(error)))
        })
    }

    fn key(
        &self,
        tenant: TenantId,
        key: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<KeyRow>, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql =
                "SELECT fingerprint, id, at FROM idempotency_keys WHERE tenant = ?1 AND key = ?2";
            let mut statement = connection
                .prepare_cached(sql)
                .map_err(|error| unavailable(&error))?;
            let row = statement.query_row((tenant.as_bytes(), key), |row| {
                Ok(KeyRow {
                    tenant,
                    key,
                    fingerprint: row.get(0)?,
                    id: CollectionId::from_bytes(row.get(1)?),
                    at: Timestamp::from_millis(row.get(2)?),
                })
            });
            row.optional().map_err(|error| unavailable(&error))
        }))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.read(|connection| log_state(connection).map(drop)))
    }
}

pub(super) fn load(
    connection: &Connection,
    ids: &[CollectionId],
) -> Result<Vec<Loaded>, StoreError> {
    let sql = format!(
        "SELECT {COLLECTION} FROM collections c LEFT JOIN hot h ON h.id = c.id WHERE c.id = ?1"
    );
    // One snapshot for all: a row and its payload belong together.
    let transaction = connection
        .unchecked_transaction()
        .map_err(|error| unavailable(&error))?;
    let mut statement = transaction
        .prepare_cached(&sql)
        .map_err(|error| unavailable(&error))?;
    let mut payload = transaction
        .prepare_cached("SELECT body FROM payloads WHERE id = ?1")
        .map_err(|error| unavailable(&error))?;
    let mut loaded = Vec::with_capacity(ids.len());
    for id in ids {
        let row = statement
            .query_row([id.as_bytes()], columns::collection)
            .optional()
            .map_err(|error| unavailable(&error))?;
        let Some(row) = row else { continue };
        let (cold, hot) = row?;
        let wanted = hot.is_some_and(|hot| hot.state != NOTIFYING);
        let body: Option<Vec<u8>> = if wanted {
            let body = payload
                .query_row([id.as_bytes()], |row| row.get(0))
                .optional();
            body.map_err(|error| unavailable(&error))?
        } else {
            None
        };
        let live = hot.is_some();
        loaded.push(Loaded {
            collection: cold.collection(hot.as_ref())?,
            payload: body.map(Into::into),
            live,
        });
    }
    Ok(loaded)
}

pub(super) fn inbox(
    connection: &Connection,
    shards: &[Shard],
    limit: usize,
) -> Result<Vec<InboxRow>, StoreError> {
    if !shards.contains(&Shard(0)) {
        return Ok(Vec::new());
    }
    let sql = "SELECT number, request FROM inbox WHERE shard = 0 ORDER BY number LIMIT ?1";
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|error| unavailable(&error))?;
    let rows = statement.query_map([limit], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    });
    let rows: Vec<(i64, String)> = rows
        .and_then(Iterator::collect)
        .map_err(|error| unavailable(&error))?;
    rows.into_iter()
        .map(|(number, text)| crate::row::inbox_row(number, &text))
        .collect()
}

fn attempts(connection: &Connection, id: CollectionId) -> Result<Vec<AttemptView>, StoreError> {
    let sql = "SELECT stage, at, duration_ms, class, code, message FROM attempts WHERE id = ?1 ORDER BY version";
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|error| unavailable(&error))?;
    let rows = statement.query_map([id.as_bytes()], |row| {
        Ok((
            (row.get(0)?, row.get(1)?, row.get(2)?),
            (row.get(3)?, row.get(4)?, row.get(5)?),
        ))
    });
    let rows: Vec<_> = rows
        .and_then(Iterator::collect)
        .map_err(|error| unavailable(&error))?;
    rows.into_iter()
        .map(|(what, error)| attempt_view(id, what, error))
        .collect()
}

fn page(
    connection: &Connection,
    tenant: TenantId,
    status: Option<CollectionStatus>,
    before: Option<CollectionId>,
    limit: usize,
) -> Result<CollectionPage, StoreError> {
    let before = before.map_or([255; 16], |id| *id.as_bytes());
    // What has failed has an index of its own; everything else is looked for in a bounded stretch.
    let stretch = if status == Some(CollectionStatus::Failed) {
        "SELECT * FROM collections WHERE tenant = ?1 AND id < ?2 AND failed_stage IS NOT NULL ORDER BY id DESC LIMIT ?3"
    } else {
        "SELECT * FROM collections WHERE id < ?2 AND ?1 = ?1 ORDER BY id DESC LIMIT ?3"
    };
    let sql = format!(
        "SELECT {COLLECTION} FROM ({stretch}) c LEFT JOIN hot h ON h.id = c.id ORDER BY c.id DESC"
    );
    let mut statement = connection
        .prepare_cached(&sql)
        .map_err(|error| unavailable(&error))?;
    let mut found = statement
        .query(params![tenant.as_bytes(), before, STRETCH])
        .map_err(|error| unavailable(&error))?;
    let (mut rows, mut looked_at, mut last) = (Vec::new(), 0, None);
    while let Some(row) = found.next().map_err(|error| unavailable(&error))? {
        let (cold, hot) = columns::collection(row).map_err(|error| unavailable(&error))??;
        looked_at += 1;
        last = Some(cold.id);
        if cold.tenant != tenant {
            continue;
        }
        let view = cold.view(hot.as_ref(), Vec::new())?;
        if status.is_none_or(|wanted| wanted == view.status) {
            rows.push(view);
            if rows.len() == limit {
                return Ok(CollectionPage { rows, next: last });
            }
        }
    }
    Ok(CollectionPage {
        rows,
        next: last.filter(|_| looked_at == STRETCH),
    })
}

/// Returns the log's life and the place of its next entry.
fn log_state(connection: &Connection) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT (SELECT value FROM meta WHERE name = 'log_life'), next_seq FROM shards";
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|error| unavailable(&error))?;
    let (life, next_seq): (Option<String>, i64) = statement
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(|error| unavailable(&error))?;
    let life = life.and_then(|life| life.parse().ok()).unwrap_or(0);
    Ok((life, next_seq.cast_unsigned()))
}

fn changes(
    connection: &Connection,
    tenant: TenantId,
    cursor: &Cursor,
    limit: usize,
) -> Result<ChangesPage, CursorError> {
    // One snapshot: what a sweep removes between two reads would be missed without a word.
    let connection = connection
        .unchecked_transaction()
        .map_err(|error| unavailable(&error))?;
    let (life, next_seq) = log_state(&connection)?;
    let seen = cursor.seen(Shard(0));
    if cursor.life != life || seen >= next_seq {
        return Err(CursorError::Unknown);
    }
    let floor: Option<i64> = connection
        .prepare_cached("SELECT seq FROM log_floors WHERE tenant = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([tenant.as_bytes()], |row| row.get(0))
                .optional()
        })
        .map_err(|error| unavailable(&error))?;
    let has_begun = cursor.seen.contains_key(&Shard(0));
    if has_begun && floor.is_some_and(|floor| floor.cast_unsigned() > seen) {
        return Err(CursorError::Expired);
    }
    let sql = "SELECT seq, at, tenant, verb, subject, property, event, actor, cause, body FROM log \
               WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|error| unavailable(&error))?;
    let mut rows = statement
        .query(params![seen.cast_signed(), limit])
        .map_err(|error| unavailable(&error))?;
    let (mut entries, mut last, mut looked_at) = (Vec::new(), seen, 0);
    while let Some(row) = rows.next().map_err(|error| unavailable(&error))? {
        let seq: i64 = row.get(0).map_err(|error| unavailable(&error))?;
        last = seq.cast_unsigned();
        looked_at += 1;
        let owner: [u8; 16] = row.get(2).map_err(|error| unavailable(&error))?;
        if owner == *tenant.as_bytes() {
            entries.push(entry(row, last)?);
        }
    }
    // Entries that retention removed leave a gap at the end as well.
    let has_more = looked_at == limit;
    let reached = if has_more { last } else { next_seq - 1 };
    let next = Cursor {
        life,
        seen: [(Shard(0), reached)].into_iter().collect(),
    };
    Ok(ChangesPage {
        entries,
        next,
        has_more: has_more && reached + 1 < next_seq,
    })
}

fn entry(row: &rusqlite::Row<'_>, seq: u64) -> Result<ChangeView, StoreError> {
    let inconsistent = |column| StoreError::Inconsistent {
        table: "log",
        column,
        row: seq.to_string(),
    };
    let read = || -> rusqlite::Result<_> {
        Ok((
            row.get::<_, i64>(1)?,
            row.get::<_, u8>(3)?,
            row.get::<_, Vec<u8>>(4)?,
            row.get::<_, u8>(5)?,
            row.get::<_, u8>(6)?,
            row.get::<_, Vec<u8>>(7)?,
            row.get::<_, u8>(8)?,
            row.get::<_, String>(9)?,
        ))
    };
    let (at, verb, subject, property, event, actor, cause, body) =
        read().map_err(|error| unavailable(&error))?;
    Ok(ChangeView {
        shard: Shard(0),
        seq,
        at: Timestamp::from_millis(at),
        verb: Verb::from_code(verb).ok_or_else(|| inconsistent("verb"))?,
        path: Subject::path_of(&subject, property).ok_or_else(|| inconsistent("subject"))?,
        event: Event::from_code(event).map(|event| event.as_str().to_owned()),
        actor: Actor::from_bytes(&actor)
            .ok_or_else(|| inconsistent("actor"))?
            .to_string(),
        cause: Cause::from_code(cause)
            .ok_or_else(|| inconsistent("cause"))?
            .as_str()
            .to_owned(),
        body: crate::facts::shown(&body).ok_or_else(|| inconsistent("body"))?,
    })
}

/// Rows looked at by one page of a list.
const STRETCH: usize = 5_000;
