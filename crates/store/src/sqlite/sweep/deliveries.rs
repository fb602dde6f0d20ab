//! Deliveries that have ended.

use rusqlite::{Transaction, params};
use wellspring_engine::Sweep;

use super::{Position, older, settings};

/// Goes through the subscriptions one by one, in each no further than to what is young.
pub(super) fn deliveries(
    transaction: &Transaction<'_>,
    sweep: &Sweep,
    position: &mut Position,
) -> rusqlite::Result<(usize, bool)> {
    let shortest = sweep.shortest(|settings| settings.keep_attempts);
    let sql = "SELECT subscription, seq, tenant, created_at, coalesce(ended_at, created_at), status < 3 FROM deliveries \
               WHERE (subscription, seq) > (?1, ?2) ORDER BY subscription, seq LIMIT ?3";
    let mut statement = transaction.prepare_cached(sql)?;
    let (mut old, mut left, mut ended) = (Vec::new(), sweep.rows, false);
    while left > 0 && !ended {
        let (subscription, seq) = position.deliveries;
        let mut rows = statement.query(params![subscription, seq, left])?;
        ended = true;
        while let Some(row) = rows.next()? {
            let place: ([u8; 16], i64) = (row.get(0)?, row.get(1)?);
            position.deliveries = place;
            left -= 1;
            if !older(sweep, row.get(3)?, shortest) {
                position.deliveries.1 = i64::MAX;
                ended = false;
                break;
            }
            let kept = settings(sweep, row.get(2)?).keep_attempts;
            let is_open: bool = row.get(5)?;
            if !is_open && older(sweep, row.get(4)?, kept) {
                old.push(place);
            }
        }
        // A page that is full may not have been the last.
        ended &= left > 0;
    }
    drop(statement);
    if ended {
        position.deliveries = Default::default();
    }
    let mut removed = 0;
    for (subscription, seq) in old {
        for sql in [
            "DELETE FROM deliveries WHERE subscription = ?1 AND seq = ?2",
            "DELETE FROM delivery_attempts WHERE subscription = ?1 AND seq = ?2",
        ] {
            removed += transaction
                .prepare_cached(sql)?
                .execute(params![subscription, seq])?;
        }
    }
    Ok((removed, ended))
}
