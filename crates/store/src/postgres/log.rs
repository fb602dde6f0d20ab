//! The log's readers.

use std::collections::BTreeMap;

use tokio_postgres::Row;
use wellspring_core::{Shard, TenantId, Timestamp};
use wellspring_engine::{ChangesPage, Cursor, CursorError, LogEntry, StoreError};

use super::columns::Fields;
use super::session::Session;
use crate::row::LogRow;

/// What a reader has yet to see of one shard.
#[derive(Clone, Copy)]
struct Part {
    shard: Shard,
    seen: u64,
    next_seq: u64,
    /// Whether it has seen anything of it, and would miss what is removed from here on.
    begun: bool,
    /// How many entries of it fit into the page.
    share: u64,
}

pub(super) async fn head(session: &Session) -> Result<Cursor, StoreError> {
    let sql = "SELECT shard, next_seq, (SELECT value FROM meta WHERE name = 'log_life') AS life \
               FROM shards";
    let (mut life, mut seen) = (0, BTreeMap::new());
    for row in session.query(sql, &[]).await? {
        let fields = Fields::new("shards", &row);
        life = read_life(&fields)?;
        seen.insert(fields.shard("shard")?, read_next_seq(&fields)? - 1);
    }
    Ok(Cursor { life, seen })
}

/// Reads at most `limit` entries; what retention removes meanwhile cannot be missed unnoticed,
/// since floors and entries are read as of one moment.
pub(super) async fn changes(
    session: &Session,
    tenant: TenantId,
    cursor: &Cursor,
    limit: usize,
) -> Result<Result<ChangesPage, CursorError>, StoreError> {
    session
        .batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let page = match parts(session, tenant, cursor).await? {
        Ok(parts) => Ok(read(session, tenant, cursor.life, parts, limit).await?),
        Err(error) => Err(error),
    };
    session.batch("COMMIT").await?;
    Ok(page)
}

async fn parts(
    session: &Session,
    tenant: TenantId,
    cursor: &Cursor,
) -> Result<Result<Vec<Part>, CursorError>, StoreError> {
    let sql = "SELECT s.shard, s.next_seq, f.seq AS floor, \
               (SELECT value FROM meta WHERE name = 'log_life') AS life FROM shards s \
               LEFT JOIN log_floors f ON f.shard = s.shard AND f.tenant = $1 ORDER BY s.shard";
    let mut parts = Vec::new();
    for row in session.query(sql, &[&tenant.uuid()]).await? {
        let fields = Fields::new("shards", &row);
        let shard = fields.shard("shard")?;
        let (seen, next_seq) = (cursor.seen(shard), read_next_seq(&fields)?);
        if cursor.life != read_life(&fields)? || seen >= next_seq {
            return Ok(Err(CursorError::Unknown));
        }
        let floor: Option<i64> = fields.get("floor")?;
        let begun = cursor.seen.contains_key(&shard);
        if begun && floor.is_some_and(|floor| floor.cast_unsigned() > seen) {
            return Ok(Err(CursorError::Expired));
        }
        parts.push(Part {
            shard,
            seen,
            next_seq,
            begun,
            share: 0,
        });
    }
    Ok(Ok(parts))
}

async fn read(
    session: &Session,
    tenant: TenantId,
    life: u64,
    mut parts: Vec<Part>,
    limit: usize,
) -> Result<ChangesPage, StoreError> {
    share(&mut parts, u64::try_from(limit).unwrap_or(u64::MAX));
    let wanted: Vec<&Part> = parts.iter().filter(|part| part.share > 0).collect();
    let shards: Vec<i16> = wanted.iter().map(|part| part.shard.0.into()).collect();
    let seen: Vec<i64> = wanted.iter().map(|part| part.seen.cast_signed()).collect();
    let shares: Vec<i64> = wanted.iter().map(|part| part.share.cast_signed()).collect();
    let sql = "SELECT l.* FROM unnest($1::int2[], $2::int8[], $3::int8[]) AS u (shard, seen, share) \
               CROSS JOIN LATERAL (SELECT * FROM log WHERE log.shard = u.shard \
               AND log.seq > u.seen ORDER BY log.seq LIMIT u.share) l ORDER BY l.shard, l.seq";
    let rows = session.query(sql, &[&shards, &seen, &shares]).await?;

    // Of each shard: how many entries were read, the last of them, and the latest time so far.
    let mut reached: BTreeMap<Shard, (u64, u64, Timestamp)> = BTreeMap::new();
    let mut entries = Vec::new();
    for columns in &rows {
        let fields = Fields::new("log", columns);
        let (shard, seq) = (fields.shard("shard")?, fields.place("seq")?);
        let (read, last, latest) = reached.entry(shard).or_insert((0, 0, Timestamp::MIN));
        *read += 1;
        *last = seq;
        // Clocks go back at times, the order within a shard never does.
        *latest = (*latest).max(fields.timestamp("at")?);
        if fields.uuid("tenant")? == *tenant.as_bytes() {
            entries.push((*latest, row(columns)?.view()?));
        }
    }
    entries.sort_by_key(|(latest, entry)| (*latest, entry.shard, entry.seq));
    let (mut seen, mut has_more) = (BTreeMap::new(), false);
    for part in &parts {
        let (read, last, _) = reached.get(&part.shard).copied().unwrap_or_default();
        // Entries that retention removed leave gaps, at the end as well.
        let end = part.next_seq - 1;
        let place = match (part.share, read < part.share) {
            (0, _) => part.seen,
            (_, true) => end,
            (_, false) => last,
        };
        has_more |= place < end;
        if part.begun || place > 0 || place == end {
            seen.insert(part.shard, place);
        }
    }
    Ok(ChangesPage {
        entries: entries.into_iter().map(|(_, entry)| entry).collect(),
        next: Cursor { life, seen },
        has_more,
    })
}

/// Shares a page out among the shards that have something; what one does not need others get.
fn share(parts: &mut [Part], limit: u64) {
    parts.sort_by_key(|part| (part.next_seq - part.seen, part.shard));
    let (mut left, mut waiting) = (limit, u64::try_from(parts.len()).unwrap_or(u64::MAX));
    for part in parts {
        part.share = (part.next_seq - 1 - part.seen).min(left / waiting.max(1));
        left -= part.share;
        waiting -= 1;
    }
}

/// Reads the entry at a place if it is the tenant's.
pub(super) async fn entry(
    session: &Session,
    tenant: TenantId,
    (shard, seq): (Shard, u64),
) -> Result<Option<LogEntry>, StoreError> {
    let sql = "SELECT * FROM log WHERE shard = $1 AND seq = $2 AND tenant = $3";
    let (shard, seq) = (i16::from(shard.0), seq.cast_signed());
    let found = session
        .query_opt(sql, &[&shard, &seq, &tenant.uuid()])
        .await?;
    let found = found.as_ref().map(row).transpose()?;
    found.as_ref().map(LogRow::entry).transpose()
}

/// Reads the columns of an entry.
pub(super) fn row(row: &Row) -> Result<LogRow, StoreError> {
    let fields = Fields::new("log", row);
    Ok(LogRow {
        shard: fields.shard("shard")?,
        seq: fields.place("seq")?,
        at: fields.get("at")?,
        tenant: TenantId::from_bytes(fields.uuid("tenant")?),
        verb: fields.code("verb")?,
        subject: fields.get("subject")?,
        property: fields.code("property")?,
        event: fields.code("event")?,
        actor: fields.get("actor")?,
        cause: fields.code("cause")?,
        body: fields.get("body")?,
    })
}

fn read_life(fields: &Fields<'_>) -> Result<u64, StoreError> {
    let life: Option<&str> = fields.get("life")?;
    Ok(life.and_then(|life| life.parse().ok()).unwrap_or(0))
}

/// Reads the place of the next entry, which is at least 1.
fn read_next_seq(fields: &Fields<'_>) -> Result<u64, StoreError> {
    let next_seq: i64 = fields.get("next_seq")?;
    let next_seq = u64::try_from(next_seq)
        .ok()
        .filter(|next_seq| *next_seq > 0);
    next_seq.ok_or_else(|| fields.inconsistent("next_seq"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(backlogs: &[u64], limit: u64) -> Vec<u64> {
        let part = |(shard, backlog): (u8, &u64)| Part {
            shard: Shard(shard),
            seen: 7,
            next_seq: 8 + backlog,
            begun: true,
            share: 0,
        };
        let mut parts: Vec<Part> = (0..).zip(backlogs).map(part).collect();
        share(&mut parts, limit);
        parts.sort_by_key(|part| part.shard);
        parts.iter().map(|part| part.share).collect()
    }

    #[test]
    fn a_page_is_shared_out_and_never_too_large() {
        assert_eq!(shares(&[0, 10, 0], 4), [0, 4, 0]);
        assert_eq!(shares(&[1, 10, 10], 9), [1, 4, 4]);
        assert_eq!(shares(&[5, 5, 5], 100), [5, 5, 5]);
        assert_eq!(shares(&[5, 5, 5], 2).iter().sum::<u64>(), 2);
        assert_eq!(shares(&[5, 5, 5], 0), [0, 0, 0]);
    }
}
