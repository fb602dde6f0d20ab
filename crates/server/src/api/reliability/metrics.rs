//! `GET /api/reliability/metrics/overview` and `…/metrics/connections/{connection}`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::health::Health;
use wellspring_core::reliability::{percentage, score};
use wellspring_engine::FetchScope;

use super::Asked;
use super::connections::judged;
use super::sync_status::{MOST, ReliabilityStats, SyncLog, logs};
use crate::Caller;
use crate::api::health::{Judge, ReasonBody};
use crate::api::statistics::{self, DayBody, number};
use crate::body::json;
use crate::path::Place;
use crate::problem::Problem;
use crate::router::App;

/// How reliable the connections of an account are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Overview {
    success: bool,
    connections: ConnectionsMetrics,
    sync: ReliabilityStats,
    /// `100 × (0.6 × healthy/total + 0.4 × successful/counted)`; nothing while there is no
    /// connection or no fetch that counts.
    reliability_score: Option<f64>,
}

/// How many connections fare how.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionsMetrics {
    total: u64,
    /// Those in `active`.
    active: u64,
    /// Those in `degraded`.
    degraded: u64,
    /// Those in `error`.
    with_errors: u64,
    /// Those in `maintenance`.
    in_maintenance: u64,
    /// Those in `reauth_required`.
    require_reauth: u64,
    /// Those in `disabled`.
    disabled: u64,
    /// Those that the score takes for healthy: `active` and `maintenance`.
    healthy: u64,
    /// How many of a hundred are healthy; nothing where there is none.
    health_rate: Option<f64>,
}

/// How reliable a connection is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionMetrics {
    success: bool,
    connection_id: String,
    /// The name of the source.
    institution_name: String,
    /// How it fares.
    status: &'static str,
    /// Why, the worst first; empty where all is well.
    reasons: Vec<ReasonBody>,
    reliability_stats: ReliabilityStats,
    /// As `reliability_stats`, over the last seven days.
    last_7_days: ReliabilityStats,
    /// Each day, in UTC, on which any fetch ended, oldest first.
    by_day: Vec<DayBody>,
    /// The last fetches, newest first.
    trend: Vec<SyncLog>,
}

/// Tells how reliable the connections of an account are.
#[utoipa::path(
    get, path = "/api/reliability/metrics/overview", tag = "reliability", operation_id = "reliabilityOverview",
    params(
        ("account" = Option<String>, Query, description = "With an API key: whose connections"),
        ("days" = Option<u32>, Query, description = "Over so many days, 1 to 730; 30 unless told"),
    ),
    responses(
        (status = 200, description = "The metrics", body = Overview),
        (status = 404, description = "There is no such account"),
        (status = 422, description = "A parameter is wrong"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn overview(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let mut asked = Asked::read(request.uri(), &["days"]);
    let days = statistics::days(&mut asked.parameters);
    let account = asked.account(&app, &caller).await?;
    let judged = judged(&app, caller.tenant, account).await?;
    let count = |of: &dyn Fn(Health) -> bool| {
        let found = judged.iter().filter(|(_, report)| of(report.health));
        u64::try_from(found.count()).unwrap_or(u64::MAX)
    };
    let one = |wanted: Health| count(&|health| health == wanted);
    let total = count(&|_| true);
    let healthy = count(&Health::is_healthy);
    let period = (days, app.clock.now());
    let scope = FetchScope::Account(account);
    let sums = statistics::read(&app, caller.tenant, scope, period)
        .await?
        .all;
    let body = Overview {
        success: true,
        connections: ConnectionsMetrics {
            total,
            active: one(Health::Active),
            degraded: one(Health::Degraded),
            with_errors: one(Health::Error),
            in_maintenance: one(Health::Maintenance),
            require_reauth: one(Health::ReauthRequired),
            disabled: one(Health::Disabled),
            healthy,
            health_rate: number(percentage(healthy, total)),
        },
        sync: ReliabilityStats::new(&sums, period),
        reliability_score: number(score((healthy, total), (sums.success, sums.counted()))),
    };
    json(StatusCode::OK, &body)
}

/// Tells how reliable a connection is.
#[utoipa::path(
    get, path = "/api/reliability/metrics/connections/{connection}", tag = "reliability", operation_id = "connectionMetrics",
    params(
        ("connection" = String, Path, description = "The connection's id"),
        ("account" = Option<String>, Query, description = "With an API key: whose connection it must be"),
        ("days" = Option<u32>, Query, description = "Over so many days, 1 to 730; 30 unless told"),
        ("limit" = Option<u32>, Query, description = "So many fetches in the trend, 1 to 100; 30 unless told"),
    ),
    responses(
        (status = 200, description = "The metrics", body = ConnectionMetrics),
        (status = 404, description = "There is no such connection"),
        (status = 422, description = "A parameter is wrong"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn of_connection(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let mut asked = Asked::read(&parts.uri, &["days", "limit"]);
    let limit = asked.parameters.limit(30, MOST);
    let days = statistics::days(&mut asked.parameters);
    let connection = asked.connection(&app, &caller, &place).await?;
    let report = Judge::new(&app).report(&connection);
    let now = app.clock.now();
    let read = |days| {
        let scope = FetchScope::Connection(connection.id);
        statistics::read(&app, connection.tenant, scope, (days, now))
    };
    let (statistics, week) = (read(days).await?, read(WEEK).await?);
    let body = ConnectionMetrics {
        success: true,
        connection_id: connection.id.to_string(),
        institution_name: connection.source.to_string(),
        status: report.health.as_str(),
        reasons: ReasonBody::all(&report),
        reliability_stats: ReliabilityStats::new(&statistics.all, (days, now)),
        last_7_days: ReliabilityStats::new(&week.all, (WEEK, now)),
        by_day: DayBody::all(&statistics.days),
        trend: logs(&app, &connection, limit).await?,
    };
    json(StatusCode::OK, &body)
}

const WEEK: u32 = 7;
