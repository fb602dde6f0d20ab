//! Connections: plain columns for what the database itself looks at, one text for the rest.

use serde::{Deserialize, Serialize};
use wellspring_core::connection::{
    Access, BeforeRepair, Config, Connection, LastOutcome, State, Wakeup,
};
use wellspring_core::{
    AccountId, ConnectionId, Lane, OpenAlert, Stored, TenantId, Timestamp, TraceParent,
};
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
    #[serde(rename = "al", skip_serializing_if = "<[OpenAlert]>::is_empty")]
    alerts: &'a [OpenAlert],
    #[serde(rename = "tp", skip_serializing_if = "Option::is_none")]
    asked_in: Option<TraceParent>,
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
    #[serde(default, rename = "al")]
    alerts: Vec<OpenAlert>,
    #[serde(default, rename = "tp")]
    asked_in: Option<TraceParent>,
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
        alerts,
        asked_in,
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
        alerts,
        asked_in: *asked_in,
    })
}

/// Rebuilds a connection from its columns.
pub(crate) fn connection(
    (id, account, tenant): (ConnectionId, AccountId, TenantId),
    source: &str,
    version: u32,
    body: &str,
) -> Result<Connection, StoreError> {
    let broken = |column| inconsistent("connections", column, &id);
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
        alerts: body.alerts,
        asked_in: body.asked_in,
    })
}

/// Returns what the scan at start tells of a connection.
pub(crate) const fn live_connection(
    (id, tenant): (ConnectionId, TenantId),
    due: i64,
    lane: i64,
    awaited: bool,
) -> Live {
    let due = Timestamp::from_millis(due);
    Live {
        id: Aggregate::Connection(id),
        due,
        since: due,
        lane: Lane(lane.cast_unsigned()),
        tenant,
        awaited,
    }
}

/// Returns what the scan at start tells of an account that is being erased since `at`.
pub(crate) const fn live_account(id: AccountId, tenant: TenantId, at: i64) -> Live {
    let due = Timestamp::from_millis(at);
    Live {
        id: Aggregate::Account(id),
        due,
        since: due,
        lane: Lane::ALARM,
        tenant,
        awaited: false,
    }
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[cfg(test)]
mod tests {
    use wellspring_core::connection::{Fetch, Next, Trigger};
    use wellspring_core::schedule::Schedule;
    use wellspring_core::{
        AlertKind, ConnectionState, Error, ErrorClass, FetchId, InteractionId, OnQuestionExpired,
        OutcomeKind, Reason,
    };

    use super::*;

    const TRACED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// The scans of both databases look for this in the text.
    const PRESENT: &str = "\"present\":true";

    #[test]
    fn every_state_reads_back_from_a_row_that_fits_a_page() {
        let at = Timestamp::from_millis;
        let fetch = Fetch {
            id: FetchId::from_bytes([4; 16]),
            trigger: Trigger::Schedule,
            started_at: at(1_790_000_000_001),
            present: true,
            running: true,
            attempts: 7,
            failures: vec![(ErrorClass::ConnectionFailure, 3)],
            documents: 12,
            records: 345,
        };
        let due = at(1_790_000_000_123);
        let next = Next {
            at: due,
            reason: Reason::Maintenance,
        };
        let states = [
            State::Created { due },
            State::Waiting { next: None },
            State::Waiting { next: Some(next) },
            State::Retrying { due },
            State::Manual { since: due },
            State::Connecting {
                fetch: fetch.clone(),
                due,
            },
            State::Uploading {
                fetch: Fetch {
                    present: false,
                    ..fetch.clone()
                },
                due,
            },
            State::Question {
                fetch: fetch.clone(),
                interaction: InteractionId::from_bytes([5; 16]),
                credentials: true,
                expires_at: None,
            },
            State::Question {
                fetch: fetch.clone(),
                interaction: InteractionId::from_bytes([5; 16]),
                credentials: false,
                expires_at: Some(due),
            },
            State::Answered { fetch, since: due },
            State::Error,
            State::Disabled,
        ];
        let outcome = LastOutcome {
            kind: OutcomeKind::Failed(ErrorClass::AuthenticationError),
            at: due,
            error: Some(Error {
                class: ErrorClass::AuthenticationError,
                code: "http_401".to_owned(),
                message: "the source answered 401".to_owned(),
            }),
        };
        let mut seen = std::collections::BTreeSet::new();
        for state in states {
            for repair in [false, true] {
                let repair = repair.then(|| BeforeRepair {
                    state: State::Waiting { next: Some(next) },
                    access: Access::ReauthRequired,
                    outcome: Some(outcome.clone()),
                    retries: 4,
                });
                let full = Connection {
                    id: ConnectionId::from_bytes([1; 16]),
                    account: AccountId::from_bytes([2; 16]),
                    tenant: TenantId::from_bytes([3; 16]),
                    source: "gas".parse().unwrap(),
                    created_at: at(1_789_999_999_999),
                    version: 41,
                    config: Config {
                        label: Some("At home".to_owned()),
                        schedule: Schedule::Every(std::time::Duration::from_secs(86_400)),
                        slow_plan: None,
                        on_question_expired: OnQuestionExpired::FallBack,
                        start_date: Some("2026-01-31".to_owned()),
                        paused: true,
                    },
                    state: state.clone(),
                    access: Access::Expiring,
                    outcome: repair.is_none().then(|| outcome.clone()),
                    retries: if repair.is_some() { 3 } else { 0 },
                    waits: if repair.is_some() { 0 } else { 2 },
                    last_success_at: repair.is_some().then_some(due),
                    repair: repair.map(Box::new),
                    alerts: vec![OpenAlert {
                        kind: AlertKind::Deauthorised,
                        version: 41,
                        opened_at: due,
                        acknowledged: true,
                    }],
                    asked_in: TraceParent::parse(TRACED),
                };
                let row = ConnectionRow::of(&full).unwrap();
                // SQLite keeps a row of up to about a thousand bytes in its page, and gives a
                // longer one a page of its own.
                assert!(row.body.len() < 960, "{}: {}", row.body.len(), row.body);
                assert_eq!(ConnectionState::from_code(row.state), Some(full.state()));
                let awaited = match row.state {
                    1 | 5 | 9 => true,
                    3 | 6 => row.body.contains(PRESENT),
                    _ => false,
                };
                assert_eq!(
                    awaited,
                    full.is_awaited(),
                    "as the scans see it: {}",
                    row.body
                );
                seen.insert(row.state);
                let live = row.due.zip(row.lane).map(|(due, lane)| {
                    let live = live_connection((full.id, full.tenant), due, lane, false);
                    (live.due, live.lane)
                });
                let wakeup = full.next_wakeup().map(|wakeup| match wakeup {
                    Wakeup::Call(due, lane) => (due, lane),
                    Wakeup::Alarm(due) => (due, Lane::ALARM),
                });
                assert_eq!(live, wakeup);
                let ids = (full.id, full.account, full.tenant);
                let back = connection(ids, "gas", row.version, &row.body);
                assert_eq!(back, Ok(full));
            }
        }
        assert_eq!(
            seen.len(),
            ConnectionState::ALL.len() - 1,
            "completed never stays"
        );
        let ids = (
            ConnectionId::from_bytes([1; 16]),
            AccountId::from_bytes([2; 16]),
            TenantId::from_bytes([3; 16]),
        );
        for broken in ["", "{}", "{\"at\":1,\"more\":2}"] {
            let back = connection(ids, "gas", 1, broken);
            assert!(matches!(back, Err(StoreError::Inconsistent { .. })));
        }
    }
}
