//! Fetches that ended, added up.

use tokio_postgres::Row;
use wellspring_core::TenantId;
use wellspring_core::reliability::{Day, FetchTally};
use wellspring_engine::{FetchScope, StoreError};

use crate::postgres::columns::Fields;
use crate::postgres::session::Session;
use crate::row::tally;

/// The statement for those that a condition on `$1` picks.
macro_rules! tallies_where {
    ($which:literal) => {
        concat!(
            "SELECT day, status, bucket, sum(fetches)::int8 AS fetches, \
             sum(attempts)::int8 AS attempts, sum(records)::int8 AS records, \
             sum(documents)::int8 AS documents, sum(duration_ms)::int8 AS duration_ms \
             FROM fetch_statistics WHERE ",
            $which,
            " AND tenant = $2 AND day >= $3 \
             GROUP BY day, status, bucket ORDER BY day, status, bucket"
        )
    };
}

pub(super) async fn tallies(
    session: &Session,
    tenant: TenantId,
    of: &FetchScope,
    since: Day,
) -> Result<Vec<FetchTally>, StoreError> {
    let (tenant, since) = (tenant.uuid(), since.0);
    let rows = match of {
        FetchScope::Account(account) => {
            let sql =
                tallies_where!("connection IN (SELECT id FROM connections WHERE account = $1)");
            session
                .query(sql, &[&account.uuid(), &tenant, &since])
                .await?
        }
        FetchScope::Connection(id) => {
            let sql = tallies_where!("connection = $1");
            session.query(sql, &[&id.uuid(), &tenant, &since]).await?
        }
        FetchScope::Source(source) => {
            let sql = tallies_where!("source = $1");
            session
                .query(sql, &[&source.as_str(), &tenant, &since])
                .await?
        }
    };
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<FetchTally, StoreError> {
    let fields = Fields::new("fetch_statistics", row);
    let place = (
        fields.get("day")?,
        fields.code("status")?,
        fields.small("bucket")?,
    );
    let sums = [
        fields.get("fetches")?,
        fields.get("attempts")?,
        fields.get("records")?,
        fields.get("documents")?,
        fields.get("duration_ms")?,
    ];
    tally(place, sums)
}
