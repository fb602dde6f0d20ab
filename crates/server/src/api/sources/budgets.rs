//! `/v1/sources/{source}/budgets`: how many calls a source takes, what is left of that, and who
//! spends it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::budget::{Scope, Standing, Window, hour};
use wellspring_core::reliability::percentage;
use wellspring_core::{SourceName, TenantId, format_duration};
use wellspring_engine::{LaneView, LimitView};

use crate::Caller;
use crate::api::statistics::number;
use crate::body::json;
use crate::path::Place;
use crate::problem::Problem;
use crate::query::Parameters;
use crate::router::{App, within};

/// What a source allows, as this node has counted it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BudgetsBody {
    /// When the next call may begin, where none may now: the source's own word, or a spent window.
    next_allowed_at: Option<String>,
    /// Its windows, all of which hold at once; none for a source that sets no limit.
    windows: Vec<WindowBody>,
    /// From when on calls are in what was spent: the beginning of an hour, in UTC.
    spent_since: String,
    /// Who has spent most of its calls, most first, as all nodes have counted them.
    ///
    /// The tenant that was there first, which runs the installation, sees the first 20 of all;
    /// others see themselves.
    spenders: Vec<SpenderBody>,
    /// What all others have spent together, where there are any.
    other_spenders: Option<OthersBody>,
}

/// What a tenant has spent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SpenderBody {
    /// Its name.
    tenant: String,
    /// How many calls; for a source with connections that limits only how many attempts may
    /// begin, how many attempts.
    calls: u64,
    /// How many of a hundred that is.
    share: f64,
}

/// What several tenants have spent together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OthersBody {
    /// How many calls.
    calls: u64,
    /// How many of a hundred that is.
    share: f64,
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

/// Shows a source's budgets, and who spends them.
///
/// Counted are calls of sources that have a budget, when they are granted; hours are kept for 31 days.
#[utoipa::path(
    get, path = "/v1/sources/{source}/budgets", tag = "sources", operation_id = "showBudgets",
    params(
        ("source" = String, Path, description = "The source's name"),
        ("hours" = Option<u32>, Query, description = "Who spent in so many hours and the present one, 1 to 744; 24 unless told"),
    ),
    responses(
        (status = 200, description = "Its windows, what is left of them and who spends them", body = BudgetsBody),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "There is no such source"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let name: SourceName = Place::of(&mut parts).await.id(0)?;
    let lanes = app.engine.snapshot().lanes;
    let lane = lanes.into_iter().find(|lane| lane.source == name);
    let lane = lane.ok_or_else(Problem::nothing)?;
    let mut parameters = Parameters::read(&parts.uri, &["hours"], &[]);
    let hours = hours(&mut parameters);
    parameters.finish()?;
    let since = hour(app.clock.now().before(HOUR * hours));
    let spent = within(app.backend.spenders(name, since)).await?;
    let total = spent.iter().map(|(_, calls)| calls).sum();
    let sees_all = app.access.operator() == Some(caller.tenant);
    let (shown, others) = shown(spent, caller.tenant, sees_all);
    let body = BudgetsBody {
        next_allowed_at: lane.next_allowed_at.map(|at| at.to_string()),
        windows: windows(&lane),
        spent_since: since.to_string(),
        spenders: shown
            .into_iter()
            .map(|(tenant, calls)| SpenderBody {
                tenant: app.access.tenant_name(tenant),
                calls,
                share: share(calls, total),
            })
            .collect(),
        other_spenders: (others > 0).then(|| OthersBody {
            calls: others,
            share: share(others, total),
        }),
    };
    json(StatusCode::OK, &body)
}

fn hours(parameters: &mut Parameters) -> u32 {
    let Some(text) = parameters.value("hours") else {
        return HOURS;
    };
    match text.parse() {
        Ok(hours) if (1..=MOST_HOURS).contains(&hours) => hours,
        Ok(_) | Err(_) => {
            parameters.fault("hours", format!("is a number from 1 to {MOST_HOURS}"));
            HOURS
        }
    }
}

/// Returns those whom a caller may see by name, and what all others have spent together.
fn shown(
    spent: Vec<(TenantId, u64)>,
    caller: TenantId,
    sees_all: bool,
) -> (Vec<(TenantId, u64)>, u64) {
    let (mut named, mut others) = (Vec::new(), 0);
    for (tenant, calls) in spent {
        let is_named = if sees_all {
            named.len() < MOST_NAMED
        } else {
            tenant == caller
        };
        if is_named {
            named.push((tenant, calls));
        } else {
            others += calls;
        }
    }
    (named, others)
}

fn share(calls: u64, total: u64) -> f64 {
    number(percentage(calls, total)).unwrap_or_default()
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

const HOUR: Duration = Duration::from_secs(3_600);
const HOURS: u32 = 24;
/// As long as they are kept.
const MOST_HOURS: u32 = 744;
const MOST_NAMED: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_shown_twenty_and_others_themselves() {
        let tenant = |n: u8| TenantId::from_bytes([n; 16]);
        let spent: Vec<_> = (1..=23).map(|n| (tenant(n), u64::from(100 - n))).collect();

        let (named, others) = shown(spent.clone(), tenant(23), true);
        assert_eq!((named.as_slice(), others), (&spent[..20], 79 + 78 + 77));
        let (named, others) = shown(spent.clone(), tenant(23), false);
        assert_eq!(named, [(tenant(23), 77)]);
        let total: u64 = spent.iter().map(|(_, calls)| calls).sum();
        assert_eq!(others, total - 77);
        let (named, others) = shown(spent, tenant(24), false);
        assert_eq!((named.as_slice(), others), (&[][..], total));
    }
}
