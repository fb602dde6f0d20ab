//! The log, for those who follow it and for the dispatcher.

use rusqlite::{Connection, OptionalExtension, Row, params};
use wellspring_core::{Shard, TenantId};
use wellspring_engine::{ChangesPage, Cursor, CursorError, LogEntry, LogSlice, StoreError};

use super::one;
use crate::row::LogRow;
use crate::sqlite::unavailable;

/// Returns the log's life and the place of its next entry.
pub(super) fn log_state(connection: &Connection) -> Result<(u64, u64), StoreError> {
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

pub(super) fn changes(
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
    let sql = format!("SELECT {LOG} FROM log WHERE seq > ?1 ORDER BY seq LIMIT ?2");
    let mut statement = connection
        .prepare_cached(&sql)
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
            let row = log_row(row).map_err(|error| unavailable(&error))?;
            entries.push(row.view()?);
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

/// Reads entries after `after` for the dispatcher; looks at a bounded number of rows.
pub(in crate::sqlite) fn slice(
    connection: &Connection,
    after: u64,
    tenant: Option<TenantId>,
    limit: usize,
) -> Result<LogSlice, StoreError> {
    // One snapshot: what a sweep removes between two reads would be missed without a word.
    let connection = connection
        .unchecked_transaction()
        .map_err(|error| unavailable(&error))?;
    let (_, next_seq) = log_state(&connection)?;
    let sql =
        "SELECT EXISTS (SELECT 1 FROM log_floors WHERE seq > ?1 AND tenant = coalesce(?2, tenant))";
    let wanted = tenant.map(|tenant| *tenant.as_bytes());
    let gap = one(
        &connection,
        sql,
        params![after.cast_signed(), wanted],
        |row| row.get(0),
    )?;
    let mut slice = LogSlice {
        entries: Vec::new(),
        seen: after.max(next_seq - 1),
        has_more: false,
        gap: gap.unwrap_or_default(),
    };
    let mut read = || -> rusqlite::Result<Vec<LogRow>> {
        let sql = format!("SELECT {LOG} FROM log WHERE seq > ?1 ORDER BY seq LIMIT ?2");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = statement.query(params![after.cast_signed(), STRETCH + 1])?;
        let (mut rows, mut looked_at) = (Vec::new(), 0);
        while let Some(row) = found.next()? {
            if looked_at == STRETCH || rows.len() == limit {
                slice.seen = row.get::<_, i64>(0)?.cast_unsigned() - 1;
                slice.has_more = true;
                break;
            }
            looked_at += 1;
            if wanted.is_none() || wanted == Some(row.get(2)?) {
                rows.push(log_row(row)?);
            }
        }
        Ok(rows)
    };
    let rows = read().map_err(|error| unavailable(&error))?;
    let entries: Result<_, StoreError> = rows.iter().map(LogRow::entry).collect();
    slice.entries = entries?;
    Ok(slice)
}

pub(super) fn entry(
    connection: &Connection,
    tenant: TenantId,
    seq: u64,
) -> Result<Option<LogEntry>, StoreError> {
    let sql = format!("SELECT {LOG} FROM log WHERE seq = ?1 AND tenant = ?2");
    let at = params![seq.cast_signed(), tenant.as_bytes()];
    let row = one(connection, &sql, at, log_row)?;
    row.map(|row| row.entry()).transpose()
}

fn log_row(row: &Row<'_>) -> rusqlite::Result<LogRow> {
    Ok(LogRow {
        shard: Shard(0),
        seq: row.get::<_, i64>(0)?.cast_unsigned(),
        at: row.get(1)?,
        tenant: TenantId::from_bytes(row.get(2)?),
        verb: row.get(3)?,
        subject: row.get(4)?,
        property: row.get(5)?,
        event: row.get(6)?,
        actor: row.get(7)?,
        cause: row.get(8)?,
        body: row.get(9)?,
    })
}

/// The columns that [`log_row`] reads.
const LOG: &str = "seq, at, tenant, verb, subject, property, event, actor, cause, body";
/// Rows looked at by one reading for the dispatcher.
const STRETCH: usize = 2_000;
