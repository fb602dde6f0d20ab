//! Rows as they stand in the tables.

use std::borrow::Cow;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;
use wellspring_core::source::Source;
use wellspring_core::{
    Account, AccountId, Alert, CollectionId, Connection, ConnectionId, Document, DocumentId,
    Incident, InteractionId, Lane, Shard, SourceId, Stage, Stored, TenantId, Timestamp,
};
use wellspring_engine::{InteractionView, StoreError};

use crate::row::{self, Cold, Finished, Hot, stored_error};

/// The columns of both rows of a collection, for [`collection`].
macro_rules! collection_columns {
    () => {
        "c.id, c.tenant, c.source, c.callback_url, c.created_at, c.version, c.message, \
         c.collected_at, c.finished_at, c.failed_stage, c.error_class, c.error_code, \
         c.error_message, h.state, h.version AS hot_version, h.due, h.lane, h.since, h.retries, \
         h.waits, h.message AS hot_message"
    };
}
pub(super) use collection_columns;

/// The columns of an account, for [`account`].
macro_rules! account_columns {
    () => {
        "id, tenant, external_id, created_at, version, erasing_at, erasing_by"
    };
}
pub(super) use account_columns;

/// The columns of a connection, for [`connection`].
macro_rules! connection_columns {
    () => {
        "id, account, tenant, source, version, body"
    };
}
pub(super) use connection_columns;

/// The columns of a document, for [`document`].
macro_rules! document_columns {
    () => {
        "id, tenant, account, connection, source_id, hash, body"
    };
}
pub(super) use document_columns;

/// The columns of an alert, for [`alert`].
macro_rules! alert_columns {
    () => {
        "id, tenant, kind, source, account, connection, code, opened_at, last_at, count, \
         acknowledged_at, closed_at"
    };
}
pub(super) use alert_columns;

/// The columns of an interaction, for [`interaction`].
macro_rules! interaction_columns {
    () => {
        "id, connection, question, created_at, expires_at, reason, closed_at, hash"
    };
}
pub(super) use interaction_columns;

/// One row of a named table.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a Row,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(table: &'static str, row: &'a Row) -> Self {
        Self { table, row }
    }

    pub(super) fn get<T: FromSql<'a>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.row
            .try_get(column)
            .map_err(|_other| self.inconsistent(column))
    }

    pub(super) fn uuid(&self, column: &'static str) -> Result<[u8; 16], StoreError> {
        Ok(self.get::<Uuid>(column)?.into_bytes())
    }

    pub(super) fn uuid_opt(&self, column: &'static str) -> Result<Option<[u8; 16]>, StoreError> {
        Ok(self.get::<Option<Uuid>>(column)?.map(Uuid::into_bytes))
    }

    pub(super) fn digest(&self, column: &'static str) -> Result<[u8; 32], StoreError> {
        let bytes: &[u8] = self.get(column)?;
        bytes.try_into().map_err(|_other| self.inconsistent(column))
    }

    pub(super) fn timestamp(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.get(column).map(Timestamp::from_millis)
    }

    pub(super) fn timestamp_opt(
        &self,
        column: &'static str,
    ) -> Result<Option<Timestamp>, StoreError> {
        let at: Option<i64> = self.get(column)?;
        Ok(at.map(Timestamp::from_millis))
    }

    /// Reads a number that counts steps.
    pub(super) fn version(&self, column: &'static str) -> Result<u32, StoreError> {
        Ok(self.get::<i32>(column)?.cast_unsigned())
    }

    /// Reads a small count.
    pub(super) fn small(&self, column: &'static str) -> Result<u16, StoreError> {
        Ok(self.get::<i16>(column)?.cast_unsigned())
    }

    /// Reads a place in a shard's log.
    pub(super) fn place(&self, column: &'static str) -> Result<u64, StoreError> {
        Ok(self.get::<i64>(column)?.cast_unsigned())
    }

    pub(super) fn shard(&self, column: &'static str) -> Result<Shard, StoreError> {
        self.code(column).map(Shard)
    }

    /// Reads the number of a member of a closed set.
    pub(super) fn code(&self, column: &'static str) -> Result<u8, StoreError> {
        let code: i16 = self.get(column)?;
        u8::try_from(code).map_err(|_other| self.inconsistent(column))
    }

    pub(super) fn code_opt(&self, column: &'static str) -> Result<Option<u8>, StoreError> {
        let code: Option<i16> = self.get(column)?;
        code.map(u8::try_from)
            .transpose()
            .map_err(|_other| self.inconsistent(column))
    }

    pub(super) fn inconsistent(&self, column: &'static str) -> StoreError {
        let id = self.row.try_get::<_, Uuid>("id").map(|id| id.to_string());
        let place = || self.row.try_get::<_, i64>("seq").map(|seq| seq.to_string());
        let row = id.or_else(|_none| place()).unwrap_or_default();
        StoreError::Inconsistent {
            table: self.table,
            column,
            row,
        }
    }
}

/// Reads both rows of a collection.
pub(super) fn collection(row: &Row) -> Result<(Cold, Option<Hot>), StoreError> {
    let fields = Fields::new("collections", row);
    let source: &str = fields.get("source")?;
    let finished_at = fields.timestamp_opt("finished_at")?;
    let stage = fields.code_opt("failed_stage")?;
    let error = stored_error((
        fields.code_opt("error_class")?,
        fields.get("error_code")?,
        fields.get("error_message")?,
    ));
    let outcome = match (finished_at, stage, error) {
        (None, _, _) => None,
        (Some(at), None, _) => Some(Finished { at, failure: None }),
        (Some(at), Some(stage), Ok(Some(error))) => {
            let stage = Stage::from_code(stage);
            let stage = stage.ok_or_else(|| fields.inconsistent("failed_stage"))?;
            Some(Finished {
                at,
                failure: Some((stage, error)),
            })
        }
        (Some(_), Some(_), Ok(None) | Err(())) => return Err(fields.inconsistent("error_class")),
    };
    let cold = Cold {
        id: CollectionId::from_bytes(fields.uuid("id")?),
        tenant: TenantId::from_bytes(fields.uuid("tenant")?),
        source: source
            .parse()
            .map_err(|_other| fields.inconsistent("source"))?,
        callback_url: fields.get::<&str>("callback_url")?.into(),
        created_at: fields.timestamp("created_at")?,
        version: fields.version("version")?,
        message: fields.small("message")?,
        collected_at: fields.timestamp_opt("collected_at")?,
        outcome,
    };
    Ok((cold, hot(row)?))
}

fn hot(row: &Row) -> Result<Option<Hot>, StoreError> {
    let fields = Fields::new("hot", row);
    let Some(state) = fields.code_opt("state")? else {
        return Ok(None);
    };
    Ok(Some(Hot {
        state,
        version: fields.version("hot_version")?,
        due: fields.timestamp("due")?,
        lane: Lane(fields.get::<i64>("lane")?.cast_unsigned()),
        since: fields.timestamp("since")?,
        retries: fields.small("retries")?,
        waits: fields.small("waits")?,
        message: fields.small("hot_message")?,
    }))
}

/// Reads an account.
pub(super) fn account(row: &Row) -> Result<Account, StoreError> {
    let fields = Fields::new("accounts", row);
    let account = Account {
        id: AccountId::from_bytes(fields.uuid("id")?),
        tenant: TenantId::from_bytes(fields.uuid("tenant")?),
        external_id: fields.get("external_id")?,
        created_at: fields.timestamp("created_at")?,
        version: fields.version("version")?,
        erasing: None,
    };
    row::account(
        account,
        (fields.get("erasing_at")?, fields.get("erasing_by")?),
    )
}

/// Reads a connection.
pub(super) fn connection(row: &Row) -> Result<Connection, StoreError> {
    let fields = Fields::new("connections", row);
    let ids = (
        ConnectionId::from_bytes(fields.uuid("id")?),
        AccountId::from_bytes(fields.uuid("account")?),
        TenantId::from_bytes(fields.uuid("tenant")?),
    );
    let version = fields.version("version")?;
    row::connection(ids, fields.get("source")?, version, fields.get("body")?)
}

/// Reads a document.
pub(super) fn document(row: &Row) -> Result<Document, StoreError> {
    let fields = Fields::new("documents", row);
    let owners = (
        TenantId::from_bytes(fields.uuid("tenant")?),
        AccountId::from_bytes(fields.uuid("account")?),
        ConnectionId::from_bytes(fields.uuid("connection")?),
    );
    let known_by = (fields.get("source_id")?, fields.digest("hash")?);
    let id = DocumentId::from_bytes(fields.uuid("id")?);
    row::document(id, owners, known_by, fields.get("body")?)
}

/// Reads an alert.
pub(super) fn alert(row: &Row) -> Result<Alert, StoreError> {
    let fields = Fields::new("alerts", row);
    row::alert(row::AlertRow {
        id: fields.uuid("id")?,
        tenant: fields.uuid("tenant")?,
        kind: fields.code("kind")?,
        source: fields.get("source")?,
        account: fields.uuid_opt("account")?,
        connection: fields.uuid_opt("connection")?,
        code: fields.get("code")?,
        opened_at: fields.get("opened_at")?,
        last_at: fields.get("last_at")?,
        count: fields.version("count")?,
        acknowledged_at: fields.get("acknowledged_at")?,
        closed_at: fields.get("closed_at")?,
    })
}

/// Reads a source.
pub(super) fn source(row: &Row) -> Result<Source, StoreError> {
    let fields = Fields::new("sources", row);
    row::source(
        SourceId::from_bytes(fields.uuid("id")?),
        fields.get("body")?,
    )
}

/// Reads an incident.
pub(super) fn incident(row: &Row) -> Result<Incident, StoreError> {
    let fields = Fields::new("incidents", row);
    row::incident(row::IncidentRow {
        id: fields.uuid("id")?,
        source: fields.get("source")?,
        kind: fields.code("kind")?,
        detected_by: fields.code("detected_by")?,
        started_at: fields.get("started_at")?,
        expected_end: fields.get("expected_end")?,
        ended_at: fields.get("ended_at")?,
        reason: fields.get("reason")?,
    })
}

/// Reads an interaction.
pub(super) fn interaction(row: &Row) -> Result<InteractionView, StoreError> {
    let fields = Fields::new("interactions", row);
    let id = InteractionId::from_bytes(fields.uuid("id")?);
    let hash: Option<&[u8]> = fields.get("hash")?;
    let hash = hash.map(TryInto::try_into).transpose();
    Ok(InteractionView {
        id,
        connection: ConnectionId::from_bytes(fields.uuid("connection")?),
        question: row::question(id, fields.get("question")?)?,
        created_at: fields.timestamp("created_at")?,
        expires_at: fields.timestamp_opt("expires_at")?,
        closed: row::closed(id, fields.code_opt("reason")?, fields.get("closed_at")?)?,
        hash: hash.map_err(|_other| fields.inconsistent("hash"))?,
    })
}

/// Returns a text as PostgreSQL can keep it: it knows no NUL, and what others send may have one.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}
