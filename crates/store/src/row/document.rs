//! Documents: ids and what they are known again by in columns, one text for the rest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wellspring_core::document::Origin;
use wellspring_core::{
    AccountId, ConnectionId, Document, DocumentId, FetchId, TenantId, Timestamp,
};
use wellspring_engine::StoreError;

use super::{inconsistent, text};

#[derive(Serialize)]
struct BodyRef<'a> {
    at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetch: Option<FetchId>,
    origin: Origin,
    size: u64,
    kind: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    at: i64,
    #[serde(default)]
    fetch: Option<FetchId>,
    origin: Origin,
    size: u64,
    kind: String,
    name: String,
    #[serde(rename = "type")]
    media_type: String,
    #[serde(default)]
    date: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Returns what of a document is not in a column of its own.
pub(crate) fn document_body(document: &Document) -> Result<String, serde_json::Error> {
    let Document {
        id: _,
        tenant: _,
        account: _,
        connection: _,
        source_id: _,
        hash: _,
        fetch,
        origin,
        created_at,
        size,
        kind,
        name,
        media_type,
        date,
        metadata,
    } = document;
    text(&BodyRef {
        at: created_at.as_millis(),
        fetch: *fetch,
        origin: *origin,
        size: *size,
        kind,
        name,
        media_type,
        date: date.as_deref(),
        metadata,
    })
}

/// Rebuilds a document from its columns.
pub(crate) fn document(
    id: DocumentId,
    (tenant, account, connection): (TenantId, AccountId, ConnectionId),
    (source_id, hash): (Option<String>, [u8; 32]),
    body: &str,
) -> Result<Document, StoreError> {
    let body: Body =
        serde_json::from_str(body).map_err(|_error| inconsistent("documents", "body", &id))?;
    Ok(Document {
        id,
        tenant,
        account,
        connection,
        fetch: body.fetch,
        origin: body.origin,
        created_at: Timestamp::from_millis(body.at),
        source_id,
        hash,
        size: body.size,
        kind: body.kind,
        name: body.name,
        media_type: body.media_type,
        date: body.date,
        metadata: body.metadata,
    })
}
