//! What becomes of alerts.

use std::borrow::Cow;

use uuid::Uuid;
use wellspring_core::{Alert, AlertWrite, Stored, Timestamp};

use super::Call;
use crate::postgres::columns::text;
use crate::postgres::session::Param;

/// Alerts of different aggregates.
#[derive(Default)]
pub(super) struct Alerts<'a> {
    opened: Opened<'a>,
    changed: Changed,
}

#[derive(Default)]
struct Opened<'a> {
    id: Vec<Uuid>,
    tenant: Vec<Uuid>,
    account: Vec<Option<Uuid>>,
    connection: Vec<Option<Uuid>>,
    at: Vec<i64>,
    kind: Vec<i16>,
    source: Vec<&'a str>,
    code: Vec<Option<Cow<'a, str>>>,
}

#[derive(Default)]
struct Changed {
    id: Vec<Uuid>,
    again_at: Vec<Option<i64>>,
    acknowledged_at: Vec<Option<i64>>,
    closed_at: Vec<Option<i64>>,
}

impl<'a> Alerts<'a> {
    pub(super) fn push(&mut self, writes: &'a [AlertWrite]) {
        for write in writes {
            match write {
                AlertWrite::Open(alert) => self.opened.push(alert),
                AlertWrite::Again(id, at) => self.changed.push(id.uuid(), [Some(*at), None, None]),
                AlertWrite::Acknowledge(id, at) => {
                    self.changed.push(id.uuid(), [None, Some(*at), None]);
                }
                AlertWrite::Close(id, at) => self.changed.push(id.uuid(), [None, None, Some(*at)]),
            }
        }
    }

    /// Adds the statements; those without rows are left out.
    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        let (opened, changed) = (&self.opened, &self.changed);
        if !opened.id.is_empty() {
            let params: Vec<Param<'_>> = vec![
                &opened.id,
                &opened.tenant,
                &opened.account,
                &opened.connection,
                &opened.at,
                &opened.kind,
                &opened.source,
                &opened.code,
            ];
            let sql = "INSERT INTO alerts (id, tenant, account, connection, opened_at, last_at, \
                       count, kind, source, code) \
                       SELECT id, tenant, account, connection, at, at, 1, kind, source, code \
                       FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::int8[], \
                       $6::int2[], $7::text[], $8::text[]) \
                       AS u (id, tenant, account, connection, at, kind, source, code)";
            calls.push(Call::any(sql, params));
        }
        if !changed.id.is_empty() {
            let params: Vec<Param<'_>> = vec![
                &changed.id,
                &changed.again_at,
                &changed.acknowledged_at,
                &changed.closed_at,
            ];
            let sql = "UPDATE alerts a SET \
                       count = a.count + CASE WHEN u.again_at IS NULL THEN 0 ELSE 1 END, \
                       last_at = coalesce(u.again_at, a.last_at), \
                       acknowledged_at = coalesce(u.acknowledged_at, a.acknowledged_at), \
                       closed_at = coalesce(u.closed_at, a.closed_at) \
                       FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[]) \
                       AS u (id, again_at, acknowledged_at, closed_at) WHERE a.id = u.id";
            calls.push(Call::any(sql, params));
        }
    }
}

impl<'a> Opened<'a> {
    fn push(&mut self, alert: &'a Alert) {
        let (account, connection) = alert.connection.unzip();
        self.id.push(alert.id.uuid());
        self.tenant.push(alert.tenant.uuid());
        self.account.push(account.map(|id| id.uuid()));
        self.connection.push(connection.map(|id| id.uuid()));
        self.at.push(alert.opened_at.as_millis());
        self.kind.push(alert.kind.code().into());
        self.source.push(alert.source.as_str());
        self.code.push(alert.code.as_deref().map(text));
    }
}

impl Changed {
    fn push(&mut self, id: Uuid, at: [Option<Timestamp>; 3]) {
        let [again_at, acknowledged_at, closed_at] = at.map(|at| at.map(Timestamp::as_millis));
        self.id.push(id);
        self.again_at.push(again_at);
        self.acknowledged_at.push(acknowledged_at);
        self.closed_at.push(closed_at);
    }
}
