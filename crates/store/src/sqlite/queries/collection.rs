//! Collections.

use rusqlite::{Connection, OptionalExtension, params};
use wellspring_core::{CollectionId, CollectionStatus, TenantId};
use wellspring_engine::{
    AttemptView, CollectionPage, CollectionView, LoadedCollection, StoreError,
};

use super::rows;
use crate::row::{NOTIFYING, attempt_view};
use crate::sqlite::columns::{self, COLLECTION};
use crate::sqlite::unavailable;

pub(super) fn view(
    connection: &Connection,
    tenant: TenantId,
    id: CollectionId,
) -> Result<Option<CollectionView>, StoreError> {
    let sql = format!(
        "SELECT {COLLECTION} FROM collections c LEFT JOIN hot h ON h.id = c.id WHERE c.id = ?1 AND c.tenant = ?2"
    );
    let mut statement = connection
        .prepare_cached(&sql)
        .map_err(|error| unavailable(&error))?;
    let row = statement
        .query_row((id.as_bytes(), tenant.as_bytes()), columns::collection)
        .optional()
        .map_err(|error| unavailable(&error))?;
    let Some(row) = row else { return Ok(None) };
    let (cold, hot) = row?;
    cold.view(hot.as_ref(), attempts(connection, id)?).map(Some)
}

pub(super) fn load(
    connection: &Connection,
    id: CollectionId,
) -> Result<Option<LoadedCollection>, StoreError> {
    let sql = format!(
        "SELECT {COLLECTION} FROM collections c LEFT JOIN hot h ON h.id = c.id WHERE c.id = ?1"
    );
    let row = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| {
            statement
                .query_row([id.as_bytes()], columns::collection)
                .optional()
        })
        .map_err(|error| unavailable(&error))?;
    let Some(row) = row else { return Ok(None) };
    let (cold, hot) = row?;
    let wanted = hot.is_some_and(|hot| hot.state != NOTIFYING);
    let payload: Option<Vec<u8>> = if wanted {
        connection
            .prepare_cached("SELECT body FROM payloads WHERE id = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([id.as_bytes()], |row| row.get(0))
                    .optional()
            })
            .map_err(|error| unavailable(&error))?
    } else {
        None
    };
    Ok(Some(LoadedCollection {
        collection: cold.collection(hot.as_ref())?,
        payload: payload.map(Into::into),
        live: hot.is_some(),
    }))
}

fn attempts(connection: &Connection, id: CollectionId) -> Result<Vec<AttemptView>, StoreError> {
    let sql = "SELECT stage, at, duration_ms, class, code, message FROM attempts WHERE id = ?1 ORDER BY version";
    let found = rows(connection, sql, [id.as_bytes()], |row| {
        Ok((
            (row.get(0)?, row.get(1)?, row.get(2)?),
            (row.get(3)?, row.get(4)?, row.get(5)?),
        ))
    })?;
    found
        .into_iter()
        .map(|(what, error)| attempt_view(id, what, error))
        .collect()
}

pub(super) fn page(
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

/// Rows looked at by one page of a list.
const STRETCH: usize = 5_000;
