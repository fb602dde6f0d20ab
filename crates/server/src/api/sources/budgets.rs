//! `/v1/sources/{source}/budgets`: how many calls a source takes, and what is left of that.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::budget::Standing;
use wellspring_core::{SourceName, format_duration};

use crate::Caller;
use crate::body::json;
use crate::path::Place;
use crate::problem::Problem;
use crate::router::App;

/// What a source allows, as this node has counted it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BudgetsBody {
    /// When the next call may begin, where none may now: the source's own word, or a spent window.
    next_allowed_at: Option<String>,
    /// Its windows, all of which hold at once; none for a source that sets no limit.
    windows: Vec<WindowBody>,
}

/// So many calls in any stretch of so much time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WindowBody {
    /// How many calls.
    calls: u32,
    /// In how much time, such as `1m`.
    per: String,
    /// How many count now.
    used: u32,
    /// How many are left.
    left: u32,
    /// When the oldest of those that count does so no longer.
    next_release_at: Option<String>,
}

/// Shows a source's budgets.
#[utoipa::path(
    get, path = "/v1/sources/{source}/budgets", tag = "sources", operation_id = "showBudgets",
    params(("source" = String, Path, description = "The source's name")),
    responses(
        (status = 200, description = "Its windows and what is left of them", body = BudgetsBody),
        (status = 404, description = "There is no such source"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    _caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let name: SourceName = Place::of(&mut parts).await.id(0)?;
    let lanes = app.engine.snapshot().lanes;
    let lane = lanes.into_iter().find(|lane| lane.source == name);
    let lane = lane.ok_or_else(Problem::nothing)?;
    let body = BudgetsBody {
        next_allowed_at: lane.next_allowed_at.map(|at| at.to_string()),
        windows: lane.budget.iter().map(WindowBody::new).collect(),
    };
    json(StatusCode::OK, &body)
}

impl WindowBody {
    fn new(standing: &Standing) -> Self {
        Self {
            calls: standing.window.calls,
            per: format_duration(standing.window.per),
            used: standing.used,
            left: standing.left,
            next_release_at: standing.next_release.map(|at| at.to_string()),
        }
    }
}
