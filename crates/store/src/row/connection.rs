//! Connections: plain columns for what the database itself looks at, one text for the rest.

use serde::{Deserialize, Serialize};
use wellspring_core::connection::{
    Access, BeforeRepair, Config, Connection, LastOutcome, State, Wakeup,
};
use wellspring_core::{AccountId, ConnectionId, Lane, Stored, TenantId, Timestamp};
use wellspring_engine::{Aggregate, Live, StoreError};

use super::{inconsistent, text};

/// The columns of a connection that change with its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionRow {
    pub(crate) version: u32,
    /// When it goes on by itself, and in which lane; nothing where only a person makes it go on.
    pub(crate) due: Option<i64>,
    pub(crate) lane: Option<i64>,
    /// As the API calls it.
    pub(crate) state: u8,
    pub(crate) body: String,
}

impl ConnectionRow {
    pub(crate) fn of(connection: &Connection) -> Result<Self, serde_json::Error> {
        let wakeup = connection.next_wakeup().map(|wakeup| match wakeup {
            Wakeup::Call(due, lane) => (due.as_millis(), lane.0.cast_signed()),
            Wakeup::Alarm(due) => (due.as_millis(), Lane::ALARM.0.cast_signed()),
        });
        let (due, lane) = wakeup.unzip();
        Ok(Self {
            version: connection.version,
            due,
            lane,
            state: connection.state().code(),
            body: body(connection)?,
        })
    }
}

/// What of a connection is not in a column of its own.
#[derive(Serialize)]
struct BodyRef<'a> {
    #[serde(rename = "at")]
    created_at: i64,
    config: &'a Config,
    state: &'a State,
    access: Access,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a LastOutcome>,
    #[serde(skip_serializing_if = "is_zero")]
    retries: u8,
    #[serde(skip_serializing_if = "is_zero")]
    waits: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<&'a BeforeRepair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(rename = "at")]
    created_at: i64,
    config: Config,
    state: State,
    access: Access,
    #[serde(default)]
    outcome: Option<LastOutcome>,
    #[serde(default)]
    retries: u8,
    #[serde(default)]
    waits: u16,
    #[serde(default)]
    success: Option<i64>,
    #[serde(default)]
    repair: Option<Box<BeforeRepair>>,
}

fn body(connection: &Connection) -> Result<String, serde_json::Error> {
    let Connection {
        id: _,
        account: _,
        tenant: _,
        source: _,
        version: _,
        created_at,
        config,
        state,
        access,
        outcome,
        retries,
        waits,
        last_success_at,
        repair,
    } = connection;
    text(&BodyRef {
        created_at: created_at.as_millis(),
        config,
        state,
        access: *access,
        outcome: outcome.as_ref(),
        retries: *retries,
        waits: *waits,
        success: last_success_at.map(Timestamp::as_millis),
        repair: repair.as_deref(),
    })
}

/// Rebuilds a connection from its columns.
pub(crate) fn connection(
    (id, account, tenant): (ConnectionId, AccountId, TenantId),
    source: &str,
    version: u32,
    body: &str,
) -> Result<Connection, StoreError> {
    let broken = |column| inconsistent("connections", column, id);
    let body: Body = serde_json::from_str(body).map_err(|_error| broken("body"))?;
    Ok(Connection {
        id,
        account,
        tenant,
        source: source.parse().map_err(|_error| broken("source"))?,
        created_at: Timestamp::from_millis(body.created_at),
        version,
        config: body.config,
        state: body.state,
        access: body.access,
        outcome: body.outcome,
        retries: body.retries,
        waits: body.waits,
        last_success_at: body.success.map(Timestamp::from_millis),
        repair: body.repair,
    })
}

/// Returns what the scan at start tells of a connection.
pub(crate) const fn live_connection(id: ConnectionId, due: i64, lane: i64) -> Live {
    let due = Timestamp::from_millis(due);
    Live {
        id: Aggregate::Connection(id),
        due,
        since: due,
        lane: Lane(lane.cast_unsigned()),
    }
}

/// Returns what the scan at start tells of an account that is being erased since `at`.
pub(crate) const fn live_account(id: AccountId, at: i64) -> Live {
    let due = Timestamp::from_millis(at);
    Live {
        id: Aggregate::Account(id),
        due,
        since: due,
        lane: Lane::ALARM,
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}
