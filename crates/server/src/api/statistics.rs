//! Statistics of fetches: of one connection, and of all connections to a source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::reliability::{Day, FetchStatistics, Hundredths, Sums};
use wellspring_core::{SourceName, TenantId, Timestamp};
use wellspring_engine::{FetchScope, StoreError};

use super::connections;
use super::sources::is_shown;
use crate::Caller;
use crate::body::json;
use crate::path::Place;
use crate::problem::Problem;
use crate::query::Parameters;
use crate::router::{App, within};

/// What fetches of some days say together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatisticsBody {
    /// Which days these are.
    period: Period,
    #[serde(flatten)]
    all: SumsBody,
    /// Within how many milliseconds half of the fetches that count ended, at most an eighth too many.
    p50_duration_ms: Option<u64>,
    /// Within how many nine of ten did.
    p90_duration_ms: Option<u64>,
    /// Within how many 99 of a hundred did.
    p99_duration_ms: Option<u64>,
    /// Each day, in UTC, on which any fetch ended, oldest first.
    by_day: Vec<DayBody>,
}

/// Which days statistics cover.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Period {
    /// How many days were asked for.
    pub(crate) days: u32,
    /// From when on fetches that ended are in: the beginning of a day, in UTC.
    pub(crate) from: String,
    /// Up to when.
    pub(crate) to: String,
}

/// What fetches add up to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SumsBody {
    /// Fetches that ended, whichever way.
    total: u64,
    /// Those that speak for or against the source: success, partial and failed.
    counted: u64,
    /// How many ended in which way.
    by_status: ByStatus,
    /// How many of a hundred that count brought all; nothing where none counts.
    success_rate: Option<f64>,
    /// How long those that count took on average, waits in between included.
    average_duration_ms: Option<u64>,
    /// Attempts that were made.
    attempts: u64,
    /// Records that came in.
    records: u64,
    /// Documents that came in.
    documents: u64,
}

/// How many fetches ended in which way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ByStatus {
    success: u64,
    partial: u64,
    failed: u64,
    rate_limited: u64,
    maintenance: u64,
    cancelled: u64,
}

/// One day.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DayBody {
    /// Which, `YYYY-MM-DD`.
    date: String,
    #[serde(flatten)]
    sums: SumsBody,
}

/// Adds the fetches of a connection up.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/connections/{connection}/statistics", tag = "connections", operation_id = "connectionStatistics",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("days" = Option<u32>, Query, description = "So many days and today; 30 unless told. They are kept for two years"),
    ),
    responses(
        (status = 200, description = "The statistics", body = StatisticsBody),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "There is no such connection"),
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
    let connection = connections::find(&app, &caller, &place).await?;
    let scope = FetchScope::Connection(connection.id);
    answer(&app, connection.tenant, scope, &parts.uri).await
}

/// Adds the fetches of all connections to a source up, those that are gone included.
#[utoipa::path(
    get, path = "/v1/sources/{source}/statistics", tag = "sources", operation_id = "sourceStatistics",
    params(
        ("source" = String, Path, description = "The source's name"),
        ("days" = Option<u32>, Query, description = "So many days and today; 30 unless told. They are kept for two years"),
    ),
    responses(
        (status = 200, description = "The statistics", body = StatisticsBody),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "There is no such source"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn of_source(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let name: SourceName = Place::of(&mut parts).await.id(0)?;
    let source = app.intake.source(&name);
    let source = source.filter(|_| is_shown(&caller, &name));
    let source = source.ok_or_else(Problem::nothing)?;
    let scope = FetchScope::Source(source.name);
    answer(&app, caller.tenant, scope, &parts.uri).await
}

async fn answer(
    app: &App,
    tenant: TenantId,
    scope: FetchScope,
    uri: &Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::read(uri, &["days"], &[]);
    let days = days(&mut parameters);
    parameters.finish()?;
    let now = app.clock.now();
    let statistics = read(app, tenant, scope, (days, now)).await?;
    let percentile = |percent| statistics.percentile_ms(percent);
    let body = StatisticsBody {
        period: Period::new(days, now),
        all: SumsBody::new(&statistics.all),
        p50_duration_ms: percentile(50),
        p90_duration_ms: percentile(90),
        p99_duration_ms: percentile(99),
        by_day: DayBody::all(&statistics.days),
    };
    json(StatusCode::OK, &body)
}

/// Returns over how many days statistics are wanted.
pub(crate) fn days(parameters: &mut Parameters) -> u32 {
    let Some(text) = parameters.value("days") else {
        return DAYS;
    };
    match text.parse() {
        Ok(days) if (1..=MOST_DAYS).contains(&days) => days,
        Ok(_) | Err(_) => {
            parameters.fault("days", format!("is a number from 1 to {MOST_DAYS}"));
            DAYS
        }
    }
}

/// Reads statistics over so many days until now.
pub(crate) async fn read(
    app: &App,
    tenant: TenantId,
    scope: FetchScope,
    (days, now): (u32, Timestamp),
) -> Result<FetchStatistics, StoreError> {
    let since = first_day(days, now);
    let tallies = within(app.backend.fetch_statistics(tenant, scope, since)).await?;
    Ok(FetchStatistics::of(tallies))
}

fn first_day(days: u32, now: Timestamp) -> Day {
    Day::of(now.before(DAY * days))
}

/// Returns a day as `YYYY-MM-DD`.
fn date(day: Day) -> String {
    let mut text = day.start().to_string();
    text.truncate("2026-01-31".len());
    text
}

/// Returns a number with two decimals as JSON has it.
pub(crate) fn number(hundredths: Option<Hundredths>) -> Option<f64> {
    hundredths.map(Hundredths::as_f64)
}

impl Period {
    pub(crate) fn new(days: u32, now: Timestamp) -> Self {
        Self {
            days,
            from: first_day(days, now).start().to_string(),
            to: now.to_string(),
        }
    }
}

impl SumsBody {
    pub(crate) fn new(sums: &Sums) -> Self {
        Self {
            total: sums.total(),
            counted: sums.counted(),
            by_status: ByStatus {
                success: sums.success,
                partial: sums.partial,
                failed: sums.failed,
                rate_limited: sums.rate_limited,
                maintenance: sums.maintenance,
                cancelled: sums.cancelled,
            },
            success_rate: number(sums.success_rate()),
            average_duration_ms: sums.average_ms(),
            attempts: sums.attempts,
            records: sums.records,
            documents: sums.documents,
        }
    }
}

impl DayBody {
    pub(crate) fn all(days: &BTreeMap<Day, Sums>) -> Vec<Self> {
        let days = days.iter().map(|(day, sums)| Self {
            date: date(*day),
            sums: SumsBody::new(sums),
        });
        days.collect()
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const DAYS: u32 = 30;
/// As long as they are kept.
const MOST_DAYS: u32 = 730;
