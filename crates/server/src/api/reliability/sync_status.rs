//! `GET /api/reliability/connections/{connection}/sync-status`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::connection::FetchRecord;
use wellspring_core::reliability::Sums;
use wellspring_core::{Connection, ErrorClass, Timestamp};
use wellspring_engine::{FetchScope, StoreError};

use super::Asked;
use super::connections::requires_reauth;
use crate::Caller;
use crate::api::health::{Judge, ReasonBody};
use crate::api::statistics::{self, Period, number};
use crate::body::json;
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

/// How the fetches of a connection went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SyncStatus {
    success: bool,
    connection_id: String,
    /// The name of the source.
    institution_name: String,
    /// How the connection fares.
    status: &'static str,
    /// Why, the worst first; empty where all is well.
    reasons: Vec<ReasonBody>,
    /// When a fetch last brought all.
    last_sync_at: Option<String>,
    /// When the last fetch ended, however it did.
    last_attempt_at: Option<String>,
    /// When the next fetch comes.
    next_sync: Option<String>,
    /// The last fetches, newest first.
    sync_logs: Vec<SyncLog>,
    reliability_stats: ReliabilityStats,
    requires_reauth: bool,
    maintenance_mode: bool,
    maintenance_until: Option<String>,
}

/// One fetch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SyncLog {
    id: String,
    /// What began it: `created`, `schedule`, `retry`, `wait` or `user`.
    sync_type: &'static str,
    /// `running`, `retrying`, `success`, `partial`, `failed`, `rate_limited`, `maintenance` or `cancelled`.
    status: &'static str,
    started_at: String,
    completed_at: Option<String>,
    /// How long it took, in seconds.
    duration: Option<f64>,
    /// Attempts that ended.
    attempts: u16,
    records_processed: u32,
    documents_processed: u32,
    error_type: Option<&'static str>,
    error_code: Option<String>,
    error_message: Option<String>,
    /// When the source allows the next call, where it throttled this one.
    retry_after: Option<String>,
    /// When the connection is tried again.
    next_attempt_at: Option<String>,
}

/// What fetches add up to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReliabilityStats {
    /// Fetches that ended, whichever way.
    total_syncs: u64,
    successful_syncs: u64,
    failed_syncs: u64,
    partial_syncs: u64,
    /// Successful, partial and failed ones: what was throttled, kept out by maintenance or ended
    /// by somebody is not counted.
    counted_syncs: u64,
    /// How many of a hundred that count were successful; nothing where none counts.
    success_rate: Option<f64>,
    /// In seconds, of those that count.
    average_duration: Option<f64>,
    period_days: u32,
    period: Period,
}

/// Tells how the fetches of a connection went.
#[utoipa::path(
    get, path = "/api/reliability/connections/{connection}/sync-status", tag = "reliability", operation_id = "syncStatus",
    params(
        ("connection" = String, Path, description = "The connection's id"),
        ("account" = Option<String>, Query, description = "With an API key: whose connection it must be"),
        ("limit" = Option<u32>, Query, description = "So many fetches, 1 to 100; 10 unless told"),
        ("days" = Option<u32>, Query, description = "Statistics over so many days, 1 to 730; 30 unless told"),
    ),
    responses(
        (status = 200, description = "How they went", body = SyncStatus),
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
    let mut asked = Asked::read(&parts.uri, &["limit", "days"]);
    let limit = asked.parameters.limit(10, MOST);
    let days = statistics::days(&mut asked.parameters);
    let connection = asked.connection(&app, &caller, &place).await?;
    let report = Judge::new(&app).report(&connection);
    let period = (days, app.clock.now());
    let scope = FetchScope::Connection(connection.id);
    let statistics = statistics::read(&app, connection.tenant, scope, period).await?;
    let next = connection.next();
    let outcome = connection.outcome.as_ref();
    let body = SyncStatus {
        success: true,
        connection_id: connection.id.to_string(),
        institution_name: connection.source.to_string(),
        status: report.health.as_str(),
        reasons: ReasonBody::all(&report),
        last_sync_at: connection.last_success_at.map(|at| at.to_string()),
        last_attempt_at: outcome.map(|outcome| outcome.at.to_string()),
        next_sync: next.map(|next| next.at.to_string()),
        sync_logs: logs(&app, &connection, limit).await?,
        reliability_stats: ReliabilityStats::new(&statistics.all, period),
        requires_reauth: requires_reauth(&connection),
        maintenance_mode: report.in_maintenance(),
        maintenance_until: report.maintenance_until.map(|at| at.to_string()),
    };
    json(StatusCode::OK, &body)
}

/// Returns the last fetches of a connection, newest first.
pub(super) async fn logs(
    app: &App,
    connection: &Connection,
    limit: usize,
) -> Result<Vec<SyncLog>, StoreError> {
    let fetches = within(app.backend.fetches(connection.id, None, limit)).await?;
    Ok(fetches.into_iter().map(SyncLog::new).collect())
}

impl SyncLog {
    fn new(fetch: FetchRecord) -> Self {
        let took = fetch.ended_at.map(|at| at.since(fetch.started_at));
        let next = fetch.next_attempt_at.map(|at| at.to_string());
        let error = fetch.error;
        let throttled = error
            .as_ref()
            .is_some_and(|error| error.class == ErrorClass::RateLimitExceeded);
        Self {
            id: fetch.id.to_string(),
            sync_type: fetch.trigger.as_str(),
            status: fetch.status.as_str(),
            started_at: fetch.started_at.to_string(),
            completed_at: fetch.ended_at.map(|at| at.to_string()),
            duration: took.map(|took| took.as_secs_f64()),
            attempts: fetch.attempts,
            records_processed: fetch.records,
            documents_processed: fetch.documents,
            error_type: error.as_ref().map(|error| error.class.as_str()),
            error_code: error.as_ref().map(|error| error.code.clone()),
            error_message: error.map(|error| error.message),
            retry_after: next.clone().filter(|_| throttled),
            next_attempt_at: next,
        }
    }
}

impl ReliabilityStats {
    pub(super) fn new(sums: &Sums, (days, now): (u32, Timestamp)) -> Self {
        Self {
            total_syncs: sums.total(),
            successful_syncs: sums.success,
            failed_syncs: sums.failed,
            partial_syncs: sums.partial,
            counted_syncs: sums.counted(),
            success_rate: number(sums.success_rate()),
            average_duration: seconds(sums.average_ms()),
            period_days: days,
            period: Period::new(days, now),
        }
    }
}

fn seconds(millis: Option<u64>) -> Option<f64> {
    // Whole and fraction apart would end in `…0003`.
    millis.map(|millis| millis as f64 / 1_000.0)
}

/// How many fetches are shown at most.
pub(super) const MOST: usize = 100;
