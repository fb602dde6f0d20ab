//! Alerts.

use uuid::Uuid;
use wellspring_core::{Alert, AlertId, Stored, TenantId};
use wellspring_engine::{AlertFilter, StoreError};

use super::count;
use crate::postgres::columns::{self, alert_columns};
use crate::postgres::session::{Param, Session};

pub(super) async fn alerts(
    session: &Session,
    tenant: TenantId,
    filter: &AlertFilter,
    before: Option<AlertId>,
    limit: usize,
) -> Result<Vec<Alert>, StoreError> {
    macro_rules! listed {
        ($state:literal) => {
            concat!(
                "SELECT ",
                alert_columns!(),
                " FROM alerts WHERE tenant = $1 AND id < $2 ",
                $state,
                " AND kind = coalesce($4, kind) AND source = coalesce($5, source) \
                 AND ($6::uuid IS NULL OR connection = $6) ORDER BY tenant DESC, id DESC LIMIT $3"
            )
        };
    }
    let sql = match filter.open {
        None => listed!(""),
        Some(true) => listed!("AND closed_at IS NULL"),
        Some(false) => listed!("AND closed_at IS NOT NULL"),
    };
    let (tenant, limit) = (tenant.uuid(), count(limit));
    let before = before.map_or_else(Uuid::max, |id| id.uuid());
    let kind = filter.kind.map(|kind| i16::from(kind.code()));
    let source = filter.source.as_ref().map(|source| source.as_str());
    let connection = filter.connection.map(|id| id.uuid());
    let params: [Param<'_>; 6] = [&tenant, &before, &limit, &kind, &source, &connection];
    let rows = session.query(sql, &params).await?;
    rows.iter().map(columns::alert).collect()
}

pub(super) async fn alert(
    session: &Session,
    tenant: TenantId,
    id: AlertId,
) -> Result<Option<Alert>, StoreError> {
    let sql = concat!(
        "SELECT ",
        alert_columns!(),
        " FROM alerts WHERE id = $1 AND tenant = $2"
    );
    let row = session
        .query_opt(sql, &[&id.uuid(), &tenant.uuid()])
        .await?;
    row.as_ref().map(columns::alert).transpose()
}
