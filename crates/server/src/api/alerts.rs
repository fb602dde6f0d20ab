//! `/v1/alerts`: what the tenant or the operator must act on.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::source::Input;
use wellspring_core::{Actor, Alert, AlertId, AlertKind, AlertState, AlertWish, SourceName};
use wellspring_engine::{AlertFilter, Wish};

use crate::Caller;
use crate::body::{self, json};
use crate::idempotency::{Asked, Once, replayed};
use crate::list::{List, Wanted};
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

/// Something to act on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertBody {
    /// Its id.
    id: String,
    /// `throttled`, `deauthorised`, `connector_crashed`, `invalid_request`, `source_down` or `backlog`.
    kind: &'static str,
    /// Who has to act: `tenant` or `operator`.
    audience: &'static str,
    /// `open`, `acknowledged` or `closed`.
    state: &'static str,
    /// The source that it concerns.
    source: String,
    /// The account that it concerns.
    account_id: Option<String>,
    /// The connection that it concerns.
    connection_id: Option<String>,
    /// The stable code of what went wrong.
    code: Option<String>,
    /// How often it happened while it was open.
    count: u32,
    /// When it was opened.
    opened_at: String,
    /// When it happened last.
    last_at: String,
    /// When somebody said that they know.
    acknowledged_at: Option<String>,
    /// When it was mended or put aside.
    closed_at: Option<String>,
    /// The tenant that is told, where it is another's or where those of all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
}

/// Lists alerts, newest first.
///
/// They close by themselves when what they are about is mended, and are kept for 90 days then.
/// Those of all tenants are listed only for the tenant that was there first, which runs the installation.
#[utoipa::path(
    get, path = "/v1/alerts", tag = "alerts", operation_id = "listAlerts",
    params(
        ("state" = Option<String>, Query, description = "Only those that are `open` (acknowledged ones as well) or `closed`"),
        ("kind" = Option<String>, Query, description = "Only those of this kind"),
        ("source" = Option<String>, Query, description = "Only those that concern this source"),
        ("connection" = Option<String>, Query, description = "Only those about this connection"),
        ("tenants" = Option<String>, Query, description = "`all` for those of all tenants, each with its `tenant`; for the operator"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page", body = List<AlertBody>),
        (status = 400, description = "A parameter is wrong"),
        (status = 403, description = "Those of all tenants are wanted, and the tenant does not run the installation (`not_the_operator`)"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let filters = ["state", "kind", "source", "connection", "tenants"];
    let mut wanted = Wanted::read(request.uri(), &filters);
    let filter = filter(&mut wanted);
    let of_all = of_all(&mut wanted);
    let page = wanted.checked()?;
    if of_all && !is_operator(&app, &caller) {
        let detail = "Only the tenant that was there first, which runs the installation, sees the alerts of all";
        let status = StatusCode::FORBIDDEN;
        return Err(Problem::new(status, "not_the_operator", detail));
    }
    let before = page.before.map(AlertId::from_bytes);
    let (backend, rows) = (&app.backend, page.rows());
    let read = if of_all {
        backend.alerts_of_all(filter, before, rows)
    } else {
        backend.alerts(caller.tenant, filter, before, rows)
    };
    let mut alerts = within(read).await?;
    let next = page.cut(&mut alerts, |alert| *alert.id.as_bytes());
    let bodies = alerts.into_iter().map(|alert| {
        let tenant = of_all.then(|| app.access.tenant_name(alert.tenant));
        AlertBody {
            tenant,
            ..AlertBody::new(alert)
        }
    });
    List::response(bodies.collect(), next)
}

fn of_all(wanted: &mut Wanted) -> bool {
    let parameters = &mut wanted.parameters;
    let given = parameters.value("tenants").map(|text| text == "all");
    if given == Some(false) {
        parameters.fault("tenants", "is `all`, or not there");
    }
    given.unwrap_or(false)
}

fn is_operator(app: &App, caller: &Caller) -> bool {
    app.access.operator() == Some(caller.tenant)
}

fn filter(wanted: &mut Wanted) -> AlertFilter {
    let parameters = &mut wanted.parameters;
    let mut filter = AlertFilter::default();
    match parameters.value("state") {
        None => {}
        Some("open") => filter.open = Some(true),
        Some("closed") => filter.open = Some(false),
        Some(_) => parameters.fault("state", "is `open` or `closed`"),
    }
    if let Some(text) = parameters.value("kind") {
        filter.kind = AlertKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text);
        if filter.kind.is_none() {
            let names = AlertKind::ALL.map(AlertKind::as_str).join(", ");
            parameters.fault("kind", format!("is one of {names}"));
        }
    }
    match parameters.value("source").map(str::parse::<SourceName>) {
        None => {}
        Some(Ok(source)) => filter.source = Some(source),
        Some(Err(error)) => parameters.fault("source", error.to_string()),
    }
    match parameters.value("connection").map(str::parse) {
        None => {}
        Some(Ok(connection)) => filter.connection = Some(connection),
        Some(Err(error)) => {
            let error: wellspring_core::IdError = error;
            parameters.fault("connection", error.to_string());
        }
    }
    filter
}

/// Shows an alert.
///
/// The tenant that was there first, which runs the installation, is shown those of other tenants as well.
#[utoipa::path(
    get, path = "/v1/alerts/{alert}", tag = "alerts", operation_id = "showAlert",
    params(("alert" = String, Path, description = "The alert's id")),
    responses(
        (status = 200, description = "The alert", body = AlertBody),
        (status = 404, description = "There is no such alert"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let alert = find(&app, &caller, &place).await?;
    json(StatusCode::OK, &AlertBody::seen(&app, &caller, alert))
}

/// Says that somebody knows of an alert; it stays open until it is mended.
///
/// One that another tenant is told, and whose `audience` is `operator`, is also for the tenant that runs the installation.
#[utoipa::path(
    post, path = "/v1/alerts/{alert}/acknowledge", tag = "alerts", operation_id = "acknowledgeAlert",
    params(
        ("alert" = String, Path, description = "The alert's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours does nothing again and shows the alert as it is"),
    ),
    responses(
        (status = 200, description = "The alert", body = AlertBody),
        (status = 400, description = "A malformed Idempotency-Key or body"),
        (status = 403, description = "It is another tenant's, for whom it is (`alert_of_another_tenant`)"),
        (status = 404, description = "There is no such alert"),
        (status = 409, description = "It is closed (`alert_closed`), or a request with this Idempotency-Key is under way"),
        (status = 422, description = "The body says something, or the Idempotency-Key was used for another request"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn acknowledge(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    act(app, caller, request, AlertWish::Acknowledge).await
}

/// Puts an alert aside; the same issue opens another when it shows again.
///
/// One that another tenant is told, and whose `audience` is `operator`, is also for the tenant that runs the installation.
#[utoipa::path(
    post, path = "/v1/alerts/{alert}/close", tag = "alerts", operation_id = "closeAlert",
    params(
        ("alert" = String, Path, description = "The alert's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours does nothing again and shows the alert as it is"),
    ),
    responses(
        (status = 200, description = "The alert", body = AlertBody),
        (status = 400, description = "A malformed Idempotency-Key or body"),
        (status = 403, description = "It is another tenant's, for whom it is (`alert_of_another_tenant`)"),
        (status = 404, description = "There is no such alert"),
        (status = 409, description = "It is closed already (`alert_closed`), or a request with this Idempotency-Key is under way"),
        (status = 422, description = "The body says something, or the Idempotency-Key was used for another request"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn close(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    act(app, caller, request, AlertWish::Close).await
}

async fn act(
    app: Arc<App>,
    caller: Caller,
    request: Request,
    wish: AlertWish,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let body = body::read(body).await?;
    let alert = find(&app, &caller, &place).await?;
    let operation: &[u8] = match wish {
        AlertWish::Acknowledge => b"POST acknowledge",
        AlertWish::Close => b"POST close",
    };
    let (tenant, actor) = if alert.tenant == caller.tenant {
        (caller.tenant, caller.actor)
    } else if alert.kind.is_for_the_operator() {
        (alert.tenant, Actor::Operator)
    } else {
        let detail = "It is for the tenant that is told to say that it knows, or to put it aside";
        let status = StatusCode::FORBIDDEN;
        return Err(Problem::new(status, "alert_of_another_tenant", detail));
    };
    let what: [&[u8]; 3] = [operation, alert.id.as_bytes(), &body];
    let once = Once::new(&app, &caller, &parts.headers, &what)?.about(tenant);
    if once.before(&app).await?.is_some() {
        return json(StatusCode::OK, &AlertBody::seen(&app, &caller, alert)).map(replayed);
    }
    body::expect_nothing(&body)?;
    if alert.closed_at.is_some() {
        return Err(closed());
    }
    let request = match alert.connection {
        Some((_, id)) => wellspring_engine::Request::Connection {
            id,
            tenant,
            wish: Wish::Alert(alert.id, wish),
            actor,
        },
        None => wellspring_engine::Request::Source {
            name: alert.source.clone(),
            tenant,
            input: Box::new(Input::AlertAsked(alert.id, wish, actor)),
        },
    };
    let again = match once.ask(&app, request).await? {
        Asked::Done(_) => false,
        Asked::Again(_) => true,
        Asked::State(_) => return Err(closed()),
    };
    let alert = within(app.backend.alert(tenant, alert.id)).await?;
    let alert = alert.ok_or_else(Problem::nothing)?;
    let response = json(StatusCode::OK, &AlertBody::seen(&app, &caller, alert))?;
    Ok(if again { replayed(response) } else { response })
}

fn closed() -> Problem {
    let detail = "The alert is closed: what it is about is mended, or somebody has put it aside";
    Problem::new(StatusCode::CONFLICT, "alert_closed", detail)
}

async fn find(app: &App, caller: &Caller, place: &Place) -> Result<Alert, Problem> {
    let id = place.id::<AlertId>(0)?;
    let alert = if is_operator(app, caller) {
        within(app.backend.alert_of_any(id)).await?
    } else {
        within(app.backend.alert(caller.tenant, id)).await?
    };
    alert.ok_or_else(Problem::nothing)
}

impl AlertBody {
    fn new(alert: Alert) -> Self {
        let state: AlertState = alert.state();
        Self {
            id: alert.id.to_string(),
            kind: alert.kind.as_str(),
            audience: alert.kind.audience(),
            state: state.as_str(),
            source: alert.source.to_string(),
            account_id: alert.connection.map(|(account, _)| account.to_string()),
            connection_id: alert.connection.map(|(_, id)| id.to_string()),
            code: alert.code,
            count: alert.count,
            opened_at: alert.opened_at.to_string(),
            last_at: alert.last_at.to_string(),
            acknowledged_at: alert.acknowledged_at.map(|at| at.to_string()),
            closed_at: alert.closed_at.map(|at| at.to_string()),
            tenant: None,
        }
    }

    /// Returns it as a caller sees one that is shown alone.
    fn seen(app: &App, caller: &Caller, alert: Alert) -> Self {
        let others = (alert.tenant != caller.tenant).then_some(alert.tenant);
        Self {
            tenant: others.map(|tenant| app.access.tenant_name(tenant)),
            ..Self::new(alert)
        }
    }
}
