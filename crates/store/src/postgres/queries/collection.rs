//! Collections.

use uuid::Uuid;
use wellspring_core::{CollectionId, CollectionStatus, TenantId};
use wellspring_engine::{AttemptView, CollectionPage, CollectionView, StoreError};

use super::count;
use crate::postgres::columns::{self, Fields, collection_columns};
use crate::postgres::session::{Param, Session};
use crate::row::attempt_view;

pub(super) async fn collection(
    session: &Session,
    tenant: TenantId,
    id: CollectionId,
) -> Result<Option<CollectionView>, StoreError> {
    let sql = concat!(
        "SELECT ",
        collection_columns!(),
        " FROM collections c LEFT JOIN hot h ON h.id = c.id \
         WHERE c.id = $1 AND c.tenant = $2"
    );
    let row = session
        .query_opt(sql, &[&id.uuid(), &tenant.uuid()])
        .await?;
    let attempts = attempts(session, id).await?;
    let Some(row) = row else { return Ok(None) };
    let (cold, hot) = columns::collection(&row)?;
    cold.view(hot.as_ref(), attempts).map(Some)
}

async fn attempts(session: &Session, id: CollectionId) -> Result<Vec<AttemptView>, StoreError> {
    let sql = "SELECT stage, at, duration_ms, class, code, message FROM attempts \
               WHERE id = $1 ORDER BY version";
    let rows = session.query(sql, &[&id.uuid()]).await?;
    let read = |row| {
        let fields = Fields::new("attempts", row);
        let what = (
            fields.code("stage")?,
            fields.get("at")?,
            fields.get("duration_ms")?,
        );
        let error = (
            fields.code_opt("class")?,
            fields.get("code")?,
            fields.get("message")?,
        );
        attempt_view(id, what, error)
    };
    rows.iter().map(read).collect()
}

pub(super) async fn page(
    session: &Session,
    tenant: TenantId,
    status: Option<CollectionStatus>,
    before: Option<CollectionId>,
    (limit, stretch): (usize, usize),
) -> Result<CollectionPage, StoreError> {
    // What has failed has an index of its own.
    let failed = concat!(
        "SELECT ",
        collection_columns!(),
        ", c.place = $3 AS at_end FROM (\
         SELECT *, row_number() OVER (ORDER BY id DESC) AS place FROM collections \
         WHERE tenant = $1 AND id < $2 AND failed_stage IS NOT NULL ORDER BY id DESC LIMIT $3) c \
         LEFT JOIN hot h ON h.id = c.id ORDER BY c.id DESC LIMIT $4"
    );
    // Everything else is looked for in a bounded stretch, whose last row comes whosever it is.
    let any = concat!(
        "SELECT ",
        collection_columns!(),
        ", c.place = $3 AS at_end FROM (\
         SELECT *, row_number() OVER (ORDER BY id DESC) AS place FROM collections \
         WHERE id < $2 ORDER BY id DESC LIMIT $3) c \
         LEFT JOIN hot h ON h.id = c.id WHERE c.tenant = $1 OR c.place = $3 \
         ORDER BY c.id DESC LIMIT $4"
    );
    let sql = if status == Some(CollectionStatus::Failed) {
        failed
    } else {
        any
    };
    let before = before.map_or_else(Uuid::max, |id| id.uuid());
    let most = if status.is_none() { limit } else { stretch };
    let (tenant_id, stretch, most) = (tenant.uuid(), count(stretch), count(most));
    let params: [Param<'_>; 4] = [&tenant_id, &before, &stretch, &most];
    let (mut rows, mut at_end) = (Vec::new(), None);
    for row in session.query(sql, &params).await? {
        let (cold, hot) = columns::collection(&row)?;
        if Fields::new("collections", &row).get("at_end")? {
            at_end = Some(cold.id);
        }
        if cold.tenant != tenant {
            continue;
        }
        let view = cold.view(hot.as_ref(), Vec::new())?;
        if status.is_none_or(|wanted| wanted == view.status) {
            let next = Some(view.id);
            rows.push(view);
            if rows.len() == limit {
                return Ok(CollectionPage { rows, next });
            }
        }
    }
    Ok(CollectionPage { rows, next: at_end })
}
