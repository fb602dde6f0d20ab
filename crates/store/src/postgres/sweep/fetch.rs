//! The fetch log.

use uuid::Uuid;
use wellspring_core::reliability::Day;
use wellspring_engine::{StoreError, Sweep};

use super::{Position, created, older, settings};
use crate::postgres::columns::Fields;
use crate::postgres::queries::count;
use crate::postgres::session::Session;
use crate::row::KEEP_STATISTICS;

pub(super) async fn fetches(
    session: &Session,
    sweep: &Sweep,
    position: &mut Position,
) -> Result<(u64, bool), StoreError> {
    let sql = "SELECT id, tenant, ended_at FROM fetches WHERE id > $1 ORDER BY id LIMIT $2";
    let rows = session
        .query(sql, &[&position.fetches, &count(sweep.rows)])
        .await?;
    let shortest = sweep.shortest(|settings| settings.keep_collections);
    let (mut gone, mut young) = (Vec::new(), false);
    for row in &rows {
        let fields = Fields::new("fetches", row);
        let id: Uuid = fields.get("id")?;
        // Ids sort by time: what follows is younger than anything that could be due.
        young = !older(sweep, created(id), shortest);
        if young {
            break;
        }
        position.fetches = id;
        let kept = settings(sweep, fields.uuid("tenant")?).keep_collections;
        if fields
            .timestamp_opt("ended_at")?
            .is_some_and(|at| older(sweep, at, kept))
        {
            gone.push(id);
        }
    }
    let ended = rows.len() < sweep.rows || young;
    if ended {
        position.fetches = Uuid::nil();
    }
    if gone.is_empty() {
        return Ok((0, ended));
    }
    let sql = "DELETE FROM fetch_attempts WHERE fetch_id = ANY($1)";
    let attempts = session.execute(sql, &[&gone]).await?;
    let sql = "DELETE FROM fetches WHERE id = ANY($1)";
    Ok((attempts + session.execute(sql, &[&gone]).await?, ended))
}

pub(super) async fn statistics(
    session: &Session,
    sweep: &Sweep,
) -> Result<(u64, bool), StoreError> {
    let sql = "DELETE FROM fetch_statistics WHERE (connection, day, status, bucket) IN \
               (SELECT connection, day, status, bucket FROM fetch_statistics \
               WHERE day < $1 ORDER BY day LIMIT $2)";
    let first = Day::of(sweep.now.before(KEEP_STATISTICS)).0;
    let removed = session.execute(sql, &[&first, &count(sweep.rows)]).await?;
    let ended = usize::try_from(removed).is_ok_and(|n| n < sweep.rows);
    Ok((removed, ended))
}
