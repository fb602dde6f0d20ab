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
    place: BTreeMap<(Uuid, &'a str, &'a str), usize>,
    connection: Vec<Uuid>,
    stream: Vec<Cow<'a, str>>,
    key: Vec<Cow<'a, str>>,
    hash: Vec<&'a [u8]>,
    body: Vec<&'a [u8]>,
}

/// Where streams go on.
#[derive(Default)]
pub(super) struct Cursors<'a> {
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
