//! `POST /v1/accounts/{account}/connections`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde_json::Value;
use wellspring_core::connection::{Config, State};
use wellspring_core::{Access, Account, Connection, ConnectionId, SourceName};
use wellspring_engine::{Aggregate, ConnectionDefaults, Request};
use wellspring_vault::context;

use super::fields::{Credentials, Set};
use super::{ConnectionBody, accounts, answer, of_account};
use crate::Caller;
use crate::access::rng;
use crate::api::sources::is_shown;
use crate::body::{self, Fields};
use crate::idempotency::{Asked, Once, Refusal, replayed};
use crate::path::Place;
use crate::problem::{Fault, Problem, ProblemBody};
use crate::router::App;
use crate::traced;

/// Connects an account to a source.
///
/// The first fetch begins at once.
/// What `credentials` hold is told by the source's `credential_fields`; without them the source asks the person.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/connections", tag = "connections", operation_id = "createConnection",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours makes nothing again and shows the connection as it is"),
    ),
    request_body(content = Object, description = "`source`, and optionally `credentials`, `label`, `schedule`, `slow_plan`, `on_question_expired`, `start_date`", example = json!({"source": "sandbox-bank", "credentials": {"user": "user", "password": "ok"}, "label": "Household", "schedule": {"every": "24h"}})),
    responses(
        (status = 201, description = "The connection", body = ConnectionBody, headers(("Location" = String, description = "Where it is"), ("Idempotent-Replayed" = String, description = "`true` where the key was used before"))),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 404, description = "There is no such account"),
        (status = 409, description = "A request with this Idempotency-Key is under way"),
        (status = 413, description = "The body is larger than 1 MiB"),
        (status = 422, description = "The body is not valid, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn create(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let body = body::read(body).await?;
    let account = accounts::find(&app, &caller, &place).await?;
    let repairs = caller
        .page
        .as_ref()
        .is_some_and(|page| page.connection.is_some());
    if repairs {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This link repairs a connection, it makes none",
        ));
    }
    let what: [&[u8]; 3] = [b"POST connections", account.id.as_bytes(), &body];
    let once = Once::new(&app, &caller, &parts.headers, &what)?;
    if let Some(id) = once.before(&app).await? {
        return again(&app, &account, id).await;
    }
    let wanted = Wanted::read(&app, &caller, &body)?;
    let now = app.clock.now();
    let id = ConnectionId::mint_in(now, account.id.shard(), &mut rng());
    let vault = app.access.vault();
    let credentials = wanted
        .credentials
        .map(|credentials| credentials.seal(vault, &context::credentials(id.as_bytes())));
    let request = Request::Connect {
        id: Some(id),
        account: account.id,
        tenant: account.tenant,
        source: wanted.source.clone(),
        config: Box::new(wanted.config.clone()),
        credentials,
        asked_in: traced::asked_in(&parts.headers),
        actor: caller.actor,
    };
    match once.ask(&app, request).await? {
        Asked::Done(_) => {
            let made = of_account(&app, &account, id).await?;
            // Another node may yet have to make what it has promised.
            let made = made.unwrap_or_else(|| Connection {
                id,
                account: account.id,
                tenant: account.tenant,
                source: wanted.source,
                created_at: now,
                version: 1,
                config: wanted.config,
                state: State::Created { due: now },
                access: Access::Unverified,
                outcome: None,
                retries: 0,
                waits: 0,
                last_success_at: None,
                repair: None,
                alerts: Vec::new(),
                asked_in: None,
            });
            created(&app, made).await
        }
        Asked::Again(id) => again(&app, &account, id).await,
        Asked::State(_) => Err(Problem::nothing()),
    }
}

async fn again(app: &App, account: &Account, id: Aggregate) -> Result<Response, Problem> {
    match id {
        Aggregate::Connection(id) => {
            let made = of_account(app, account, id).await?;
            let made = made.ok_or_else(Problem::nothing)?;
            created(app, made).await.map(replayed)
        }
        Aggregate::Collection(_) | Aggregate::Account(_) | Aggregate::Source(_) => {
            Err(Refusal::Reused.into())
        }
    }
}

async fn created(app: &App, connection: Connection) -> Result<Response, Problem> {
    let path = format!(
        "/v1/accounts/{}/connections/{}",
        connection.account, connection.id
    );
    let mut response = answer(app, StatusCode::CREATED, connection).await?;
    if let Ok(location) = HeaderValue::try_from(app.links.to(&path)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// What is to be connected, without a fault.
struct Wanted {
    source: SourceName,
    config: Config,
    credentials: Option<Credentials>,
}

impl Wanted {
    fn read(app: &App, caller: &Caller, body: &[u8]) -> Result<Self, Problem> {
        let mut faults = Vec::new();
        let mut fields = Fields::read(body, &mut faults)?;
        if !faults.is_empty() {
            return Err(Problem::invalid(faults));
        }
        let source = source(app, caller, fields.take("source", &mut faults), &mut faults);
        let set = Set::take(&mut fields, &mut faults);
        let given = fields.take("credentials", &mut faults);
        let credentials = match (given, &source) {
            (None | Some(Value::Null), _) | (Some(_), None) => None,
            (Some(given), Some((_, defaults))) => {
                let wanted = &defaults.credential_fields;
                Credentials::read(given, wanted, "/credentials", &mut faults)
            }
        };
        fields.finish(&mut faults);
        let Some((source, defaults)) = source.filter(|_| faults.is_empty()) else {
            return Err(Problem::invalid(faults));
        };
        let config = Config {
            label: set.label.flatten(),
            schedule: set.schedule.flatten().unwrap_or(defaults.schedule),
            slow_plan: set.slow_plan.flatten(),
            on_question_expired: set.on_question_expired.flatten().unwrap_or_default(),
            start_date: set.start_date.flatten(),
            paused: false,
        };
        Ok(Self {
            source,
            config,
            credentials,
        })
    }
}

fn source(
    app: &App,
    caller: &Caller,
    given: Option<Value>,
    faults: &mut Vec<Fault>,
) -> Option<(SourceName, ConnectionDefaults)> {
    let detail = match given {
        None => "is required",
        Some(Value::String(text)) => {
            let name = text.parse::<SourceName>().ok();
            let name = name.filter(|name| is_shown(caller, name));
            match name.and_then(|name| app.intake.source(&name)) {
                None => "is not a configured source; /v1/sources tells which there are",
                Some(info) => match info.connections {
                    Some(defaults) => return Some((info.name, defaults)),
                    None => "serves collections alone and takes no connections",
                },
            }
        }
        Some(_other) => "must be a string",
    };
    faults.push(Fault::at("/source", detail));
    None
}
