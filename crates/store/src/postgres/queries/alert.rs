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

/// Lists those of all tenants, by the index for the narrowest of what is given.
pub(super) async fn alerts_of_all(
    session: &Session,
    filter: &AlertFilter,
    before: Option<AlertId>,
    limit: usize,
) -> Result<Vec<Alert>, StoreError> {
    macro_rules! listed {
        ($given:literal, $order:literal, $state:literal) => {
            concat!(
                "SELECT ",
                alert_columns!(),
                " FROM alerts WHERE id < $1 AND ",
                $given,
                $state,
                " ORDER BY ",
                $order,
                "id DESC LIMIT $2"
            )
        };
    }
    macro_rules! in_state {
        ($given:literal, $order:literal) => {
            match filter.open {
                None => listed!($given, $order, ""),
                Some(true) => listed!($given, $order, " AND closed_at IS NULL"),
                Some(false) => listed!($given, $order, " AND closed_at IS NOT NULL"),
            }
        };
    }
    let sql = match (&filter.connection, &filter.source, &filter.kind) {
        (Some(_), _, _) => in_state!(
            "kind = coalesce($3, kind) AND source = coalesce($4, source) AND connection = $5",
            "connection DESC, "
        ),
        (None, Some(_), _) => in_state!(
            "kind = coalesce($3, kind) AND source = $4 AND $5::uuid IS NULL",
            "source DESC, "
        ),
        (None, None, Some(_)) => in_state!(
            "kind = $3 AND $4::text IS NULL AND $5::uuid IS NULL",
            "kind DESC, "
        ),
        (None, None, None) => in_state!(
            "$3::int2 IS NULL AND $4::text IS NULL AND $5::uuid IS NULL",
            ""
        ),
    };
    let limit = count(limit);
    let before = before.map_or_else(Uuid::max, |id| id.uuid());
    let kind = filter.kind.map(|kind| i16::from(kind.code()));
    let source = filter.source.as_ref().map(|source| source.as_str());
    let connection = filter.connection.map(|id| id.uuid());
    let params: [Param<'_>; 5] = [&before, &limit, &kind, &source, &connection];
    let rows = session.query(sql, &params).await?;
    rows.iter().map(columns::alert).collect()
}

/// Returns one of a tenant, or of any of them.
pub(super) async fn alert(
    session: &Session,
    tenant: Option<TenantId>,
    id: AlertId,
) -> Result<Option<Alert>, StoreError> {
    let sql = concat!(
        "SELECT ",
        alert_columns!(),
        " FROM alerts WHERE id = $1 AND tenant = coalesce($2, tenant)"
    );
    let tenant = tenant.map(|tenant| tenant.uuid());
    let row = session.query_opt(sql, &[&id.uuid(), &tenant]).await?;
    row.as_ref().map(columns::alert).transpose()
}
