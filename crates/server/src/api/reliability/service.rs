//! `GET /api/reliability/health`.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::json;
use crate::health::checks;
use crate::problem::Problem;
use crate::router::App;

/// Whether this service can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceHealth {
    success: bool,
    /// `healthy` or `unhealthy`.
    status: &'static str,
    timestamp: String,
    #[schema(value_type = Object)]
    checks: crate::health::Checks,
}

/// Tells whether this service can do its work: what `/readyz` tells, in this API's words.
#[utoipa::path(
    get, path = "/api/reliability/health", tag = "reliability", operation_id = "reliabilityHealth",
    responses(
        (status = 200, description = "It can", body = ServiceHealth),
        (status = 503, description = "Not at present", body = ServiceHealth),
    ),
)]
pub(crate) async fn show(app: Arc<App>, _request: Request) -> Result<Response, Problem> {
    let checks = checks(&app).await;
    let success = checks.all_ok();
    let (code, status) = if success {
        (StatusCode::OK, "healthy")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
    };
    let timestamp = app.clock.now().to_string();
    let body = ServiceHealth {
        success,
        status,
        timestamp,
        checks,
    };
    json(code, &body)
}
