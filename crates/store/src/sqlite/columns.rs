//! Rows as they stand in the tables.

use rusqlite::Row;
use wellspring_core::{CollectionId, Lane, Stage, Stored, TenantId, Timestamp};
use wellspring_engine::StoreError;

use crate::row::{Cold, Finished, Hot, stored_error};

/// The columns of both rows of a collection, for [`collection`].
pub(super) const COLLECTION: &str = "c.id, c.tenant, c.source, c.callback_url, c.created_at, c.version, c.message, \
     c.collected_at, c.finished_at, c.failed_stage, c.error_class, c.error_code, c.error_message, \
     h.state, h.version, h.due, h.lane, h.since, h.retries, h.waits, h.message";

/// Reads both rows of a collection.
pub(super) fn collection(
    row: &Row<'_>,
) -> rusqlite::Result<Result<(Cold, Option<Hot>), StoreError>> {
    let id = CollectionId::from_bytes(row.get(0)?);
    let inconsistent = |column| StoreError::Inconsistent {
        table: "collections",
        column,
        row: id.to_string(),
    };
    let source: String = row.get(2)?;
    let finished_at: Option<i64> = row.get(8)?;
    let stage: Option<u8> = row.get(9)?;
    let error = stored_error((row.get(10)?, row.get(11)?, row.get(12)?));
    let hot: Option<u8> = row.get(13)?;
    let hot = match hot {
        None => None,
        Some(state) => Some(Hot {
            state,
            version: row.get(14)?,
            due: Timestamp::from_millis(row.get(15)?),
            lane: Lane(row.get::<_, i64>(16)?.cast_unsigned()),
            since: Timestamp::from_millis(row.get(17)?),
            retries: row.get(18)?,
            waits: row.get(19)?,
            message: row.get(20)?,
        }),
    };
    let Ok(source) = source.parse() else {
        return Ok(Err(inconsistent("source")));
    };
    let outcome = match (finished_at, stage, error) {
        (None, _, _) => None,
        (Some(at), None, _) => Some(Finished {
            at: Timestamp::from_millis(at),
            failure: None,
        }),
        (Some(at), Some(stage), Ok(Some(error))) => {
            let Some(stage) = Stage::from_code(stage) else {
                return Ok(Err(inconsistent("failed_stage")));
            };
            Some(Finished {
                at: Timestamp::from_millis(at),
                failure: Some((stage, error)),
            })
        }
        (Some(_), Some(_), Ok(None) | Err(())) => return Ok(Err(inconsistent("error_class"))),
    };
    let cold = Cold {
        id,
        tenant: TenantId::from_bytes(row.get(1)?),
        source,
        callback_url: row.get::<_, String>(3)?.into(),
        created_at: Timestamp::from_millis(row.get(4)?),
        version: row.get(5)?,
        message: row.get(6)?,
        collected_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_millis),
        outcome,
    };
    Ok(Ok((cold, hot)))
}
