//! Fetches that ended, added up.

use rusqlite::{Connection, Row, params};
use wellspring_core::TenantId;
use wellspring_core::reliability::{Day, FetchTally};
use wellspring_engine::{FetchScope, StoreError};

use super::decoded;
use crate::row::tally;

pub(super) fn tallies(
    connection: &Connection,
    tenant: TenantId,
    of: &FetchScope,
    since: Day,
) -> Result<Vec<FetchTally>, StoreError> {
    let sql = |which: &str| {
        format!(
            "SELECT day, status, bucket, sum(fetches), sum(attempts), sum(records), \
             sum(documents), sum(duration_ms) FROM fetch_statistics \
             WHERE {which} AND tenant = ?2 AND day >= ?3 \
             GROUP BY day, status, bucket ORDER BY day, status, bucket"
        )
    };
    let tenant = tenant.as_bytes();
    match of {
        FetchScope::Account(account) => {
            let sql = sql("connection IN (SELECT id FROM connections WHERE account = ?1)");
            let of = params![account.as_bytes(), tenant, since.0];
            decoded(connection, &sql, of, read)
        }
        FetchScope::Connection(id) => {
            let sql = sql("connection = ?1");
            let of = params![id.as_bytes(), tenant, since.0];
            decoded(connection, &sql, of, read)
        }
        FetchScope::Source(source) => {
            let sql = sql("source = ?1");
            let of = params![source.as_str(), tenant, since.0];
            decoded(connection, &sql, of, read)
        }
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<FetchTally, StoreError>> {
    let place = (row.get(0)?, row.get(1)?, row.get(2)?);
    let mut sums = [0; 5];
    for (column, sum) in (3..).zip(&mut sums) {
        *sum = row.get(column)?;
    }
    Ok(tally(place, sums))
}
