//! Whether the process lives and whether it takes requests.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::json;
use crate::problem::Problem;
use crate::router::App;

/// Whether something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    /// It does.
    Ok,
    /// Not at present.
    Failing,
}

/// That the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Liveness {
    status: Condition,
}

/// Whether requests are taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    status: Condition,
    checks: Checks,
}

/// What readiness is made of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checks {
    engine: Check,
    database_writes: Check,
    database_reads: Check,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Check {
    status: Condition,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// Tells that the process lives.
#[utoipa::path(
    get, path = "/livez", tag = "operation",
    responses((status = 200, description = "It does", body = Liveness)),
)]
pub(crate) async fn livez(_app: Arc<App>, _request: Request) -> Result<Response, Problem> {
    let status = Condition::Ok;
    json(StatusCode::OK, &Liveness { status })
}

/// Tells whether requests are taken.
#[utoipa::path(
    get, path = "/readyz", tag = "operation",
    responses(
        (status = 200, description = "They are", body = Readiness),
        (status = 503, description = "Not at present", body = Readiness),
    ),
)]
pub(crate) async fn readyz(app: Arc<App>, _request: Request) -> Result<Response, Problem> {
    let checks = checks(&app).await;
    if checks.all_ok() {
        let status = Condition::Ok;
        json(StatusCode::OK, &Readiness { status, checks })
    } else {
        let status = Condition::Failing;
        json(
            StatusCode::SERVICE_UNAVAILABLE,
            &Readiness { status, checks },
        )
    }
}

/// Looks at what the work needs.
pub(crate) async fn checks(app: &App) -> Checks {
    let snapshot = app.engine.snapshot();
    let ping = tokio::time::timeout(PATIENCE, app.backend.ping()).await;
    Checks {
        engine: check(snapshot.ready, "starting, stopping, or without a lease"),
        database_writes: check(!snapshot.store_down, "the last commit failed"),
        database_reads: check(matches!(ping, Ok(Ok(()))), "no answer within a second"),
    }
}

impl Checks {
    /// Returns whether nothing fails.
    pub(crate) fn all_ok(&self) -> bool {
        let all = [&self.engine, &self.database_writes, &self.database_reads];
        all.iter().all(|check| check.status == Condition::Ok)
    }
}

fn check(ok: bool, otherwise: &'static str) -> Check {
    if ok {
        Check {
            status: Condition::Ok,
            detail: None,
        }
    } else {
        Check {
            status: Condition::Failing,
            detail: Some(otherwise),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(1);
