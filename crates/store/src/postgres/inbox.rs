//! Commands for other nodes: the rows, and the bell that says that there are some.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::poll_fn;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_postgres::AsyncMessage;
use uuid::Uuid;
use wellspring_core::Shard;
use wellspring_engine::{CommitError, InboxRow, KeyRow, Request, StoreError};

use super::columns::Fields;
use super::lease::numbers;
use super::pool::Pool;
use super::session::{Connector, Fault, Param, Session};
use crate::row::aggregate_parts;

/// Rings at other nodes, and hears when they ring.
#[derive(Default)]
pub(super) struct Bell {
    heard: Notify,
    /// For whom to ring.
    filled: Mutex<BTreeSet<Shard>>,
    wanted: Notify,
}

/// Puts a command into the inbox; durable when it returns.
pub(super) async fn post(
    pool: &Pool,
    shard: Shard,
    request: &Request,
    key: Option<&KeyRow>,
    deadline: Duration,
) -> Result<(), CommitError> {
    let text = serde_json::to_string(request);
    let text = text.map_err(|error| CommitError::NotCommitted(error.to_string()))?;
    let opened = timeout(deadline, pool.get()).await;
    let opened = opened.unwrap_or(Err(Fault::Late("all connections are busy")));
    let session = opened.map_err(|fault| fault.not_committed())?;
    let insert = async {
        let number = i16::from(shard.0);
        match key {
            // One statement is one transaction: nothing is posted under a key that is in use.
            Some(key) => {
                let sql = "WITH used AS (INSERT INTO idempotency_keys \
                           (tenant, key, fingerprint, id, at, kind) \
                           VALUES ($3, $4, $5, $6, $7, $8) \
                           ON CONFLICT DO NOTHING RETURNING id) \
                           INSERT INTO inbox (shard, request) SELECT $1, $2 FROM used";
                let KeyRow {
                    tenant,
                    key,
                    fingerprint,
                    id,
                    at,
                } = key;
                let (key, fingerprint) = (key.as_slice(), fingerprint.as_slice());
                let (kind, id) = aggregate_parts(*id);
                let (kind, id) = (i16::from(kind), Uuid::from_bytes(id));
                let (tenant, at) = (tenant.uuid(), at.as_millis());
                let params: [Param<'_>; 8] =
                    [&number, &text, &tenant, &key, &fingerprint, &id, &at, &kind];
                session.execute(sql, &params).await
            }
            None => {
                let sql = "INSERT INTO inbox (shard, request) VALUES ($1, $2)";
                session.execute(sql, &[&number, &text]).await
            }
        }
    };
    match timeout(deadline, insert).await {
        Ok(Ok(posted)) => {
            session.keep();
            if posted == 0 {
                Err(CommitError::KeysTaken(vec![0]))
            } else {
                Ok(())
            }
        }
        Ok(Err(fault)) if fault.is_undone() => Err(fault.not_committed()),
        Ok(Err(fault)) => Err(CommitError::Unknown(fault.to_string())),
        Err(_late) => Err(CommitError::Unknown(
            "the database does not answer".to_owned(),
        )),
    }
}

/// Reads the oldest commands for `shards`.
pub(super) async fn read(
    session: &Session,
    shards: &[Shard],
    limit: usize,
) -> Result<Vec<InboxRow>, StoreError> {
    let sql = "SELECT number, request FROM inbox WHERE shard = ANY($1) ORDER BY number LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = session.query(sql, &[&numbers(shards), &limit]).await?;
    let read = |row| {
        let fields = Fields::new("inbox", row);
        crate::row::inbox_row(fields.get("number")?, fields.get("request")?)
    };
    rows.iter().map(read).collect()
}

impl Bell {
    /// Starts what rings and what listens; they end with the returned set.
    pub(super) fn start(self: &Arc<Self>, connector: Connector, pool: Arc<Pool>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(ring(Arc::clone(self), pool));
        tasks.spawn(listen(Arc::clone(self), connector));
        tasks
    }

    /// Notes that the inbox of `shard` has something.
    pub(super) fn ring_for(&self, shard: Shard) {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        filled.insert(shard);
        self.wanted.notify_one();
    }

    /// Waits until another node rings.
    pub(super) async fn heard(&self) {
        self.heard.notified().await;
    }
}

/// Rings for whatever gathered since the last time.
///
/// A notification locks out all others in the database while it commits, so that it is never part
/// of a larger transaction, and never sent for each command.
async fn ring(bell: Arc<Bell>, pool: Arc<Pool>) {
    loop {
        bell.wanted.notified().await;
        let filled =
            std::mem::take(&mut *bell.filled.lock().unwrap_or_else(PoisonError::into_inner));
        let shards: Vec<String> = filled.iter().map(|shard| shard.0.to_string()).collect();
        // Nobody is told twice: whoever is not told reads its inbox a little later by itself.
        match timeout(RING, notify(&pool, &shards.join(","))).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::debug!(%fault, "Other nodes could not be notified"),
            Err(_late) => tracing::debug!("Other nodes could not be notified in time"),
        }
        sleep(PAUSE).await;
    }
}

async fn notify(pool: &Pool, shards: &str) -> Result<(), Fault> {
    let session = pool.get().await?;
    session
        .query("SELECT pg_notify('wellspring_inbox', $1)", &[&shards])
        .await?;
    session.keep();
    Ok(())
}

/// Listens, on a connection of its own that is opened again whenever it is lost.
async fn listen(bell: Arc<Bell>, connector: Connector) {
    loop {
        if let Err(fault) = hear(&bell, &connector).await {
            tracing::debug!(%fault, "Not listening for other nodes, trying again");
        }
        sleep(RECONNECT).await;
    }
}

async fn hear(bell: &Bell, connector: &Connector) -> Result<(), Fault> {
    let (client, mut connection) = connector.open().await?;
    let mut messages = poll_fn(move |context| connection.poll_message(context));
    let asked = async {
        let answer = client.batch_execute("LISTEN wellspring_inbox").await;
        // What was posted before is there already.
        bell.heard.notify_one();
        match answer {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    let heard = async {
        loop {
            match messages.next().await {
                Some(Ok(AsyncMessage::Notification(_))) => bell.heard.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Fault::Postgres(error)),
                None => return Ok(()),
            }
        }
    };
    match select(pin!(heard), pin!(asked)).await {
        Either::Left((ended, _)) => ended,
        Either::Right((error, _)) => Err(Fault::Postgres(error)),
    }
}

/// How long a notification may take; the connection is then needed for other things.
const RING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);
const RECONNECT: Duration = Duration::from_millis(500);
