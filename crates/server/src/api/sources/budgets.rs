//! `/v1/sources/{source}/budgets`: how many calls a source takes, and what is left of that.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::budget::{Scope, Standing, Window};
use wellspring_core::{SourceName, format_duration};
use wellspring_engine::{LaneView, LimitView};

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
    /// Whose calls are counted together: those of the `source`, of each `tenant` or of each
    /// `connection`.
    scope: String,
    /// The only endpoint whose calls are counted.
    endpoint: Option<String>,
    /// How many count now; none where each tenant or connection has its own.
    used: Option<u32>,
    /// How many are left.
    left: Option<u32>,
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
        windows: windows(&lane),
    };
    json(StatusCode::OK, &body)
}

fn windows(lane: &LaneView) -> Vec<WindowBody> {
    let whole = lane.budget.iter();
    let whole = whole.map(|standing| WindowBody::new(Scope::Source, None, standing));
    whole.chain(lane.limits.iter().flat_map(of_limit)).collect()
}

fn of_limit(LimitView { limit, standings }: &LimitView) -> Vec<WindowBody> {
    let (scope, endpoint) = (limit.scope, limit.endpoint.as_deref());
    match scope {
        Scope::Source => standings
            .iter()
            .map(|standing| WindowBody::new(scope, endpoint, standing))
            .collect(),
        Scope::Tenant | Scope::Connection => limit
            .windows
            .iter()
            .map(|window| WindowBody::of(scope, endpoint, *window))
            .collect(),
    }
}

impl WindowBody {
    fn of(scope: Scope, endpoint: Option<&str>, window: Window) -> Self {
        Self {
            calls: window.calls,
            per: format_duration(window.per),
            scope: scope.to_string(),
            endpoint: endpoint.map(str::to_owned),
            used: None,
            left: None,
            next_release_at: None,
        }
    }

    fn new(scope: Scope, endpoint: Option<&str>, standing: &Standing) -> Self {
        Self {
            used: Some(standing.used),
            left: Some(standing.left),
            next_release_at: standing.next_release.map(|at| at.to_string()),
            ..Self::of(scope, endpoint, standing.window)
        }
    }
}
