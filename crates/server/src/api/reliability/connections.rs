//! `GET /api/reliability/connections/health` and `…/{connection}/health`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::connection::ConnectionState;
use wellspring_core::health::{Health, HealthReport};
use wellspring_core::{AccountId, Connection, ConnectionId, Reason, TenantId};
use wellspring_engine::{FetchScope, StoreError};

use super::Asked;
use crate::Caller;
use crate::api::health::{Judge, ReasonBody};
use crate::api::statistics;
use crate::body::json;
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

/// How the connections of an account fare.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionsHealth {
    success: bool,
    /// Those that were asked for, newest first.
    connections: Vec<ConnectionHealth>,
    /// All connections of the account, whatever was asked for.
    total_connections: u64,
    /// Those in `active`.
    healthy_connections: u64,
    /// Those in `degraded`.
    degraded_connections: u64,
    /// Those in `error`, `reauth_required` included.
    error_connections: u64,
    /// Those in `maintenance`.
    maintenance_connections: u64,
    /// Those in `disabled`.
    disabled_connections: u64,
}

/// How one connection fares.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OneHealth {
    success: bool,
    #[serde(flatten)]
    health: ConnectionHealth,
}

/// How a connection fares.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionHealth {
    connection_id: String,
    account_id: String,
    /// The name of the source.
    institution_name: String,
    /// What the person calls the connection.
    label: Option<String>,
    /// `active`, `degraded`, `maintenance`, `error`, `reauth_required` or `disabled`.
    status: &'static str,
    /// Why, the worst first; empty where all is well.
    reasons: Vec<ReasonBody>,
    last_successful_sync: Option<String>,
    /// What the last fetch met, until one brings all.
    last_error: Option<LastError>,
    /// Fetches that failed in the last 30 days.
    sync_failure_count: u64,
    /// Fetches that failed in a row, up to now.
    consecutive_failures: u8,
    maintenance_mode: bool,
    maintenance_until: Option<String>,
    requires_reauth: bool,
    /// Retries that were spent since the last success.
    retry_attempts: u8,
    /// When a fetch that failed or had to wait is repeated.
    next_retry: Option<String>,
    /// When the next fetch comes, for whichever reason.
    next_sync: Option<String>,
}

/// What a fetch met.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LastError {
    error_type: &'static str,
    error_code: String,
    error_message: String,
    at: String,
}

/// Tells how the connections of an account fare.
#[utoipa::path(
    get, path = "/api/reliability/connections/health", tag = "reliability", operation_id = "connectionsHealth",
    params(
        ("account" = Option<String>, Query, description = "With an API key: whose connections"),
        ("status" = Option<String>, Query, description = "Only those that fare so"),
        ("limit" = Option<u32>, Query, description = "Show so many, 1 to 200; all are counted"),
    ),
    responses(
        (status = 200, description = "How they fare", body = ConnectionsHealth),
        (status = 404, description = "There is no such account"),
        (status = 422, description = "A parameter is wrong"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let mut asked = Asked::read(request.uri(), &["status", "limit"]);
    let limit = asked.parameters.limit(MOST, MOST);
    let only = status(&mut asked);
    let account = asked.account(&app, &caller).await?;
    let judged = judged(&app, caller.tenant, account).await?;
    let count = |of: &[Health]| {
        let found = judged
            .iter()
            .filter(|(_, report)| of.contains(&report.health));
        u64::try_from(found.count()).unwrap_or(u64::MAX)
    };
    let mut body = ConnectionsHealth {
        success: true,
        connections: Vec::new(),
        total_connections: count(&Health::ALL),
        healthy_connections: count(&[Health::Active]),
        degraded_connections: count(&[Health::Degraded]),
        error_connections: count(&[Health::Error, Health::ReauthRequired]),
        maintenance_connections: count(&[Health::Maintenance]),
        disabled_connections: count(&[Health::Disabled]),
    };
    let shown = judged
        .iter()
        .filter(|(_, report)| only.is_none_or(|only| report.health == only));
    for (connection, report) in shown.take(limit) {
        body.connections
            .push(health(&app, connection, report).await?);
    }
    json(StatusCode::OK, &body)
}

/// Tells how a connection fares.
#[utoipa::path(
    get, path = "/api/reliability/connections/{connection}/health", tag = "reliability", operation_id = "connectionHealth",
    params(
        ("connection" = String, Path, description = "The connection's id"),
        ("account" = Option<String>, Query, description = "With an API key: whose connection it must be"),
    ),
    responses(
        (status = 200, description = "How it fares", body = OneHealth),
        (status = 404, description = "There is no such connection"),
        (status = 422, description = "A parameter is wrong"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let asked = Asked::read(&parts.uri, &[]);
    let connection = asked.connection(&app, &caller, &place).await?;
    let report = Judge::new(&app).report(&connection);
    let body = OneHealth {
        success: true,
        health: health(&app, &connection, &report).await?,
    };
    json(StatusCode::OK, &body)
}

fn status(asked: &mut Asked) -> Option<Health> {
    let text = asked.parameters.value("status")?;
    let found = Health::ALL.into_iter().find(|one| one.as_str() == text);
    if found.is_none() {
        let names: Vec<&str> = Health::ALL.into_iter().map(Health::as_str).collect();
        let detail = format!("is one of {}", names.join(", "));
        asked.parameters.fault("status", detail);
    }
    found
}

/// Returns all connections of an account with how they fare, newest first.
pub(super) async fn judged(
    app: &App,
    tenant: TenantId,
    account: AccountId,
) -> Result<Vec<(Connection, HealthReport)>, StoreError> {
    let judge = Judge::new(app);
    let mut judged = Vec::new();
    let mut before: Option<ConnectionId> = None;
    loop {
        let page = within(app.backend.connections(tenant, account, before, MOST)).await?;
        let is_last = page.len() < MOST;
        before = page.last().map(|connection| connection.id);
        judged.extend(page.into_iter().map(|connection| {
            let report = judge.report(&connection);
            (connection, report)
        }));
        if is_last {
            return Ok(judged);
        }
    }
}

async fn health(
    app: &App,
    connection: &Connection,
    report: &HealthReport,
) -> Result<ConnectionHealth, StoreError> {
    let scope = FetchScope::Connection(connection.id);
    let period = (PERIOD, app.clock.now());
    let statistics = statistics::read(app, connection.tenant, scope, period).await?;
    let next = connection.next();
    let retry = next.filter(|next| match next.reason {
        Reason::Retry | Reason::RateLimit | Reason::Maintenance => true,
        Reason::Schedule | Reason::User => false,
    });
    let outcome = connection.outcome.as_ref();
    let last_error = outcome.and_then(|outcome| {
        let error = outcome.error.as_ref()?;
        Some(LastError {
            error_type: error.class.as_str(),
            error_code: error.code.clone(),
            error_message: error.message.clone(),
            at: outcome.at.to_string(),
        })
    });
    Ok(ConnectionHealth {
        connection_id: connection.id.to_string(),
        account_id: connection.account.to_string(),
        institution_name: connection.source.to_string(),
        label: connection.config.label.clone(),
        status: report.health.as_str(),
        reasons: ReasonBody::all(report),
        last_successful_sync: connection.last_success_at.map(|at| at.to_string()),
        last_error,
        sync_failure_count: statistics.all.failed,
        consecutive_failures: failures(connection),
        maintenance_mode: report.in_maintenance(),
        maintenance_until: report.maintenance_until.map(|at| at.to_string()),
        requires_reauth: requires_reauth(connection),
        retry_attempts: connection.retries,
        next_retry: retry.map(|next| next.at.to_string()),
        next_sync: next.map(|next| next.at.to_string()),
    })
}

/// The first failure of a row spends no retry where the plan has ended with it.
fn failures(connection: &Connection) -> u8 {
    let ended = connection.state() == ConnectionState::Error;
    connection.retries.saturating_add(u8::from(ended))
}

/// Returns whether only the person can mend the access.
pub(super) fn requires_reauth(connection: &Connection) -> bool {
    use wellspring_core::Access;
    match connection.access {
        Access::ReauthRequired | Access::Revoked => true,
        Access::Unverified | Access::Pending | Access::Valid | Access::Expiring => false,
    }
}

/// How many are shown at most, and read at once.
const MOST: usize = 200;
/// Over how many days failures are counted.
const PERIOD: u32 = 30;
