//! Blobs as rows of parts.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::timeout;
use uuid::Uuid;
use wellspring_core::DocumentId;
use wellspring_engine::{BlobError, Blobs};

use super::PostgresStore;
use super::columns::Fields;
use super::pool::Pool;
use super::session::{Fault, Session};

/// Blobs in the database of a store.
///
/// They have connections of their own: large ones must not hold up a renewal of a lease.
#[derive(Clone)]
pub struct PostgresBlobs {
    pool: Arc<Pool>,
    deadline: Duration,
}

impl PostgresBlobs {
    /// Keeps blobs beside the store's rows.
    pub fn new(store: &PostgresStore) -> Self {
        let connector = store.shared.connector.clone();
        Self {
            pool: Arc::new(Pool::new(connector, CONNECTIONS)),
            deadline: store.shared.options.deadline,
        }
    }

    /// Gives a statement no more time than it may have; a large blob takes many.
    async fn timed<R>(
        &self,
        statement: impl Future<Output = Result<R, Fault>>,
    ) -> Result<R, BlobError> {
        let done = timeout(self.deadline, statement).await;
        done.unwrap_or(Err(Fault::Late("the database does not answer")))
            .map_err(|fault| BlobError::Unavailable(fault.to_string()))
    }

    async fn write(&self, session: &Session, id: Uuid, body: &[u8]) -> Result<(), BlobError> {
        // Whoever writes the same blob waits at the first part: parts are of one writer.
        self.timed(session.batch("BEGIN")).await?;
        let (mut part, mut rest) = (0_i32, body);
        loop {
            let (body, after) = rest.split_at(rest.len().min(PART));
            let sql = "INSERT INTO blobs (id, part, body) VALUES ($1, $2, $3) \
                       ON CONFLICT (id, part) DO UPDATE SET body = excluded.body";
            self.timed(session.execute(sql, &[&id, &part, &body]))
                .await?;
            if after.is_empty() {
                break;
            }
            (part, rest) = (part.saturating_add(1), after);
        }
        let sql = "DELETE FROM blobs WHERE id = $1 AND part > $2";
        self.timed(session.execute(sql, &[&id, &part])).await?;
        self.timed(session.batch("COMMIT")).await?;
        Ok(())
    }

    async fn parts(
        &self,
        session: &Session,
        id: Uuid,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, BlobError> {
        // One snapshot, in which parts of two writers do not meet.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        self.timed(session.batch(begin)).await?;
        let first = i32::try_from(range.start / PART as u64).unwrap_or(i32::MAX);
        let end = i32::try_from(range.end.div_ceil(PART as u64)).unwrap_or(i32::MAX);
        let mut body = Vec::new();
        let (mut next, mut found) = (first, false);
        while next < end {
            let until = end.min(next.saturating_add(AT_ONCE));
            let sql =
                "SELECT body FROM blobs WHERE id = $1 AND part >= $2 AND part < $3 ORDER BY part";
            let rows = self
                .timed(session.query(sql, &[&id, &next, &until]))
                .await?;
            for row in &rows {
                found = true;
                let part: &[u8] = Fields::new("blobs", row)
                    .get("body")
                    .map_err(|error| BlobError::Unavailable(error.to_string()))?;
                body.extend_from_slice(part);
            }
            if i32::try_from(rows.len()).unwrap_or(i32::MAX) < until - next {
                break;
            }
            next = until;
        }
        if !found {
            let sql = "SELECT 1 FROM blobs WHERE id = $1 AND part = 0";
            found = self.timed(session.query_opt(sql, &[&id])).await?.is_some();
        }
        self.timed(session.batch("COMMIT")).await?;
        if !found {
            return Ok(None);
        }
        let before = u64::try_from(first)
            .unwrap_or(0)
            .saturating_mul(PART as u64);
        let range = range.start.saturating_sub(before)..range.end.saturating_sub(before);
        let body = Bytes::from(body);
        Ok(Some(body.slice(crate::blobs::within(&range, body.len()))))
    }
}

impl std::fmt::Debug for PostgresBlobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresBlobs")
    }
}

impl Blobs for PostgresBlobs {
    fn put(&self, id: DocumentId, body: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move {
            let session = self.timed(self.pool.get()).await?;
            self.write(&session, id.uuid(), &body).await?;
            session.keep();
            Ok(())
        })
    }

    fn read(
        &self,
        id: DocumentId,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'_, Result<Option<Bytes>, BlobError>> {
        Box::pin(async move {
            let session = self.timed(self.pool.get()).await?;
            let range = range.unwrap_or(0..u64::MAX);
            let body = self.parts(&session, id.uuid(), range).await?;
            session.keep();
            Ok(body)
        })
    }

    fn delete(&self, id: DocumentId) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move {
            let session = self.timed(self.pool.get()).await?;
            let sql = "DELETE FROM blobs WHERE id = $1";
            self.timed(session.execute(sql, &[&id.uuid()])).await?;
            session.keep();
            Ok(())
        })
    }

    fn list(
        &self,
        after: Option<DocumentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DocumentId>, BlobError>> {
        Box::pin(async move {
            let session = self.timed(self.pool.get()).await?;
            let sql = "SELECT id FROM blobs WHERE part = 0 AND id > $1 ORDER BY id LIMIT $2";
            let after = after.map_or(Uuid::nil(), |id| id.uuid());
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = self.timed(session.query(sql, &[&after, &limit])).await?;
            session.keep();
            let ids = rows.iter().map(|row| Fields::new("blobs", row).uuid("id"));
            ids.map(|id| id.map(DocumentId::from_bytes))
                .collect::<Result<_, _>>()
                .map_err(|error| BlobError::Unavailable(error.to_string()))
        })
    }
}

const CONNECTIONS: usize = 2;
/// How many bytes a row has.
const PART: usize = 256 << 10;
/// How many parts one statement reads.
const AT_ONCE: i32 = 16;
