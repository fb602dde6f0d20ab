//! Reads for the driver.

use tokio::time::timeout;
use uuid::Uuid;
use wellspring_core::connection::Slot;
use wellspring_core::{
    AccountId, CollectionId, ConnectionId, DocumentId, Lane, Sealed, Shard, Stored, TenantId,
};
use wellspring_engine::{Aggregate, Live, Loaded, LoadedCollection, RunInputs, StoreError};

use super::PostgresOptions;
use super::columns::{self, Fields, account_columns, collection_columns, connection_columns};
use super::lease::numbers;
use super::queries::count;
use super::session::{Fault, Param, Session};
use crate::row::{live_account, live_connection};

/// Reads live rows stretch by stretch, so that no statement grows with what other nodes own.
pub(super) async fn scan(
    session: &Session,
    shards: &[Shard],
    after: Option<Aggregate>,
    limit: usize,
    options: &PostgresOptions,
) -> Result<Vec<Live>, StoreError> {
    let mut found = Vec::new();
    let shards = numbers(shards);
    if shards.is_empty() {
        return Ok(found);
    }
    let (collections, accounts, connections) = match after {
        None => (Some(Uuid::nil()), Uuid::nil(), Uuid::nil()),
        Some(Aggregate::Collection(id)) => (Some(id.uuid()), Uuid::nil(), Uuid::nil()),
        Some(Aggregate::Account(id)) => (None, id.uuid(), Uuid::nil()),
        Some(Aggregate::Connection(id)) => (None, Uuid::max(), id.uuid()),
        // Sources are read as a whole.
        Some(Aggregate::Source(_)) => return Ok(found),
    };
    let mut scan = Scan {
        session,
        shards,
        limit,
        options,
        found: &mut found,
    };
    // The last row of a stretch comes whosever it is: the next stretch begins after it.
    if let Some(after) = collections {
        let sql = "SELECT id, due, lane, since, mine, place = $3 AS at_end, \
                   (SELECT tenant FROM collections WHERE collections.id = stretch.id) FROM (\
                   SELECT id, due, lane, since, row_number() OVER (ORDER BY id) AS place, \
                   (get_byte(uuid_send(id), 15) & 63)::int2 = ANY($2) AS mine \
                   FROM hot WHERE id > $1 ORDER BY id LIMIT $3) AS stretch \
                   WHERE mine OR place = $3 ORDER BY id LIMIT $4";
        let live = |fields: &Fields<'_>, id| {
            Ok(Live {
                id: Aggregate::Collection(CollectionId::from_bytes(id)),
                due: fields.timestamp("due")?,
                since: fields.timestamp("since")?,
                lane: Lane(fields.place("lane")?),
                tenant: TenantId::from_bytes(fields.uuid_opt("tenant")?.unwrap_or_default()),
                awaited: false,
            })
        };
        scan.table("hot", sql, after, live).await?;
    }
    let sql = "SELECT id, erasing_at, tenant, mine, place = $3 AS at_end FROM (\
               SELECT id, erasing_at, tenant, row_number() OVER (ORDER BY id) AS place, \
               (get_byte(uuid_send(id), 15) & 63)::int2 = ANY($2) AS mine \
               FROM accounts WHERE id > $1 AND erasing_at IS NOT NULL \
               ORDER BY id LIMIT $3) AS stretch \
               WHERE mine OR place = $3 ORDER BY id LIMIT $4";
    let live = |fields: &Fields<'_>, id| {
        Ok(live_account(
            AccountId::from_bytes(id),
            TenantId::from_bytes(fields.uuid("tenant")?),
            fields.get("erasing_at")?,
        ))
    };
    scan.table("accounts", sql, accounts, live).await?;
    let sql = "SELECT id, due, lane, tenant, awaited, mine, place = $3 AS at_end FROM (\
               SELECT id, due, lane, tenant, CASE WHEN state IN (1, 5, 9) THEN true \
               WHEN state IN (3, 6) THEN position('\"present\":true' in body) > 0 \
               ELSE false END AS awaited, row_number() OVER (ORDER BY id) AS place, \
               shard = ANY($2) AND due IS NOT NULL AS mine \
               FROM connections WHERE id > $1 ORDER BY id LIMIT $3) AS stretch \
               WHERE mine OR place = $3 ORDER BY id LIMIT $4";
    let live = |fields: &Fields<'_>, id| {
        let tenant = TenantId::from_bytes(fields.uuid("tenant")?);
        let id = (ConnectionId::from_bytes(id), tenant);
        let (due, lane) = (fields.get("due")?, fields.get("lane")?);
        Ok(live_connection(id, due, lane, fields.get("awaited")?))
    };
    scan.table("connections", sql, connections, live).await?;
    Ok(found)
}

/// A scan of several tables, one after another.
struct Scan<'a> {
    session: &'a Session,
    shards: Vec<i16>,
    limit: usize,
    options: &'a PostgresOptions,
    found: &'a mut Vec<Live>,
}

impl Scan<'_> {
    async fn table(
        &mut self,
        table: &'static str,
        sql: &'static str,
        mut after: Uuid,
        live: impl Fn(&Fields<'_>, [u8; 16]) -> Result<Live, StoreError>,
    ) -> Result<(), StoreError> {
        let stretch = count(self.options.stretch.max(self.limit));
        let mut ended = false;
        while !ended && self.found.len() < self.limit {
            let left = count(self.limit - self.found.len());
            let params: [Param<'_>; 4] = [&after, &self.shards, &stretch, &left];
            let rows = timeout(self.options.deadline, self.session.query(sql, &params)).await;
            let rows = rows.unwrap_or(Err(Fault::Late("the database does not answer")))?;
            ended = true;
            for row in &rows {
                let fields = Fields::new(table, row);
                let id = fields.uuid("id")?;
                (after, ended) = (Uuid::from_bytes(id), !fields.get::<bool>("at_end")?);
                if fields.get("mine")? {
                    self.found.push(live(&fields, id)?);
                }
            }
        }
        Ok(())
    }
}

/// Reads aggregates, those of one kind as of one moment.
pub(super) async fn load(session: &Session, ids: &[Aggregate]) -> Result<Vec<Loaded>, StoreError> {
    let (mut collections, mut accounts, mut connections) = (Vec::new(), Vec::new(), Vec::new());
    let mut sources = Vec::new();
    for id in ids {
        match id {
            Aggregate::Collection(id) => collections.push(id.uuid()),
            Aggregate::Account(id) => accounts.push(id.uuid()),
            Aggregate::Connection(id) => connections.push(id.uuid()),
            Aggregate::Source(id) => sources.push(id.uuid()),
        }
    }
    let mut found = Vec::with_capacity(ids.len());
    if !collections.is_empty() {
        // The notice of a failure, state 3, goes without data.
        let sql = concat!(
            "SELECT ",
            collection_columns!(),
            ", p.body FROM unnest($1::uuid[]) AS wanted (id) JOIN collections c ON c.id = wanted.id \
             LEFT JOIN hot h ON h.id = c.id LEFT JOIN payloads p ON p.id = h.id AND h.state <> 3"
        );
        for row in session.query(sql, &[&collections]).await? {
            let (cold, hot) = columns::collection(&row)?;
            let body: Option<Vec<u8>> = Fields::new("payloads", &row).get("body")?;
            found.push(Loaded::Collection(Box::new(LoadedCollection {
                collection: cold.collection(hot.as_ref())?,
                payload: body.map(Into::into),
                live: hot.is_some(),
            })));
        }
    }
    if !accounts.is_empty() {
        let sql = concat!(
            "SELECT ",
            account_columns!(),
            " FROM accounts WHERE id = ANY($1)"
        );
        for row in session.query(sql, &[&accounts]).await? {
            found.push(Loaded::Account(columns::account(&row)?));
        }
    }
    if !connections.is_empty() {
        let sql = concat!(
            "SELECT ",
            connection_columns!(),
            " FROM connections WHERE id = ANY($1)"
        );
        for row in session.query(sql, &[&connections]).await? {
            let connection = columns::connection(&row)?;
            found.push(Loaded::Connection(Box::new(connection)));
        }
    }
    if !sources.is_empty() {
        let sql = "SELECT id, body FROM sources WHERE id = ANY($1)";
        for row in session.query(sql, &[&sources]).await? {
            found.push(Loaded::Source(Box::new(columns::source(&row)?)));
        }
    }
    Ok(found)
}

/// Reads what the next attempt on a connection begins with.
pub(super) async fn run_inputs(
    session: &Session,
    id: ConnectionId,
) -> Result<RunInputs, StoreError> {
    let mut inputs = RunInputs::default();
    let sql = "SELECT slot, sealed FROM secrets WHERE connection = $1";
    for row in session.query(sql, &[&id.uuid()]).await? {
        let fields = Fields::new("secrets", &row);
        let slot = Slot::from_code(fields.code("slot")?);
        let sealed = Some(Sealed::new(fields.get::<&[u8]>("sealed")?));
        match slot.ok_or_else(|| fields.inconsistent("slot"))? {
            Slot::Credentials => inputs.credentials = sealed,
            Slot::PreviousCredentials => {}
            Slot::Resume => inputs.resume = sealed,
            Slot::Answer => inputs.answer = sealed,
        }
    }
    let sql = "SELECT stream, cursor FROM stream_cursors WHERE connection = $1";
    for row in session.query(sql, &[&id.uuid()]).await? {
        let fields = Fields::new("stream_cursors", &row);
        inputs
            .cursors
            .insert(fields.get("stream")?, fields.get("cursor")?);
    }
    Ok(inputs)
}

/// Reads connections of an account.
pub(super) async fn children(
    session: &Session,
    account: AccountId,
    limit: usize,
) -> Result<Vec<ConnectionId>, StoreError> {
    let sql = "SELECT id FROM connections WHERE account = $1 ORDER BY id LIMIT $2";
    let rows = session
        .query(sql, &[&account.uuid(), &count(limit)])
        .await?;
    let read = |row| Fields::new("connections", row).uuid("id");
    let ids = rows.iter().map(read);
    ids.map(|id| id.map(ConnectionId::from_bytes)).collect()
}

/// Reads documents whose bytes are to go.
pub(super) async fn garbage(
    session: &Session,
    limit: usize,
) -> Result<Vec<DocumentId>, StoreError> {
    let sql = "SELECT id FROM blob_garbage ORDER BY id LIMIT $1";
    let rows = session.query(sql, &[&count(limit)]).await?;
    let read = |row| Fields::new("blob_garbage", row).uuid("id");
    let ids = rows.iter().map(read);
    ids.map(|id| id.map(DocumentId::from_bytes)).collect()
}

/// Forgets documents whose bytes are gone.
pub(super) async fn forget_garbage(
    session: &Session,
    ids: &[DocumentId],
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(DocumentId::uuid).collect();
    let sql = "DELETE FROM blob_garbage WHERE id = ANY($1)";
    session.execute(sql, &[&ids]).await?;
    Ok(())
}
