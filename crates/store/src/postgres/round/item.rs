//! What connections bring: documents, records, and where their streams go on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use uuid::Uuid;
use wellspring_core::Document;
use wellspring_engine::{CommitError, Record};

use super::{Call, unwritable};
use crate::postgres::columns::text;
use crate::row::document_body;

/// Documents that came in.
#[derive(Default)]
pub(super) struct Documents<'a> {
    id: Vec<Uuid>,
    tenant: Vec<Uuid>,
    account: Vec<Uuid>,
    connection: Vec<Uuid>,
    hash: Vec<&'a [u8]>,
    source_id: Vec<Option<Cow<'a, str>>>,
    body: Vec<String>,
}

/// Records that came in; of one key in one statement there may be only one.
#[derive(Default)]
pub(super) struct Records<'a> {
    place: BTreeMap<(Uuid, Cow<'a, str>, Cow<'a, str>), usize>,
    connection: Vec<Uuid>,
    stream: Vec<Cow<'a, str>>,
    key: Vec<Cow<'a, str>>,
    hash: Vec<&'a [u8]>,
    body: Vec<&'a [u8]>,
}

/// Where streams go on; of one stream in one statement there may be only one.
#[derive(Default)]
pub(super) struct Cursors<'a> {
    place: BTreeMap<(Uuid, Cow<'a, str>), usize>,
    connection: Vec<Uuid>,
    stream: Vec<Cow<'a, str>>,
    cursor: Vec<Cow<'a, str>>,
}

impl<'a> Documents<'a> {
    pub(super) fn push(&mut self, documents: &'a [Document]) -> Result<(), CommitError> {
        for document in documents {
            let body = document_body(document).map_err(|error| unwritable(&error))?;
            self.id.push(document.id.uuid());
            self.tenant.push(document.tenant.uuid());
            self.account.push(document.account.uuid());
            self.connection.push(document.connection.uuid());
            self.hash.push(&document.hash);
            self.source_id.push(document.source_id.as_deref().map(text));
            self.body.push(body);
        }
        Ok(())
    }

    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if self.id.is_empty() {
            return;
        }
        let sql = "INSERT INTO documents \
                   (id, tenant, account, connection, hash, source_id, body) \
                   SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], \
                   $5::bytea[], $6::text[], $7::text[]) ON CONFLICT DO NOTHING";
        calls.push(Call::any(
            sql,
            vec![
                &self.id,
                &self.tenant,
                &self.account,
                &self.connection,
                &self.hash,
                &self.source_id,
                &self.body,
            ],
        ));
    }
}

impl<'a> Records<'a> {
    pub(super) fn push(&mut self, connection: Uuid, records: &'a [(String, Record)]) {
        for (stream, Record { key, hash, body }) in records {
            let (stream, key) = (text(stream), text(key));
            let last = self.key.len();
            let place = (connection, stream.clone(), key.clone());
            let place = *self.place.entry(place).or_insert(last);
            if let (Some(kept), Some(kept_body)) =
                (self.hash.get_mut(place), self.body.get_mut(place))
            {
                (*kept, *kept_body) = (hash, body.as_bytes());
                continue;
            }
            self.connection.push(connection);
            self.stream.push(stream);
            self.key.push(key);
            self.hash.push(hash);
            self.body.push(body.as_bytes());
        }
    }

    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if self.key.is_empty() {
            return;
        }
        let sql = "INSERT INTO records (connection, stream, key, hash, body) \
                   SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], \
                   $5::bytea[]) ON CONFLICT (connection, stream, key) \
                   DO UPDATE SET hash = excluded.hash, body = excluded.body \
                   WHERE records.hash <> excluded.hash";
        calls.push(Call::any(
            sql,
            vec![
                &self.connection,
                &self.stream,
                &self.key,
                &self.hash,
                &self.body,
            ],
        ));
    }
}

impl<'a> Cursors<'a> {
    pub(super) fn push(&mut self, connection: Uuid, cursors: &'a [(String, String)]) {
        for (stream, cursor) in cursors {
            let (stream, cursor) = (text(stream), text(cursor));
            let last = self.stream.len();
            let place = *self
                .place
                .entry((connection, stream.clone()))
                .or_insert(last);
            if let Some(kept) = self.cursor.get_mut(place) {
                *kept = cursor;
                continue;
            }
            self.connection.push(connection);
            self.stream.push(stream);
            self.cursor.push(cursor);
        }
    }

    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        if self.stream.is_empty() {
            return;
        }
        let sql = "INSERT INTO stream_cursors (connection, stream, cursor) \
                   SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) \
                   ON CONFLICT (connection, stream) DO UPDATE SET cursor = excluded.cursor";
        calls.push(Call::any(
            sql,
            vec![&self.connection, &self.stream, &self.cursor],
        ));
    }
}
