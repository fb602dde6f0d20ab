//! Sources and their incidents.

use uuid::Uuid;
use wellspring_core::source::Source;
use wellspring_core::{Incident, IncidentId, Stored};
use wellspring_engine::{IncidentFilter, StoreError};

use super::count;
use crate::postgres::columns;
use crate::postgres::session::{Param, Session};

pub(super) async fn sources(session: &Session) -> Result<Vec<Source>, StoreError> {
    let sql = "SELECT id, body FROM sources ORDER BY id";
    let rows = session.query(sql, &[]).await?;
    rows.iter().map(columns::source).collect()
}

pub(super) async fn incidents(
    session: &Session,
    filter: &IncidentFilter,
    before: Option<IncidentId>,
    limit: usize,
) -> Result<Vec<Incident>, StoreError> {
    macro_rules! listed {
        ($state:literal, $of:literal, $order:literal) => {
            concat!(
                "SELECT id, source, kind, detected_by, started_at, expected_end, ended_at, reason \
                 FROM incidents WHERE id < $1 AND kind = coalesce($3, kind) ",
                $state,
                $of,
                $order,
                " LIMIT $2"
            )
        };
        ($state:literal) => {
            (
                listed!($state, "", " ORDER BY id DESC"),
                listed!($state, " AND source = $4", " ORDER BY source DESC, id DESC"),
            )
        };
    }
    let (all, of_one) = match filter.open {
        None => listed!(""),
        Some(true) => listed!("AND ended_at IS NULL"),
        Some(false) => listed!("AND ended_at IS NOT NULL"),
    };
    let before = before.map_or_else(Uuid::max, |id| id.uuid());
    let limit = count(limit);
    let kind = filter.kind.map(|kind| i16::from(kind.code()));
    let rows = match &filter.source {
        None => session.query(all, &[&before, &limit, &kind]).await?,
        Some(source) => {
            let source = source.as_str();
            let params: [Param<'_>; 4] = [&before, &limit, &kind, &source];
            session.query(of_one, &params).await?
        }
    };
    rows.iter().map(columns::incident).collect()
}
