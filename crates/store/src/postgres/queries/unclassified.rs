//! Failures that no rule matched.

use uuid::Uuid;
use wellspring_core::{SourceName, UnclassifiedId};
use wellspring_engine::{StoreError, UnclassifiedView};

use super::count;
use crate::postgres::columns::Fields;
use crate::postgres::session::{Param, Session};
use crate::row::{self, UnclassifiedRow};

pub(super) async fn unclassified(
    session: &Session,
    source: Option<&SourceName>,
    before: Option<UnclassifiedId>,
    limit: usize,
) -> Result<Vec<UnclassifiedView>, StoreError> {
    let sql = "SELECT id, body, count, first_at, last_at FROM unclassified \
               WHERE id < $1 AND source = coalesce($2, source) ORDER BY id DESC LIMIT $3";
    let before = before.map_or_else(Uuid::max, |id| id.uuid());
    let (source, limit) = (source.map(SourceName::as_str), count(limit));
    let params: [Param<'_>; 3] = [&before, &source, &limit];
    let rows = session.query(sql, &params).await?;
    let view = |row| {
        let fields = Fields::new("unclassified", row);
        let id: Uuid = fields.get("id")?;
        row::unclassified(&UnclassifiedRow {
            id: id.into_bytes(),
            body: fields.get("body")?,
            count: fields.get("count")?,
            first_at: fields.get("first_at")?,
            last_at: fields.get("last_at")?,
        })
    };
    rows.iter().map(view).collect()
}
