//! Reads: for the driver, and for the API.

use futures_util::future::BoxFuture;
use tokio::time::timeout;
use uuid::Uuid;
use wellspring_core::{CollectionId, CollectionStatus, Lane, Shard, TenantId};
use wellspring_engine::{
    AttemptView, ChangesPage, CollectionPage, CollectionView, Cursor, CursorError, KeyRow, Live,
    Loaded, Queries, StoreError,
};

use super::columns::{self, Fields, collection_columns};
use super::lease::numbers;
use super::session::{Fault, Param, Session};
use super::{PostgresOptions, PostgresStore, log};
use crate::row::attempt_view;

impl Queries for PostgresStore {
    fn collection(
        &self,
        tenant: TenantId,
        id: CollectionId,
    ) -> BoxFuture<'_, Result<Option<CollectionView>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = concat!(
                "SELECT ",
                collection_columns!(),
                " FROM collections c LEFT JOIN hot h ON h.id = c.id \
                 WHERE c.id = $1 AND c.tenant = $2"
            );
            let row = session
                .query_opt(sql, &[&id.uuid(), &tenant.uuid()])
                .await?;
            let attempts = attempts(&session, id).await?;
            session.keep();
            let Some(row) = row else { return Ok(None) };
            let (cold, hot) = columns::collection(&row)?;
            cold.view(hot.as_ref(), attempts).map(Some)
        })
    }

    fn collections(
        &self,
        tenant: TenantId,
        status: Option<CollectionStatus>,
        before: Option<CollectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<CollectionPage, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let stretch = self.shared.options.stretch;
            let page = page(&session, tenant, status, before, (limit, stretch)).await?;
            session.keep();
            Ok(page)
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        self.within(async {
            let session = self.pool().get().await?;
            let head = log::head(&session).await?;
            session.keep();
            Ok(head)
        })
    }

    fn changes(
        &self,
        tenant: TenantId,
        cursor: Cursor,
        limit: usize,
    ) -> BoxFuture<'_, Result<ChangesPage, CursorError>> {
        let page = self.within(async move {
            let session = self.pool().get().await?;
            let page = log::changes(&session, tenant, &cursor, limit).await?;
            session.keep();
            Ok(page)
        });
        Box::pin(async move {
            page.await
                .unwrap_or_else(|error| Err(CursorError::Store(error)))
        })
    }

    fn key(
        &self,
        tenant: TenantId,
        key: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<KeyRow>, StoreError>> {
        self.within(async move {
            let session = self.pool().get().await?;
            let sql = "SELECT fingerprint, id, at FROM idempotency_keys \
                       WHERE tenant = $1 AND key = $2";
            let row = session
                .query_opt(sql, &[&tenant.uuid(), &key.as_slice()])
                .await?;
            session.keep();
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::new("idempotency_keys", &row);
            Ok(Some(KeyRow {
                tenant,
                key,
                fingerprint: fields.digest("fingerprint")?,
                id: CollectionId::from_bytes(fields.uuid("id")?),
                at: fields.timestamp("at")?,
            }))
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.within(async {
            let session = self.pool().get().await?;
            session
                .query("SELECT shard FROM shards LIMIT 1", &[])
                .await?;
            session.keep();
            Ok(())
        })
    }
}

/// Reads live rows stretch by stretch, so that no statement grows with what other nodes own.
pub(super) async fn scan(
    session: &Session,
    shards: &[Shard],
    after: Option<CollectionId>,
    limit: usize,
    options: &PostgresOptions,
) -> Result<Vec<Live>, StoreError> {
    // The last row of the stretch comes whosever it is: the next stretch begins after it.
    let sql = "SELECT id, due, lane, since, mine, place = $3 AS at_end FROM (\
               SELECT id, due, lane, since, row_number() OVER (ORDER BY id) AS place, \
               (get_byte(uuid_send(id), 15) & 63)::int2 = ANY($2) AS mine \
               FROM hot WHERE id > $1 ORDER BY id LIMIT $3) AS stretch \
               WHERE mine OR place = $3 ORDER BY id LIMIT $4";
    let (stretch, shards) = (count(options.stretch.max(limit)), numbers(shards));
    let mut after = after.map_or_else(Uuid::nil, |id| id.uuid());
    let mut found = Vec::new();
    while !shards.is_empty() {
        let left = count(limit - found.len());
        let params: [Param<'_>; 4] = [&after, &shards, &stretch, &left];
        let rows = timeout(options.deadline, session.query(sql, &params)).await;
        let rows = rows.unwrap_or(Err(Fault::Late("the database does not answer")))?;
        let mut ended = true;
        for row in &rows {
            let fields = Fields::new("hot", row);
            let id = CollectionId::from_bytes(fields.uuid("id")?);
            (after, ended) = (id.uuid(), !fields.get::<bool>("at_end")?);
            if fields.get("mine")? {
                found.push(Live {
                    id,
                    due: fields.timestamp("due")?,
                    since: fields.timestamp("since")?,
                    lane: Lane(fields.get::<i64>("lane")?.cast_unsigned()),
                });
            }
        }
        if ended || found.len() == limit {
            break;
        }
    }
    Ok(found)
}

/// Reads aggregates, all of them as of one moment.
pub(super) async fn load(
    session: &Session,
    ids: &[CollectionId],
) -> Result<Vec<Loaded>, StoreError> {
    // The notice of a failure, state 3, goes without data.
    let sql = concat!(
        "SELECT ",
        collection_columns!(),
        ", p.body FROM unnest($1::uuid[]) AS wanted (id) JOIN collections c ON c.id = wanted.id \
         LEFT JOIN hot h ON h.id = c.id LEFT JOIN payloads p ON p.id = h.id AND h.state <> 3"
    );
    let ids: Vec<Uuid> = ids.iter().map(CollectionId::uuid).collect();
    let rows = session.query(sql, &[&ids]).await?;
    let read = |row| {
        let (cold, hot) = columns::collection(row)?;
        let body: Option<Vec<u8>> = Fields::new("payloads", row).get("body")?;
        Ok(Loaded {
            collection: cold.collection(hot.as_ref())?,
            payload: body.map(Into::into),
            live: hot.is_some(),
        })
    };
    rows.iter().map(read).collect()
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

async fn page(
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

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
